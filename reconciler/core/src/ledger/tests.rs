//! What is remembered, and what is forgiven.

use super::*;
use crate::rollout::{FailureKind, MemberId};

fn revision(digit: char) -> Revision {
    Revision::new(&digit.to_string().repeat(40)).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn reads(parts: &[(&str, &str)]) -> BTreeMap<ServiceName, Digest> {
    parts
        .iter()
        .map(|(name, text)| (ServiceName::new(name), digest(text)))
        .collect()
}

fn failure(service: &str, kind: FailureKind) -> Failure {
    Failure {
        member: Some(MemberId::only(&ServiceName::new(service))),
        kind,
        message: "it did not like it".to_owned(),
    }
}

fn settled(digit: char, text: &str) -> SettledTree {
    SettledTree {
        revision: revision(digit),
        digest: digest(text),
        at: at(0),
    }
}

#[test]
fn waits_double_from_a_second_to_a_minute() {
    let waits: Vec<_> = [0, 1, 2, 3, 6, 7, 8, 100]
        .map(|tries| back_off(tries).as_secs())
        .into();
    assert_eq!(waits, [1, 1, 2, 4, 32, 60, 60, 60]);
}

#[test]
fn a_time_out_is_tried_again_later_and_later_and_a_refusal_is_not() {
    let mut ledger = Ledger::default();
    let parts = reads(&[("red", "one"), ("blue", "two")]);
    let silent = [failure("red", FailureKind::TimedOut)];
    ledger.note_failed((&revision('a'), digest("a")), &silent, &parts, at(0));
    ledger.note_failed((&revision('b'), digest("b")), &silent, &parts, at(10));
    let again: Vec<_> = ledger
        .quarantined
        .iter()
        .map(|entry| (entry.tries, entry.again_at))
        .collect();
    assert_eq!(again, [(1, Some(at(1))), (2, Some(at(12)))]);

    let refused = [
        failure("red", FailureKind::TimedOut),
        failure("blue", FailureKind::Refused),
    ];
    ledger.note_failed((&revision('c'), digest("c")), &refused, &parts, at(20));
    let entry = ledger.quarantine_of(&revision('c')).unwrap();
    assert_eq!(
        (entry.passes_by_itself, entry.again_at, entry.tries),
        (false, None, 1)
    );
    assert_eq!(entry.reason, "red: it did not like it; blue: it did not like it");
    assert_eq!(entry.failed, parts);
}

#[test]
fn a_revision_that_fails_again_has_one_entry() {
    let mut ledger = Ledger::default();
    let parts = reads(&[("red", "one")]);
    for second in [0, 5] {
        let silent = [failure("red", FailureKind::TimedOut)];
        ledger.note_failed((&revision('a'), digest("a")), &silent, &parts, at(second));
    }
    let tries: Vec<_> = ledger.quarantined.iter().map(|entry| entry.tries).collect();
    assert_eq!(tries, [2]);
}

#[test]
fn a_failure_of_nobody_in_particular_never_counts_as_the_service_s() {
    let mut ledger = Ledger::default();
    let full = Failure {
        member: None,
        kind: FailureKind::Volume,
        message: "the volume is full".to_owned(),
    };
    ledger.note_failed(
        (&revision('a'), digest("a")),
        &[full],
        &reads(&[("red", "one")]),
        at(0),
    );
    let entry = ledger.quarantine_of(&revision('a')).unwrap();
    assert!(entry.failed.is_empty() && entry.passes_by_itself);
}

#[test]
fn what_settles_forgives_what_failed_with_the_same_parts_or_the_same_files() {
    let mut ledger = Ledger::default();
    let fail = |ledger: &mut Ledger, digit, parts: &[(&str, &str)]| {
        let failures: Vec<_> = parts
            .iter()
            .map(|(name, _)| failure(name, FailureKind::Refused))
            .collect();
        ledger.note_failed(
            (&revision(digit), digest(&digit.to_string())),
            &failures,
            &reads(parts),
            at(0),
        );
    };
    fail(&mut ledger, 'a', &[("red", "bad")]);
    fail(&mut ledger, 'b', &[("red", "good"), ("blue", "bad")]);
    fail(&mut ledger, 'c', &[("red", "good"), ("blue", "good")]);
    fail(&mut ledger, 'd', &[]);
    fail(&mut ledger, 'e', &[]);
    ledger.note_settled(settled('f', "e"), &reads(&[("red", "good"), ("blue", "good")]));
    let left: Vec<_> = ledger
        .quarantined
        .iter()
        .map(|entry| entry.revision.clone())
        .collect();
    assert_eq!(left, [revision('a'), revision('b'), revision('d')]);
    assert_eq!(ledger.last_settled(), Some(&settled('f', "e")));
    assert!(ledger.settled_before(&digest("e")) && !ledger.settled_before(&digest("a")));
}

#[test]
fn the_oldest_are_forgotten_first() {
    let mut ledger = Ledger::default();
    for number in 0..SETTLED_KEPT + 3 {
        ledger.note_settled(settled('a', &number.to_string()), &BTreeMap::new());
    }
    assert_eq!(ledger.settled.len(), SETTLED_KEPT);
    assert!(!ledger.settled_before(&digest("2")) && ledger.settled_before(&digest("3")));
}

#[test]
fn a_retry_forgets_every_verdict_and_nothing_else() {
    let mut ledger = Ledger::default();
    ledger.note_settled(settled('a', "a"), &BTreeMap::new());
    ledger.note_failed((&revision('b'), digest("b")), &[], &BTreeMap::new(), at(0));
    ledger.note_rejected(&revision('c'), "not valid".to_owned(), at(0));
    ledger.note_rejected(&revision('c'), "still not valid".to_owned(), at(1));
    assert_eq!(
        ledger.rejection_of(&revision('c')).unwrap().reason,
        "still not valid"
    );
    assert_eq!(ledger.retry(), 2);
    assert_eq!(ledger.retry(), 0);
    assert_eq!(ledger.rejection_of(&revision('c')), None);
    assert_eq!(ledger.quarantine_of(&revision('b')), None);
    assert_eq!(ledger.settled.len(), 1);
}

#[test]
fn an_older_ledger_without_some_part_is_read() {
    let ledger: Ledger = serde_json::from_str("{}").unwrap();
    assert_eq!(ledger, Ledger::default());
}
