//! A reconciler that is suspended, taken over and woken again: it changes nothing, says why, and ends.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lockstep_tests::crashes::{Change, Crashes};
use lockstep_tests::points::Arrival;

/// When the suspended one is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// While its successor takes up the rollout.
    AtOnce,
    /// When everything has come to its end.
    Late,
}

/// What the successor has made: paths with what identifies their contents. Its own staging goes on in the background.
fn made(crashes: &Crashes) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let volume = crashes.lab().volume();
    list(&volume, &volume, &mut all);
    for file in ["ledger.json", "events.jsonl"] {
        let text = fs::read_to_string(crashes.lab().state().join(file)).unwrap_or_default();
        all.insert(file.to_owned(), text);
    }
    all
}

fn list(root: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(facts) = path.symlink_metadata() else {
            continue;
        };
        let name = path.strip_prefix(root).expect("it was found there");
        let name = name.to_string_lossy().into_owned();
        if name.starts_with(".lockstep/term-") {
            continue;
        }
        let target = fs::read_link(&path).unwrap_or_default();
        let text = format!(
            "{} {} {}.{} {}",
            facts.mode(),
            facts.ino(),
            facts.mtime(),
            facts.mtime_nsec(),
            target.display()
        );
        if facts.is_dir() {
            list(root, &path, all);
        }
        all.insert(name, text);
    }
}

/// Suspends the reconciler at a point, has another one take over, wakes the first.
fn depose(crashes: &mut Crashes, (state, number): (&str, u64), change: Change, wake: Wake) -> bool {
    crashes.lab().stop_in(state, number);
    let began = crashes.lab().now();
    let revision = crashes.publish(change);
    let Arrival::At(point) = crashes.lab().wait_stopped(|| crashes.ended_after(began)) else {
        crashes.lab().stop_nowhere();
        crashes.assert_end(&revision, change);
        return false;
    };
    eprintln!("taken over at: {point}, woken {wake:?}");
    let mut deposed = crashes.lab().take_reconciler();
    let before = crashes.lab().now();
    crashes.lab().spawn_with_points(&["--take-over"]);
    crashes
        .lab()
        .wait_event_after(before, "the successor starts", |event| event.kind == "Started");
    match wake {
        Wake::AtOnce => {
            assert_eq!(deposed.wake_to_end().code(), Some(1), "how the deposed one ended");
            crashes.assert_end(&revision, change);
        }
        Wake::Late => {
            crashes.assert_end(&revision, change);
            let before = made(crashes);
            assert_eq!(deposed.wake_to_end().code(), Some(1), "how the deposed one ended");
            assert_eq!(made(crashes), before, "what the deposed one left");
            crashes.assert_end(&revision, change);
        }
    }
    let log = fs::read_to_string(crashes.lab().root().join("run.log")).expect("it was written");
    assert!(
        log.contains("a reconciler of a higher term has taken over"),
        "it said why it ended"
    );
    true
}

fn depose_in(states: &[&str], change: Change) {
    let mut crashes = Crashes::start();
    for state in states {
        let mut hits = 0;
        for number in 0..4 {
            let wake = if number % 2 == 0 { Wake::Late } else { Wake::AtOnce };
            if !depose(&mut crashes, (state, number), change, wake) {
                break;
            }
            hits += 1;
        }
        assert!(hits > 0, "{state} was not hit");
    }
    let last = crashes.publish(Change::Taken);
    crashes.assert_end(&last, Change::Taken);
}

#[test]
fn a_deposed_reconciler_changes_nothing_wherever_it_was_suspended() {
    depose_in(
        &[
            "Preparing",
            "Pausing",
            "Publishing",
            "Unpausing",
            "Verifying",
            "Settled",
        ],
        Change::Taken,
    );
}

#[test]
fn one_that_was_suspended_on_the_way_back_changes_nothing_either() {
    depose_in(&["Restoring", "RolledBack"], Change::Refused);
}
