//! Chaos: random deaths under a stream of commits, some invalid, some refused by a service.
//!
//! `CHAOS_SECONDS` says how long, `CHAOS_SEED` which dice; `cargo e2e chaos` sets them. The dice decide what is done and
//! how long is waited between two deeds; the machine decides what that hits, so a seed brings back the kind of trouble,
//! not each instant of it.

use std::time::{Duration, Instant};

use lockstep_tests::crashes::{Change, Crashes, Victim};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A moment between two deeds. Not to wait for anything, but to hit another instant each time.
fn moment(dice: &mut fastrand::Rng) {
    let end = Instant::now() + Duration::from_micros(dice.u64(0..60_000));
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

#[test]
fn the_promises_hold_under_random_deaths() {
    let seed = number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let time = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(20));
    println!("CHAOS_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut crashes = Crashes::start();
    let began = Instant::now();
    let (mut commits, mut deaths, mut bursts) = (0, 0, 0);
    while began.elapsed() < time {
        for _ in 0..dice.u32(1..5) {
            let change = match dice.u32(0..10) {
                0 => Change::Invalid,
                1..4 => Change::Refused,
                _ => Change::Taken,
            };
            crashes.publish(change);
            commits += 1;
            for _ in 0..dice.u32(0..3) {
                moment(&mut dice);
                let victim = dice.choice(Victim::EACH).expect("there are victims");
                crashes.strike_any(victim);
                deaths += 1;
            }
            moment(&mut dice);
        }
        // Commits that arrive during a rollout become one candidate, so only a good last one has a known end.
        let last = crashes.publish(Change::Taken);
        crashes.assert_end(&last, Change::Taken);
        (commits, bursts) = (commits + 1, bursts + 1);
        if dice.bool() {
            // On top of what is live, a bad one has a known end as well.
            let invalid = crashes.publish(Change::Invalid);
            let victim = dice.choice(Victim::EACH).expect("there are victims");
            crashes.strike_any(victim);
            crashes.assert_end(&invalid, Change::Invalid);
            (commits, deaths) = (commits + 1, deaths + 1);
        }
    }
    println!(
        "{commits} commits in {bursts} bursts, {deaths} deaths; nobody stood still for more than {:?}",
        crashes.longest_pause()
    );
}
