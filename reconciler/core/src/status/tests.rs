//! The status, as it is printed.

use super::*;
use crate::admission::CandidateState;
use crate::instances::Instance;
use crate::ledger::{Quarantined, Suspension};
use crate::rollout::{
    Effect, Failure, FailureKind, Kind, Life, Limits, Member, Part, ProbeResult, Side, start,
};
use crate::service::{Pause, Reload};
use lockstep_protocol::{Attempt, InstanceToken, PROTOCOL, Status, StatusError};

fn revision(digit: char) -> Revision {
    Revision::new(&digit.to_string().repeat(40)).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn red(index: u32) -> MemberId {
    MemberId {
        service: ServiceName::new("red"),
        index,
    }
}

fn stated(state: StatusState, attempted: u64, runs: (u64, &str), error: Option<&str>) -> Status {
    Status {
        protocol: PROTOCOL,
        instance: InstanceToken("one".to_owned()),
        switch: Some(SwitchNumber(runs.0)),
        revision: Some(revision('a')),
        digest: Some(digest(runs.1)),
        state,
        attempted: Attempt {
            switch: Some(SwitchNumber(attempted)),
            revision: None,
        },
        error: error.map(|message| StatusError {
            message: message.to_owned(),
            path: None,
            line: None,
            column: None,
        }),
        vote: None,
        at: time(0),
    }
}

fn instance(statement: Option<Status>) -> Instance {
    let mut instance = Instance::default();
    instance.note_started(
        InstanceToken("one".to_owned()),
        42,
        Moment(Duration::from_secs(10)),
    );
    instance.statement = statement;
    instance
}

fn rollout() -> Rollout {
    let member = Member {
        part: Part::Participant,
        effect: Effect::Reload,
        pause: Pause::None,
        reload: Reload::Watch,
        tier: Tier::Acknowledged,
        within: Duration::from_secs(10),
        stop_within: Duration::from_secs(1),
        supervised: true,
        check: false,
        life: Life::Alive(InstanceToken("one".to_owned())),
        progress: Progress::Waiting,
        restarted: false,
        statement: None,
        probe: None,
    };
    let side = |switch, digit, text| Side {
        switch: SwitchNumber(switch),
        revision: revision(digit),
        digest: digest(text),
    };
    let limits = Limits {
        pause: Duration::from_millis(500),
        bake: Duration::ZERO,
    };
    let switches = (Some(side(4, 'a', "live")), side(5, 'b', "new"), SwitchNumber(6));
    let id = RolloutId("1-5".to_owned());
    start(Rollout::new(
        id,
        Kind::Change,
        switches,
        limits,
        BTreeMap::from([(red(0), member)]),
    ))
    .0
}

/// Facts that a test changes before it looks.
struct Known {
    live: Option<Live>,
    candidate: Option<(Revision, Verdict)>,
    rollout: Option<Rollout>,
    services: Vec<(ServiceName, Verify)>,
    instances: Instances,
    ledger: Ledger,
    alarms: Vec<String>,
}

impl Known {
    fn new() -> Self {
        let verify = Verify {
            tier: Tier::Acknowledged,
            within: Duration::from_secs(10),
        };
        let applied = stated(StatusState::Applied, 4, (4, "live"), None);
        Self {
            live: Some(Live {
                revision: revision('a'),
                digest: digest("live"),
                switch: SwitchNumber(4),
                published: revision('a'),
            }),
            candidate: None,
            rollout: None,
            services: vec![(ServiceName::new("red"), verify)],
            instances: BTreeMap::from([(red(0), instance(Some(applied)))]),
            ledger: Ledger::default(),
            alarms: Vec::new(),
        }
    }

    fn look(&self) -> StatusView {
        status(&StatusFacts {
            live: self.live.as_ref(),
            candidate: self
                .candidate
                .as_ref()
                .map(|(revision, verdict)| (revision, verdict)),
            rollout: self.rollout.as_ref(),
            services: &self.services,
            instances: &self.instances,
            reads: &ReadsTable::default(),
            ledger: &self.ledger,
            source: &SourceView::default(),
            alarms: &self.alarms,
            now: Moment(Duration::from_secs(30)),
            time: time(0),
        })
    }

    fn phase(mut self, leg: Leg, phase: Phase) -> Self {
        let mut rollout = rollout();
        rollout.leg = leg;
        rollout.phase = phase;
        self.rollout = Some(rollout);
        self
    }
}

fn failure() -> Failure {
    Failure {
        member: Some(red(0)),
        kind: FailureKind::TimedOut,
        message: "it said nothing".to_owned(),
    }
}

#[test]
fn all_is_well_when_everybody_runs_what_is_live() {
    let view = Known::new().look();
    assert_eq!(view.live.as_ref().map(|live| live.switch), Some(SwitchNumber(4)));
    assert_eq!(
        (&view.candidate, &view.rollout, &view.held),
        (&None, &None, &None)
    );
    assert!(view.alarms.is_empty());
    let service = &view.services[0];
    assert!(service.current);
    let instance = &service.instances[0];
    assert_eq!(
        (instance.state, instance.pid, instance.uptime),
        (InstanceState::Applied, Some(42), Some(20.0))
    );
}

#[test]
fn the_names_in_json_are_the_ones_that_scripts_rely_on() {
    let json = serde_json::to_value(Known::new().look()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in [
        "live",
        "candidate",
        "rollout",
        "services",
        "quarantined",
        "held",
        "suspended",
    ] {
        assert!(keys(&json).contains(&key.to_owned()), "{key}");
    }
    for key in ["revision", "digest", "switch", "published"] {
        assert!(keys(&json["live"]).contains(&key.to_owned()), "{key}");
    }
    let service = &json["services"][0];
    for key in ["name", "tier", "current", "instances"] {
        assert!(keys(service).contains(&key.to_owned()), "{key}");
    }
    for key in [
        "id", "pid", "state", "revision", "digest", "switch", "current", "error",
    ] {
        assert!(keys(&service["instances"][0]).contains(&key.to_owned()), "{key}");
    }
}

#[test]
fn a_service_without_an_instance_is_not_current() {
    let mut known = Known::new();
    known.instances.clear();
    let view = known.look();
    assert!(!view.services[0].current && view.services[0].instances.is_empty());
}

#[test]
fn one_that_runs_something_else_is_an_alarm_that_names_it() {
    let mut known = Known::new();
    let other = stated(StatusState::Rejected, 4, (3, "older"), Some("max_positions is 0"));
    known.instances.insert(red(1), instance(Some(other)));
    let view = known.look();
    assert_eq!(view.alarms, ["red#1 is diverged: max_positions is 0"]);
    assert!(!view.services[0].current);
}

#[test]
fn a_dead_one_says_how_it_ended_and_a_failed_probe_why() {
    let mut known = Known::new();
    let mut dead = instance(None);
    dead.note_ended(
        &InstanceToken("one".to_owned()),
        "exited with status 1".to_owned(),
    );
    known.instances.insert(red(0), dead);
    let mut probed = instance(None);
    probed.probe = Some(ProbeResult {
        began: Moment::default(),
        failure: Some("it answered 503".to_owned()),
    });
    known.instances.insert(red(1), probed);
    let errors: Vec<_> = known.look().services[0]
        .instances
        .iter()
        .map(|view| view.error.clone())
        .collect();
    assert_eq!(
        errors,
        [
            Some("exited with status 1".to_owned()),
            Some("it answered 503".to_owned())
        ]
    );
}

#[test]
fn a_candidate_has_the_state_of_its_verdict() {
    let mut known = Known::new();
    let mut look = |verdict| {
        known.candidate = Some((revision('b'), verdict));
        let view = known.look();
        (
            view.candidate.map(|view| (view.state, view.reason)),
            view.held.map(|held| held.until),
        )
    };
    assert_eq!(look(Verdict::Live), (None, None));
    assert_eq!(look(Verdict::SettleAtOnce), (None, None));
    assert_eq!(look(Verdict::Try), (Some((CandidateState::Judging, None)), None));
    let reason = || "because".to_owned();
    let rejected = Verdict::Final {
        state: CandidateState::Rejected,
        reason: reason(),
    };
    assert_eq!(
        look(rejected),
        (Some((CandidateState::Rejected, Some(reason()))), None)
    );
    for (until, expected) in [
        (None, None),
        (Some(Until::At(time(60))), Some(time(60))),
        (Some(Until::In(Duration::from_secs(5))), Some(time(5))),
    ] {
        let held = Verdict::Held {
            state: CandidateState::Held,
            reason: reason(),
            until,
        };
        assert_eq!(
            look(held),
            (Some((CandidateState::Held, Some(reason()))), Some(expected))
        );
    }
    known.candidate = Some((revision('b'), Verdict::Try));
    known.rollout = Some(rollout());
    assert_eq!(known.look().candidate.unwrap().state, CandidateState::Rolling);
}

#[test]
fn quarantine_and_suspension_are_shown_while_they_last() {
    let mut known = Known::new();
    known.ledger.quarantined.push(Quarantined {
        revision: revision('c'),
        digest: digest("c"),
        reason: "red: it refused".to_owned(),
        failed: BTreeMap::new(),
        passes_by_itself: false,
        tries: 1,
        again_at: None,
        at: time(-5),
    });
    for (until, shown) in [(None, true), (Some(time(1)), true), (Some(time(0)), false)] {
        known.ledger.suspended = Some(Suspension {
            reason: "market hours".to_owned(),
            until,
            since: time(-5),
        });
        assert_eq!(known.look().suspended.is_some(), shown, "{until:?}");
    }
    assert_eq!(known.look().quarantined[0].reason, "red: it refused");
}

#[test]
fn a_rollout_is_called_by_the_words_of_the_design() {
    let back = || Leg::Back(vec![failure()]);
    let publishing = || Phase::Publishing { paused: false };
    let named = |leg, phase| {
        Known::new()
            .phase(leg, phase)
            .look()
            .rollout
            .map(|view| view.state)
    };
    assert_eq!(named(Leg::There, Phase::Recording).as_deref(), Some("Preparing"));
    assert_eq!(named(Leg::There, publishing()).as_deref(), Some("Publishing"));
    assert_eq!(named(back(), publishing()).as_deref(), Some("Restoring"));
    let closing = Phase::Closing {
        outcome: crate::rollout::Outcome::Deposed,
        retry_at: None,
    };
    assert_eq!(named(Leg::There, closing).as_deref(), Some("Deposed"));
    let done = Phase::Done(crate::rollout::Outcome::Deposed);
    assert_eq!(named(Leg::There, done), None, "it is over");
}

#[test]
fn a_rollout_that_goes_back_says_why_and_whom_it_waits_for() {
    let verifying = Phase::Verifying {
        flushed: true,
        restarting: false,
    };
    let mut known = Known::new().phase(Leg::Back(vec![failure()]), verifying);
    let now = Moment::default();
    for (progress, said) in [
        (Progress::Waiting, None),
        (Progress::Telling { until: now }, Some("red: is being told")),
        (
            Progress::Told { at: now, until: now },
            Some("red: told, no evidence yet"),
        ),
        (Progress::Coming { until: now }, Some("red: is being started")),
        (Progress::Starting { until: now }, Some("red: is being started")),
        (
            Progress::Down {
                again_at: now,
                until: now,
            },
            Some("red: ended, is started again"),
        ),
        (Progress::Failed(failure()), Some("red: it said nothing")),
        (Progress::Reached, None),
        (Progress::Unproven, None),
    ] {
        known
            .rollout
            .as_mut()
            .unwrap()
            .members
            .get_mut(&red(0))
            .unwrap()
            .progress = progress;
        let view = known.look().rollout.unwrap();
        assert_eq!(view.reason.as_deref(), Some("red: it said nothing"));
        assert_eq!(view.waiting, Vec::from_iter(said.map(str::to_owned)));
    }
}

#[test]
fn a_mix_is_expected_during_a_rollout_and_an_alarm_when_it_is_stuck() {
    let other = || instance(Some(stated(StatusState::Applied, 5, (5, "new"), None)));
    let verifying = Phase::Verifying {
        flushed: true,
        restarting: false,
    };
    let mut known = Known::new().phase(Leg::There, verifying);
    known.instances.insert(red(0), other());
    assert!(known.look().alarms.is_empty());

    let stuck = Phase::Stuck {
        why: "red: it said nothing".to_owned(),
        retry_at: Moment::default(),
        attempts: 1,
        switched: true,
        flushed: true,
    };
    let mut known = Known::new().phase(Leg::Back(vec![failure()]), stuck);
    known.instances.insert(red(0), other());
    known.alarms.push("the mirror is away".to_owned());
    let alarms = known.look().alarms;
    assert_eq!(
        alarms,
        [
            "the mirror is away",
            "the rollout 1-5 is stuck on its way back: red: it said nothing",
            "red is diverged: it runs something else than what is live",
        ]
    );
}
