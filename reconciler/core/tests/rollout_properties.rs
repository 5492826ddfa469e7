//! Whatever happens, in whatever order: the promises hold at each step, and when the world is well again the
//! rollout comes to its end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod rollout_world;

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::rollout::{Effect, Kind, Outcome, Part};
use lockstep_core::service::{Pause, Reload, Tier};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use rollout_world::{Act, Fault, Service, World, over_http, world};

fn services(kind: Kind) -> impl Strategy<Value = Vec<Service>> {
    vec(service(kind), 0..4).prop_map(|services| {
        let named = services.into_iter().enumerate();
        named
            .map(|(n, service)| Service {
                name: ["red", "green", "blue"][n].to_owned(),
                ..service
            })
            .collect()
    })
}

fn service(kind: Kind) -> impl Strategy<Value = Service> {
    let tier = prop_oneof![
        1 => Just(Tier::Running),
        1 => Just(Tier::Probed),
        4 => Just(Tier::Acknowledged),
        1 => Just(Tier::Voting),
    ];
    let pause = prop_oneof![Just(Pause::Freeze), Just(Pause::None)];
    let reload = prop_oneof![
        3 => Just(Reload::Signal("SIGUSR1".to_owned())),
        2 => Just(over_http()),
        1 => Just(Reload::Watch),
        1 => Just(Reload::Restart),
    ];
    let part = prop_oneof![4 => Just(Part::Participant), 1 => Just(Part::Absent)];
    let supervised = prop_oneof![3 => Just(true), 1 => Just(false)];
    (
        tier,
        pause,
        reload,
        part,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        supervised,
    )
        .prop_map(
            move |(tier, pause, reload, part, restart, alive, check, supervised)| {
                let supervised = supervised || reload == Reload::Restart;
                Service {
                    tier,
                    pause,
                    effect: if (restart && supervised) || reload == Reload::Restart {
                        Effect::Restart
                    } else {
                        Effect::Reload
                    },
                    reload,
                    part: match (kind, supervised) {
                        (Kind::First, true) => Part::Participant,
                        // Before the first release nobody has stated anything.
                        (Kind::First, false) if alive && !tier.states() => Part::Participant,
                        (Kind::First, false) => Part::Absent,
                        (Kind::Change | Kind::Healing, _) => part,
                    },
                    alive: alive || (part == Part::Participant && kind != Kind::First),
                    check,
                    supervised,
                    ..Service::new("")
                }
            },
        )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![5 => Just(Kind::Change), 1 => Just(Kind::First), 1 => Just(Kind::Healing)]
}

fn faults() -> impl Strategy<Value = Vec<(Fault, u32)>> {
    let kinds = [
        Fault::Crash,
        Fault::Disk,
        Fault::Agent,
        Fault::Refuse,
        Fault::Die,
        Fault::Guard,
    ];
    [0u32..3, 0..3, 0..3, 0..3, 0..3, 0..3].prop_map(move |counts| kinds.into_iter().zip(counts).collect())
}

/// One choice. Faults and long waits come seldom: otherwise no rollout would ever get far.
fn choose(acts: &[Act], choice: u16) -> Act {
    let (rare, usual): (Vec<_>, Vec<_>) = acts.iter().partition(|act| match act {
        Act::ExecuteBadly
        | Act::FailStart(_)
        | Act::StartByPolicy(_)
        | Act::Refuse(_)
        | Act::Lie(_)
        | Act::Deafen(_)
        | Act::Die(_)
        | Act::Vote(_, false)
        | Act::Answer(_, false)
        | Act::Probe(_, false)
        | Act::LoseAgent
        | Act::Crash
        | Act::Tick => true,
        Act::Execute
        | Act::FromVolume
        | Act::FromAgent
        | Act::FinishStart(_)
        | Act::Notice(_)
        | Act::Read(_)
        | Act::Apply(_)
        | Act::Vote(_, true)
        | Act::Answer(_, true)
        | Act::Probe(_, true)
        | Act::ReturnAgent
        | Act::Recover => false,
    });
    let (which, seldom) = (usize::from(choice >> 4), choice.is_multiple_of(16));
    let from = match (rare.is_empty(), usual.is_empty()) {
        (false, true) => rare,
        (false, false) if seldom => rare,
        (_, false) | (true, true) => usual,
    };
    from[which % from.len()].clone()
}

fn run(mut world: World, choices: &[u16]) -> Result<World, String> {
    for choice in choices {
        let acts = world.acts();
        if acts.is_empty() || world.over() || world.done().is_some() || !world.broken.is_empty() {
            break;
        }
        world.act(&choose(&acts, *choice));
    }
    match world.become_well() {
        Ok(()) => Ok(world),
        Err(broken) => Err(format!(
            "{broken}\n{}\nat the end: {:#?}",
            world.log.unwrap_or_default().join("\n"),
            world.rollout
        )),
    }
}

prop_compose! {
    fn stories()(
        (kind, services) in kind().prop_flat_map(|kind| (Just(kind), services(kind))),
        bake in prop_oneof![2 => Just(0u64), 1 => Just(3)],
        faults in faults(),
        choices in vec(any::<u16>(), 0..250),
        interleaved in any::<bool>(),
    ) -> (World, Vec<u16>) {
        let mut world = world(kind, Duration::from_secs(bake), &services, &faults);
        world.interleaved = interleaved;
        (world, choices)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn promises_hold_whatever_happens((mut world, choices) in stories()) {
        world.log = Some(Vec::new());
        run(world, &choices).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn without_a_fault_every_rollout_settles(
        (kind, services) in kind().prop_flat_map(|kind| (Just(kind), services(kind))),
        choices in vec(any::<u16>(), 0..150),
    ) {
        let mut world = world(kind, Duration::ZERO, &services, &[]);
        for choice in choices {
            // Time stands still unless nothing else happens: otherwise being slow would be a fault.
            let acts: Vec<_> = world.acts().into_iter().filter(|act| *act != Act::Tick).collect();
            if acts.is_empty() || world.done().is_some() {
                break;
            }
            world.act(&choose(&acts, choice));
        }
        world.become_well().map_err(TestCaseError::fail)?;
        let settled = matches!(world.done(), Some(Outcome::Settled { .. }));
        prop_assert!(settled, "{:?}", world.done());
    }
}

/// A property that nothing ever puts to the test proves nothing.
#[test]
fn the_dice_reach_every_end() {
    let mut ends = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..1500 {
        let (world, choices) = stories().new_tree(&mut runner).unwrap().current();
        let world = run(world, &choices).unwrap();
        let end = world
            .done()
            .map_or("crashed before the intent or after the outcome", Outcome::as_str);
        *ends.entry(end).or_insert(0) += 1;
        if world.stuck_once {
            *ends.entry("Stuck").or_insert(0) += 1;
        }
    }
    println!("{ends:#?}");
    for end in ["Settled", "RolledBack", "Aborted", "Rejected", "Stuck"] {
        let times = ends.get(end).copied().unwrap_or(0);
        assert!(times >= 5, "{end} was reached {times} times: {ends:?}");
    }
}
