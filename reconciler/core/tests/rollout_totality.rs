//! The machine fed with anything, in any order, as a driver full of mistakes would: every phase has an answer
//! to every event, and what must come before what does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod rollout_world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_core::rollout::{
    Answer, CheckVerdict, Command, Effect, Event, Evidence, Kind, Leg, Moment, Outcome, Phase, ProbeResult,
    Rollout, next,
};
use lockstep_core::service::{Pause, Reload, ServiceName, Tier};
use lockstep_protocol::{
    Attempt, Digest, InstanceToken, PROTOCOL, RolloutId, Status, StatusState, SwitchNumber, Vote,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use rollout_world::{Service, id, over_http, world};

const NAMES: [&str; 4] = ["red", "green", "blue", "gray"];

fn services() -> Vec<Service> {
    let frozen = Service {
        tier: Tier::Voting,
        check: true,
        ..Service::new("red")
    };
    let restarted = Service {
        tier: Tier::Probed,
        pause: Pause::None,
        reload: Reload::Restart,
        effect: Effect::Restart,
        ..Service::new("green")
    };
    let blind = Service {
        tier: Tier::Running,
        pause: Pause::None,
        ..Service::new("blue")
    };
    let requested = Service {
        tier: Tier::Running,
        pause: Pause::None,
        reload: over_http(),
        ..Service::new("gray")
    };
    vec![frozen, restarted, blind, requested]
}

fn events() -> impl Strategy<Value = Event> {
    let name = || prop::sample::select(&NAMES[..]);
    let member = move || name().prop_map(id);
    let token = || (name(), 1u32..6).prop_map(|(name, n)| InstanceToken(format!("{name}.{n}")));
    let unsent = move || {
        prop::option::of(member()).prop_map(|id| id.into_iter().map(|id| (id, "no".to_owned())).collect())
    };
    let reason = || "no".to_owned();
    let answers = prop::sample::select(vec![
        Event::Built,
        Event::BuildFailed { reason: reason() },
        Event::IntentRecorded,
        Event::IntentFailed { reason: reason() },
        Event::Paused,
        Event::PauseFailed { reason: reason() },
        Event::Switched,
        Event::SwitchFailed { reason: reason() },
        Event::PauseExpired,
        Event::Flushed,
        Event::FlushFailed { reason: reason() },
        Event::Withdrawn,
        Event::WithdrawFailed { reason: reason() },
        Event::OutcomeRecorded,
        Event::OutcomeFailed { reason: reason() },
        Event::Tick,
    ]);
    let rare = prop::sample::select(vec![Event::AgentLost, Event::Supersede, Event::Deposed]);
    let unfit = unsent();
    prop_oneof![
        12 => answers,
        1 => rare,
        2 => unfit.prop_map(|unfit: BTreeMap<_, _>| Event::Examined { unfit: unfit.into_iter().skip(1).collect() }),
        1 => name().prop_map(|name| Event::Checked {
            service: ServiceName::new(name),
            verdict: CheckVerdict::Passed,
        }),
        2 => unsent().prop_map(|unsent| Event::Told { unsent }),
        2 => (member(), token(), 1u64..4, answers_to_requests()).prop_map(|(member, instance, switch, answer)| {
            Event::Answered { member, instance, switch: SwitchNumber(switch), answer }
        }),
        2 => (unsent(), any::<bool>()).prop_map(|(unsent, expired)| Event::Unpaused {
            pause: Duration::from_millis(1),
            expired,
            unsent,
        }),
        2 => (member(), token()).prop_map(|(member, instance)| Event::Started { member, instance }),
        1 => member().prop_map(|member| Event::StartFailed { member, reason: "no".to_owned() }),
        1 => (member(), token()).prop_map(|(member, instance)| Event::Ended {
            member,
            instance,
            how: "exited".to_owned(),
        }),
        1 => (member(), token()).prop_map(|(member, token)| Event::AgentBack {
            alive: BTreeMap::from([(member, token)]),
        }),
        4 => statements(),
        2 => (member(), any::<bool>(), 90u64..200).prop_map(|(member, passes, began)| Event::Evidence {
            member,
            evidence: Evidence::Probed(ProbeResult {
                began: Moment(Duration::from_secs(began)),
                failure: (!passes).then(|| "503".to_owned()),
            }),
        }),
    ]
}

fn answers_to_requests() -> impl Strategy<Value = Answer> {
    prop::sample::select(vec![
        Answer::Accepted,
        Answer::Refused("no".to_owned()),
        Answer::Missing("no".to_owned()),
    ])
}

fn statements() -> impl Strategy<Value = Event> {
    let rollout = world(Kind::Change, Duration::ZERO, &services(), &[]).first;
    let digests = vec![
        rollout.to.digest,
        rollout.from.unwrap().digest,
        Digest::of_bytes(b"other"),
    ];
    let said = prop::sample::select(vec![
        StatusState::Applied,
        StatusState::Applied,
        StatusState::Rejected,
    ]);
    let digest = prop::sample::select(digests);
    let token = prop_oneof![3 => Just(1u32), 1 => 2u32..6];
    (
        prop::sample::select(&NAMES[..]),
        token,
        1u64..4,
        1u64..4,
        digest,
        said,
    )
        .prop_map(|(name, token, attempted, runs, digest, state)| {
            let token = format!("{name}.{token}");
            statement(&token, SwitchNumber(attempted), SwitchNumber(runs), digest, state)
        })
}

fn statement(
    token: &str,
    attempted: SwitchNumber,
    runs: SwitchNumber,
    digest: Digest,
    state: StatusState,
) -> Event {
    let status = Status {
        protocol: PROTOCOL,
        instance: InstanceToken(token.to_owned()),
        switch: Some(runs),
        revision: None,
        digest: Some(digest),
        state,
        attempted: Attempt {
            switch: Some(attempted),
            revision: None,
        },
        error: None,
        vote: Some(Vote {
            rollout: RolloutId("1-2".to_owned()),
            accept: true,
            error: None,
        }),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    Event::Evidence {
        member: id(token.split('.').next().unwrap()),
        evidence: Evidence::Stated(Box::new(status)),
    }
}

/// What was given to the machine and what it answered, as far as one must come before the other.
#[derive(Default)]
struct Order {
    intent: bool,
    flushed: bool,
    quarantined: bool,
}

impl Order {
    fn heard(&mut self, event: &Event, phase: &Phase) {
        match (event, phase) {
            (Event::IntentRecorded, Phase::Recording) => self.intent = true,
            (Event::Flushed, Phase::Verifying { .. } | Phase::Stuck { .. }) => self.flushed = true,
            (Event::Switched, Phase::Publishing { .. }) => self.flushed = false,
            _ => {}
        }
    }

    fn told(&mut self, command: &Command, rollout: &Rollout) -> Result<(), String> {
        let right = match command {
            Command::Switch(number) => {
                let back = rollout.leg != Leg::There;
                self.intent && *number == if back { rollout.back } else { rollout.to.switch }
            }
            Command::Quarantine(_) => {
                self.quarantined = true;
                true
            }
            Command::RecordOutcome(Outcome::Settled { .. }) => self.flushed,
            Command::RecordOutcome(Outcome::RolledBack { .. }) => self.flushed && self.quarantined,
            Command::RecordOutcome(_) | Command::Hold(_) | Command::Pause(_) => self.intent,
            _ => true,
        };
        if right {
            Ok(())
        } else {
            Err(format!("{command:?} comes too early"))
        }
    }
}

fn name(phase: &Phase, leg: &Leg) -> String {
    let phase = format!("{phase:?}");
    let phase = phase.split([' ', '(']).next().unwrap_or_default();
    let leg = if *leg == Leg::There { "there" } else { "back" };
    format!("{phase} {leg}")
}

/// Events that lead on from here, so that the dice get far.
fn fitting(rollout: &Rollout, now: Moment) -> Vec<Event> {
    let (switch, digest) = rollout.expected();
    let red = statement("red.1", switch, switch, digest, StatusState::Applied);
    let passed = Event::Evidence {
        member: id("green"),
        evidence: Evidence::Probed(ProbeResult {
            began: now,
            failure: None,
        }),
    };
    let nothing = BTreeMap::new;
    match &rollout.phase {
        Phase::Preparing(_) => vec![
            Event::Built,
            Event::Examined { unfit: nothing() },
            Event::Checked {
                service: ServiceName::new("red"),
                verdict: CheckVerdict::Passed,
            },
            red,
        ],
        Phase::Recording => vec![Event::IntentRecorded],
        Phase::Pausing => vec![Event::Paused],
        Phase::Publishing { .. } => vec![Event::Switched],
        Phase::Unpausing { .. } => vec![
            Event::Unpaused {
                pause: Duration::from_millis(1),
                expired: false,
                unsent: nothing(),
            },
            Event::Told { unsent: nothing() },
        ],
        Phase::Verifying { .. } | Phase::Stuck { .. } => vec![
            Event::Flushed,
            red,
            Event::Answered {
                member: id("gray"),
                instance: InstanceToken("gray.4".to_owned()),
                switch,
                answer: Answer::Accepted,
            },
            passed,
            Event::Tick,
            Event::Told { unsent: nothing() },
            Event::Started {
                member: id("green"),
                instance: InstanceToken("green.9".to_owned()),
            },
        ],
        Phase::Baking { .. } => vec![Event::Tick],
        Phase::Closing { .. } => vec![Event::OutcomeRecorded],
        Phase::Done(_) => vec![Event::Tick],
    }
}

/// Feeds a rollout that was just started; says which phases it came through.
fn feed(events: Vec<(Event, u8)>) -> Result<BTreeSet<String>, String> {
    let mut order = Order::default();
    let mut seen = BTreeSet::new();
    let mut rollout = world(Kind::Change, Duration::from_secs(2), &services(), &[]).first;
    let mut now = Moment(Duration::from_secs(100));
    for (any, choice) in events {
        let fitting = fitting(&rollout, now);
        let event = if choice % 5 < 2 {
            any
        } else {
            fitting[usize::from(choice / 5) % fitting.len()].clone()
        };
        if event == Event::Tick {
            now = rollout.deadline().unwrap_or(now).max(now);
        }
        // A driver that ticks at the deadline is not told to tick at once again.
        let ticked = event == Event::Tick;
        order.heard(&event, &rollout.phase);
        let was_done = rollout.outcome().cloned();
        let (after, commands) = next(rollout, event, now);
        if commands.len() > 20 {
            return Err(format!("{} commands at once", commands.len()));
        }
        for command in &commands {
            order.told(command, &after)?;
        }
        if ticked && after.deadline().is_some_and(|deadline| deadline <= now) {
            return Err(format!("{:?} has a deadline that passed", after.phase));
        }
        if was_done.is_some() && (after.outcome() != was_done.as_ref() || !commands.is_empty()) {
            return Err("what is over went on".to_owned());
        }
        rollout = after;
        seen.insert(name(&rollout.phase, &rollout.leg));
    }
    Ok(seen)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_event_in_any_phase_has_an_answer(events in vec((events(), any::<u8>()), 0..120)) {
        feed(events).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn the_dice_reach_every_phase() {
    let mut seen = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..800 {
        let events = vec((events(), any::<u8>()), 60..120)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        seen.extend(feed(events).unwrap());
    }
    println!("{seen:#?}");
    for phase in [
        "Preparing",
        "Recording",
        "Pausing",
        "Publishing",
        "Unpausing",
        "Verifying",
        "Closing",
        "Done",
    ] {
        assert!(
            seen.contains(&format!("{phase} there")),
            "{phase} there: {seen:?}"
        );
    }
    for phase in [
        "Preparing",
        "Pausing",
        "Publishing",
        "Unpausing",
        "Verifying",
        "Stuck",
        "Closing",
        "Done",
    ] {
        assert!(seen.contains(&format!("{phase} back")), "{phase} back: {seen:?}");
    }
    assert!(seen.contains("Baking there"), "{seen:?}");
}
