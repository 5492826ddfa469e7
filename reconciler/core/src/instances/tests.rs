//! What is known of an instance, and what it is called.

use super::*;
use lockstep_protocol::{Attempt, PROTOCOL, Revision, SwitchNumber};

fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn revision() -> Revision {
    Revision::new(&"a".repeat(40)).unwrap()
}

fn token(text: &str) -> InstanceToken {
    InstanceToken(text.to_owned())
}

fn seconds(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn red() -> ServiceName {
    ServiceName::new("red")
}

fn live() -> Live {
    Live {
        revision: revision(),
        digest: digest("live"),
        switch: SwitchNumber(4),
        published: revision(),
    }
}

fn verify(tier: Tier) -> Verify {
    Verify {
        tier,
        within: Duration::from_secs(10),
    }
}

fn stated(instance: &str, state: StatusState, attempted: u64, runs: Option<&str>) -> Evidence {
    Evidence::Stated(Box::new(Status {
        protocol: PROTOCOL,
        instance: token(instance),
        switch: runs.map(|_| SwitchNumber(attempted)),
        revision: None,
        digest: runs.map(digest),
        state,
        attempted: Attempt {
            switch: Some(SwitchNumber(attempted)),
            revision: None,
        },
        error: None,
        vote: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    }))
}

fn alive() -> Instance {
    let mut instance = Instance::default();
    instance.note_started(token("one"), 42, seconds(100));
    instance
}

fn state(instance: &Instance, tier: Tier, live: Option<&Live>, now: u64) -> InstanceState {
    instance.state(&red(), &verify(tier), live, &ReadsTable::default(), seconds(now))
}

#[test]
fn without_a_process_it_is_dead() {
    for tier in [Tier::Running, Tier::Probed, Tier::Acknowledged, Tier::Voting] {
        assert_eq!(
            state(&Instance::default(), tier, Some(&live()), 0),
            InstanceState::Dead
        );
    }
}

#[test]
fn running_is_fit_half_a_second_after_its_start() {
    assert_eq!(
        state(&alive(), Tier::Running, Some(&live()), 100),
        InstanceState::Starting
    );
    assert_eq!(
        state(&alive(), Tier::Running, Some(&live()), 101),
        InstanceState::Fit
    );
}

#[test]
fn probed_is_fit_while_its_last_probe_passed() {
    let mut instance = alive();
    assert_eq!(
        state(&instance, Tier::Probed, Some(&live()), 101),
        InstanceState::Starting
    );
    assert_eq!(
        state(&instance, Tier::Probed, Some(&live()), 110),
        InstanceState::Silent
    );
    for (failure, expected) in [
        (None, InstanceState::Fit),
        (Some("503".to_owned()), InstanceState::Silent),
    ] {
        let began = seconds(105);
        instance.note_evidence(&Evidence::Probed(ProbeResult { began, failure }));
        assert_eq!(state(&instance, Tier::Probed, Some(&live()), 110), expected);
    }
}

#[test]
fn a_statement_says_what_runs() {
    use StatusState::{Applied, Rejected};
    let cases = [
        (Applied, 4, Some("live"), InstanceState::Applied),
        (Applied, 3, Some("live"), InstanceState::Applied),
        (Rejected, 3, Some("live"), InstanceState::Rejected),
        (Rejected, 4, Some("live"), InstanceState::Diverged),
        (Applied, 3, Some("other"), InstanceState::Diverged),
        (Rejected, 4, None, InstanceState::Diverged),
    ];
    for (said, attempted, runs, expected) in cases {
        let mut instance = alive();
        instance.note_evidence(&stated("one", said, attempted, runs));
        let seen = state(&instance, Tier::Acknowledged, Some(&live()), 101);
        assert_eq!(seen, expected, "{said:?} {attempted} {runs:?}");
    }
}

#[test]
fn before_the_first_release_nobody_is_diverged() {
    let mut instance = alive();
    instance.note_evidence(&stated("one", StatusState::Rejected, 0, None));
    assert_eq!(
        state(&instance, Tier::Acknowledged, None, 101),
        InstanceState::Starting
    );
    assert_eq!(
        state(&instance, Tier::Acknowledged, None, 110),
        InstanceState::Silent
    );
}

#[test]
fn only_the_instance_that_lives_is_believed() {
    let mut instance = alive();
    instance.note_evidence(&stated("another", StatusState::Applied, 4, Some("live")));
    assert_eq!(instance.statement, None);
    instance.note_evidence(&stated("one", StatusState::Applied, 4, Some("live")));
    assert!(instance.statement.is_some());
    instance.note_started(token("two"), 43, seconds(200));
    assert_eq!(instance.statement, None, "a successor has said nothing yet");
    instance.note_ended(&token("one"), "exited".to_owned());
    assert!(
        instance.alive.is_some(),
        "the end of its predecessor is not its own"
    );
    instance.note_ended(&token("two"), "exited".to_owned());
    assert_eq!(
        (instance.alive, instance.ended),
        (None, Some("exited".to_owned()))
    );
}

#[test]
fn a_start_that_is_told_twice_changes_nothing() {
    let mut instance = alive();
    instance.note_evidence(&stated("one", StatusState::Applied, 4, Some("live")));
    let before = instance.clone();
    instance.note_started(token("one"), 42, seconds(300));
    assert_eq!(instance, before);
}

#[test]
fn it_runs_the_right_thing_when_what_it_reads_is_the_same() {
    let mut reads = ReadsTable::default();
    let part = |text: &str| BTreeMap::from([(red(), digest(text))]);
    reads.insert(digest("live"), part("same"));
    reads.insert(digest("older"), part("same"));
    reads.insert(digest("oldest"), part("other"));
    let runs = |text: &str| {
        let mut instance = alive();
        instance.note_evidence(&stated("one", StatusState::Applied, 2, Some(text)));
        instance.current(&red(), &verify(Tier::Acknowledged), Some(&live()), &reads)
    };
    assert!(runs("live") && runs("older"));
    assert!(!runs("oldest") && !runs("unknown"));
    assert!(
        !reads.same(&ServiceName::new("blue"), &digest("live"), &digest("older")),
        "nothing is known"
    );
    reads.keep(|kept| *kept == digest("live"));
    assert!(reads.of(&digest("older")).is_none() && reads.of(&digest("live")).is_some());
}

#[test]
fn the_next_moment_is_the_nearest_one_ahead() {
    let instance = alive();
    let quick = Verify {
        tier: Tier::Acknowledged,
        within: Duration::from_millis(200),
    };
    assert_eq!(
        instance.next_moment(&quick, seconds(100)),
        Some(seconds(100).after(quick.within))
    );
    let slow = verify(Tier::Acknowledged);
    assert_eq!(
        instance.next_moment(&slow, seconds(100)),
        Some(seconds(100).after(RUNNING_AFTER))
    );
    assert_eq!(instance.next_moment(&slow, seconds(105)), Some(seconds(110)));
    assert_eq!(instance.next_moment(&slow, seconds(110)), None);
    assert_eq!(Instance::default().next_moment(&slow, seconds(0)), None);
}

#[test]
fn who_takes_part_reached_its_tier_on_what_is_live() {
    let take_part: Vec<_> = InstanceState::ALL
        .into_iter()
        .filter(|state| state.participates())
        .collect();
    assert_eq!(
        take_part,
        [
            InstanceState::Fit,
            InstanceState::Applied,
            InstanceState::Rejected
        ]
    );
}

#[test]
fn states_are_printed_as_they_are_written() {
    for state in InstanceState::ALL {
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(json, format!("{:?}", state.as_str()));
    }
}

#[test]
fn a_reload_that_is_owed_is_paid_by_its_answer_alone() {
    let verify = verify(Tier::Running);
    let mut instance = Instance::default();
    instance.note_started(token("one"), 7, seconds(0));
    let current =
        |instance: &Instance| instance.current(&red(), &verify, Some(&live()), &ReadsTable::default());
    assert!(current(&instance));

    instance.owe(seconds(20));
    assert!(!current(&instance), "what it runs is not known");
    assert!(instance.is_owed(seconds(20)));
    instance.note_sent(seconds(20));
    assert!(!instance.is_owed(seconds(20)), "the answer is waited for");
    assert!(instance.is_owed(seconds(21)), "and did not come");
    assert_eq!(instance.next_moment(&verify, seconds(20)), Some(seconds(21)));

    let deaf = || Some("no handler".to_owned());
    assert!(instance.note_paid(&token("one"), deaf()), "that is news");
    assert!(!instance.note_paid(&token("one"), deaf()), "and then it is not");
    assert!(instance.owed.as_ref().unwrap().phrase().contains("no handler"));
    instance.note_sent(seconds(21));
    assert!(!instance.is_owed(seconds(22)), "more and more rarely");
    assert!(instance.is_owed(seconds(23)));

    instance.note_paid(&token("another"), None);
    assert!(!current(&instance), "that was another process");
    instance.note_paid(&token("one"), None);
    assert!(current(&instance));
    assert!(!instance.is_owed(seconds(90)));

    instance.owe(seconds(90));
    instance.note_started(token("two"), 8, seconds(91));
    assert!(current(&instance), "it read what is current at its start");
}
