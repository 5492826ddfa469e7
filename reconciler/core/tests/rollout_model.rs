//! Every order of events of a small rollout, by a model checker: the machine is the real one, the world is
//! simulated. One crash and one refusal (or lie, or silence) may happen, at any point, and any delay.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod rollout_world;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use lockstep_core::rollout::{Effect, Kind, Outcome, Rollout};
use lockstep_core::service::{Pause, Reload};
use stateright::{Checker, Model, Property};

use rollout_world::{Act, Fault, Service, World, over_http, world};

/// How often the road back is tried in a path: what comes after is more of the same.
const TRIES: u32 = 1;

struct Small {
    services: Vec<Service>,
    faults: Vec<(Fault, u32)>,
}

/// A world, compared by what matters for what can still happen.
#[derive(Clone)]
struct State {
    world: World,
    key: u64,
}

impl State {
    fn new(world: World) -> Self {
        let key = world.key();
        Self { world, key }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.key)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Model for Small {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(world(
            Kind::Change,
            Duration::ZERO,
            &self.services,
            &self.faults,
        ))]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        let world = &state.world;
        if world.done().is_some() {
            return;
        }
        // Without a deadline no tick comes: whoever waits for one then waits for ever. Services may be as slow
        // as they like, messages are not; and one that is deaf is one that gets no turn before the tick.
        let deadline = world.rollout.as_ref().and_then(Rollout::deadline);
        let delivered = world.from_volume.is_empty() && world.from_agent.is_empty();
        actions.extend(world.acts().into_iter().filter(|act| match act {
            Act::Tick => deadline.is_some() && delivered,
            Act::Deafen(_) | Act::Lie(_) => false,
            _ => true,
        }));
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let mut world = state.world.clone();
        world.act(&act);
        // Between two commands only a crash matters.
        while !world.todo.is_empty() && !world.left(Fault::Crash) {
            world.act(&Act::Execute);
        }
        Some(State::new(world))
    }

    fn within_boundary(&self, state: &State) -> bool {
        state
            .world
            .rollout
            .as_ref()
            .is_none_or(|rollout| rollout.pending.tries <= TRIES)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no promise is broken", |_, state: &State| {
                state.world.broken.is_empty()
            }),
            Property::always(
                "at the end nobody runs another release than the others",
                |_, state: &State| state.world.done().is_none() || releases(&state.world).len() <= 1,
            ),
            Property::always("a dead coordinator leaves nobody paused", |_, state: &State| {
                let mut processes = state
                    .world
                    .instances
                    .values()
                    .filter_map(|instance| instance.process.as_ref());
                state.world.rollout.is_some() || !processes.any(|process| process.paused)
            }),
            Property::eventually(
                "it comes to its end, or is stuck and says so",
                |_, state: &State| {
                    state.world.done().is_some() || state.world.over() || state.world.stuck_once
                },
            ),
            Property::sometimes("it settles", |_, state: &State| ended(state, "Settled")),
            Property::sometimes("it rolls back", |_, state: &State| ended(state, "RolledBack")),
            Property::sometimes("it rolls back after it was stuck", |_, state: &State| {
                ended(state, "RolledBack") && state.world.stuck_once
            }),
            Property::sometimes("it is aborted", |_, state: &State| ended(state, "Aborted")),
        ]
    }
}

fn ended(state: &State, outcome: &str) -> bool {
    state.world.done().map(Outcome::as_str) == Some(outcome)
}

/// The digests that run.
fn releases(world: &World) -> BTreeSet<lockstep_protocol::Digest> {
    let processes = world
        .instances
        .values()
        .filter_map(|instance| instance.process.as_ref());
    processes
        .filter_map(|process| Some(world.digest_of(process.runs?)))
        .collect()
}

fn check(name: &str, services: Vec<Service>, faults: Vec<(Fault, u32)>) {
    let checker = Small { services, faults }.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} of them unique",
        checker.state_count(),
        checker.unique_state_count()
    );
    for (property, path) in checker.discoveries() {
        if property.starts_with("it settles")
            || property.starts_with("it rolls")
            || property.starts_with("it is")
        {
            continue;
        }
        let last = path.last_state().clone();
        let acts: Vec<_> = path.into_actions();
        panic!(
            "{name}: {property}: {acts:#?}\n{:?}\n{:#?}",
            last.world.broken, last.world.rollout
        );
    }
    checker.assert_properties();
}

fn acknowledged() -> Service {
    Service {
        within: Duration::from_secs(1),
        ..Service::new("red")
    }
}

#[test]
fn one_that_is_frozen_and_one_that_watches() {
    let watching = Service {
        pause: Pause::None,
        reload: Reload::Watch,
        within: Duration::from_secs(1),
        ..Service::new("blue")
    };
    check(
        "frozen and watching",
        vec![acknowledged(), watching],
        vec![(Fault::Crash, 1), (Fault::Refuse, 1)],
    );
}

#[test]
fn one_that_is_frozen_and_one_that_is_restarted() {
    let restarted = Service {
        pause: Pause::None,
        reload: Reload::Restart,
        effect: Effect::Restart,
        within: Duration::from_secs(1),
        ..Service::new("blue")
    };
    check(
        "frozen and restarted",
        vec![acknowledged(), restarted],
        vec![(Fault::Crash, 1), (Fault::Refuse, 1)],
    );
}

/// Alone: two have ten times the states of any other pair, and its answers are its own.
#[test]
fn one_that_is_asked_over_http() {
    let asked = Service {
        reload: over_http(),
        ..acknowledged()
    };
    check("asked", vec![asked], vec![(Fault::Crash, 1), (Fault::Refuse, 1)]);
}
