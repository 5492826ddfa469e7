//! Each verdict, with its message.

use super::*;
use crate::ledger::{Quarantined, RejectedRevision, SettledTree, Suspension};

fn revision(digit: char) -> Revision {
    Revision::new(&digit.to_string().repeat(40)).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A head of revision `b` over a live revision `a`, and whatever a test changes.
struct Case {
    revision: Revision,
    digest: Digest,
    reads: BTreeMap<ServiceName, Digest>,
    ancestry: Ancestry,
    live: Option<Live>,
    ledger: Ledger,
    aborted: Option<Aborted>,
    stuck: bool,
    rewind: Rewind,
    closed: Option<Closed>,
    emergency: bool,
}

impl Case {
    fn new() -> Self {
        let mut ledger = Ledger::default();
        ledger.settled.push(tree('a', "live"));
        Self {
            revision: revision('b'),
            digest: digest("new"),
            reads: BTreeMap::from([(ServiceName::new("red"), digest("red's part"))]),
            ancestry: Ancestry::Descends,
            live: Some(Live {
                revision: revision('a'),
                digest: digest("live"),
                switch: SwitchNumber(4),
                published: revision('a'),
            }),
            ledger,
            aborted: None,
            stuck: false,
            rewind: Rewind::Hold,
            closed: None,
            emergency: false,
        }
    }

    fn verdict(&self) -> Verdict {
        let head = Head {
            revision: &self.revision,
            digest: self.digest,
            reads: &self.reads,
            ancestry: self.ancestry,
        };
        let facts = Facts {
            live: self.live.as_ref(),
            ledger: &self.ledger,
            aborted: self.aborted.as_ref(),
            stuck: self.stuck,
            rewind: self.rewind,
            closed: self.closed.as_ref(),
            emergency: self.emergency,
            now: Moment(Duration::from_secs(100)),
            time: time(0),
        };
        admit(&head, &facts)
    }

    /// The tree of the head settled before.
    fn settled_before(mut self) -> Self {
        self.ledger.settled.insert(0, tree('9', "new"));
        self
    }

    fn quarantined(mut self, digit: char, parts: &[(&str, &str)], again_at: Option<Timestamp>) -> Self {
        self.ledger.quarantined.push(Quarantined {
            revision: revision(digit),
            digest: digest("failed"),
            reason: "red: it refused the release".to_owned(),
            failed: parts
                .iter()
                .map(|(name, text)| (ServiceName::new(name), digest(text)))
                .collect(),
            passes_by_itself: again_at.is_some(),
            tries: 1,
            again_at,
            at: time(-10),
        });
        self
    }

    fn suspended(mut self, until: Option<Timestamp>) -> Self {
        self.ledger.suspended = Some(Suspension {
            reason: "market hours".to_owned(),
            until,
            since: time(-10),
        });
        self
    }
}

fn tree(digit: char, text: &str) -> SettledTree {
    SettledTree {
        revision: revision(digit),
        digest: digest(text),
        at: time(-100),
    }
}

fn held(verdict: Verdict) -> (String, Option<Until>) {
    match verdict {
        Verdict::Held {
            state: CandidateState::Held,
            reason,
            until,
        } => (reason, until),
        other => panic!("{other:?} is not Held"),
    }
}

#[test]
fn a_new_commit_is_tried() {
    assert_eq!(Case::new().verdict(), Verdict::Try);
}

#[test]
fn the_first_commit_of_an_empty_volume_is_tried() {
    let case = Case {
        live: None,
        ledger: Ledger::default(),
        ancestry: Ancestry::First,
        ..Case::new()
    };
    assert_eq!(case.verdict(), Verdict::Try);
}

#[test]
fn what_is_live_is_not_tried() {
    let case = Case {
        revision: revision('a'),
        digest: digest("live"),
        ..Case::new()
    };
    assert_eq!(case.verdict(), Verdict::Live);
}

#[test]
fn a_commit_that_changes_no_published_file_is_settled_at_once() {
    let case = Case {
        digest: digest("live"),
        ..Case::new()
    };
    assert_eq!(case.verdict(), Verdict::SettleAtOnce);
    assert_eq!(case.suspended(None).verdict(), Verdict::SettleAtOnce);
}

#[test]
fn a_rewound_branch_is_held_unless_that_is_allowed() {
    let mut case = Case {
        ancestry: Ancestry::Rewound,
        ..Case::new()
    };
    let (reason, until) = held(case.verdict());
    assert!(
        reason.starts_with("the branch was rewound: the last settled revision aaaaaaaaaaaa"),
        "{reason}"
    );
    assert!(
        reason.contains("bbbbbbbbbbbb") && reason.contains("lockstep rollback"),
        "{reason}"
    );
    assert_eq!(until, None);
    case.rewind = Rewind::Allow;
    assert_eq!(case.verdict(), Verdict::Try);
}

#[test]
fn rejected_and_quarantined_revisions_are_final_whatever_else_is_so() {
    let mut case = Case::new().settled_before();
    case.ledger.rejected.push(RejectedRevision {
        revision: revision('b'),
        reason: "max_positions is 0".to_owned(),
        at: time(-10),
    });
    let rejected = Verdict::Final {
        state: CandidateState::Rejected,
        reason: "max_positions is 0".to_owned(),
    };
    assert_eq!(case.verdict(), rejected);

    let case = Case::new().settled_before().quarantined('b', &[], Some(time(-5)));
    let quarantined = Verdict::Final {
        state: CandidateState::Quarantined,
        reason: "red: it refused the release".to_owned(),
    };
    assert_eq!(case.verdict(), quarantined);
}

#[test]
fn while_a_rollout_is_stuck_only_what_settled_before_is_tried() {
    let case = Case {
        stuck: true,
        ..Case::new()
    };
    let (reason, until) = held(case.verdict());
    assert!(
        reason.starts_with("a rollout is stuck: see `lockstep status`"),
        "{reason}"
    );
    assert_eq!(until, None);
    assert_eq!(case.settled_before().verdict(), Verdict::Try);
}

#[test]
fn a_revert_to_what_the_stuck_rollout_goes_back_to_waits_for_it() {
    let case = Case {
        stuck: true,
        digest: digest("live"),
        ..Case::new()
    };
    let (reason, _) = held(case.verdict());
    assert!(
        reason.starts_with("its files are those that the stuck rollout goes back to"),
        "{reason}"
    );
}

#[test]
fn a_suspension_holds_until_its_end_and_never_a_way_back() {
    let (reason, until) = held(Case::new().suspended(Some(time(60))).verdict());
    assert_eq!(reason, "reconciling is suspended: market hours");
    assert_eq!(until, Some(Until::At(time(60))));
    assert_eq!(held(Case::new().suspended(None).verdict()).1, None);
    assert_eq!(Case::new().suspended(Some(time(0))).verdict(), Verdict::Try);
    assert_eq!(
        Case::new().suspended(None).settled_before().verdict(),
        Verdict::Try
    );
}

#[test]
fn an_aborted_try_is_repeated_later_and_later_for_the_same_revision_alone() {
    let now = Moment(Duration::from_secs(100));
    let first = Aborted::once_more(None, &revision('b'), "red did not stop".to_owned(), now);
    let second = Aborted::once_more(Some(&first), &revision('b'), "red did not stop".to_owned(), now);
    let other = Aborted::once_more(Some(&second), &revision('c'), "red did not stop".to_owned(), now);
    assert_eq!([first.tries, second.tries, other.tries], [1, 2, 1]);

    let mut case = Case::new();
    case.aborted = Some(second);
    let verdict = Verdict::Held {
        state: CandidateState::Aborted,
        reason: "red did not stop".to_owned(),
        until: Some(Until::In(Duration::from_secs(2))),
    };
    assert_eq!(case.verdict(), verdict);
    case.aborted = Some(Aborted {
        again_at: now,
        ..first
    });
    assert_eq!(case.verdict(), Verdict::Try, "its time has come");
    case.aborted = Some(other);
    assert_eq!(case.verdict(), Verdict::Try, "another revision");
}

#[test]
fn what_changes_nothing_that_failed_would_fail_the_same_way() {
    let case = Case::new().quarantined('c', &[("red", "red's part")], None);
    let (reason, until) = held(case.verdict());
    assert_eq!(
        reason,
        "it changes nothing that red reads since cccccccccccc, which failed: red: it refused the release; \
         change that, revert it, or `lockstep retry`"
    );
    assert_eq!(until, None);
}

#[test]
fn it_is_tried_when_it_changes_what_everybody_who_failed_reads() {
    let one_of_two = [("red", "another part"), ("blue", "blue's part")];
    let mut case = Case::new().quarantined('c', &one_of_two, None);
    assert_eq!(case.verdict(), Verdict::Try);
    case.reads.insert(ServiceName::new("blue"), digest("blue's part"));
    let (reason, _) = held(case.verdict());
    assert!(
        reason.starts_with("it changes nothing that blue reads"),
        "{reason}"
    );
    assert_eq!(
        case.settled_before().verdict(),
        Verdict::Try,
        "a way back is never narrower"
    );
}

#[test]
fn after_a_time_out_it_is_tried_again_when_its_time_has_come() {
    let parts = [("red", "red's part")];
    let (_, until) = held(Case::new().quarantined('c', &parts, Some(time(8))).verdict());
    assert_eq!(until, Some(Until::At(time(8))));
    assert_eq!(
        Case::new().quarantined('c', &parts, Some(time(0))).verdict(),
        Verdict::Try
    );
}

#[test]
fn a_failure_of_the_volume_holds_no_later_commit() {
    assert_eq!(Case::new().quarantined('c', &[], None).verdict(), Verdict::Try);
}

/// A case within a closed window that opens after a minute.
fn closed() -> Case {
    Case {
        closed: Some(Closed {
            denied_by: vec!["market-hours".to_owned()],
            outside: false,
            until: Some(time(60)),
            why: "the window keeps changes out".to_owned(),
        }),
        ..Case::new()
    }
}

#[test]
fn a_closed_window_holds_until_it_opens() {
    assert_eq!(
        closed().verdict(),
        Verdict::Held {
            state: CandidateState::Held,
            reason: "the window keeps changes out; `lockstep sync --now --reason WHY` lets this one through"
                .to_owned(),
            until: Some(Until::At(time(60))),
        }
    );
}

#[test]
fn a_closed_window_lets_pass_what_settled_before_emergencies_and_the_first_release() {
    assert_eq!(closed().settled_before().verdict(), Verdict::Try);
    let emergency = Case {
        emergency: true,
        ..closed()
    };
    assert_eq!(emergency.verdict(), Verdict::Try);
    let first = Case {
        live: None,
        ancestry: Ancestry::First,
        ledger: Ledger::default(),
        ..closed()
    };
    assert_eq!(first.verdict(), Verdict::Try);
    let same = Case {
        digest: digest("live"),
        ..closed()
    };
    assert_eq!(same.verdict(), Verdict::SettleAtOnce);
}

#[test]
fn a_person_lets_one_revision_through_and_no_other() {
    let mut case = closed();
    let pass = |digit| LetThrough {
        revision: revision(digit),
        reason: "the limit is wrong".to_owned(),
        by: "ada".to_owned(),
        at: time(0),
    };
    case.ledger.let_through = Some(pass('c'));
    assert!(matches!(case.verdict(), Verdict::Held { .. }));
    case.ledger.let_through = Some(pass('b'));
    assert_eq!(case.verdict(), Verdict::Try);
    // Through a window, and through nothing else.
    let suspended = Suspension {
        reason: "maintenance".to_owned(),
        until: None,
        since: time(0),
    };
    case.ledger.suspended = Some(suspended);
    assert!(matches!(case.verdict(), Verdict::Held { .. }));
    case.ledger.suspended = None;
    // When it has failed, the next try is another decision.
    let failed = revision('b');
    case.ledger.note_rejected(&failed, "refused".to_owned(), time(1));
    case.ledger.retry();
    assert!(matches!(case.verdict(), Verdict::Held { .. }));
}
