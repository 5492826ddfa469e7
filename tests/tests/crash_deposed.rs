//! A reconciler that is suspended, taken over and woken again: it changes nothing, says why, and ends.
//!
//! It is suspended at points spread over each state of a rollout, or at each with `CRASH_POINTS=all` (`cargo e2e chaos`
//! sets it).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use lockstep_tests::crashes::{Change, Crashes};
use lockstep_tests::points::Arrival;
use lockstep_tests::wait::eventually;

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

/// Which points of a state: each, or some that lie the further apart the later they come.
fn points() -> Box<dyn Iterator<Item = u64>> {
    if std::env::var("CRASH_POINTS").is_ok_and(|points| points == "all") {
        return Box::new(0..);
    }
    Box::new(std::iter::successors(Some((0, 1)), |(at, step)| Some((at + step, at + step))).map(|(at, _)| at))
}

fn depose_in(states: &[&str], change: Change) {
    let mut crashes = Crashes::start();
    for state in states {
        let mut hits = 0;
        for number in points() {
            let wake = if hits % 2 == 0 { Wake::Late } else { Wake::AtOnce };
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

/// Whether somebody answers at the web port with this status line.
fn answers(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}

#[test]
fn a_suspended_reconciler_that_holds_the_web_port_can_be_taken_over() {
    let mut crashes = Crashes::start_with("[web]\nlisten = \"{address}:8180\"");
    let at = SocketAddr::from((crashes.lab().address(), 8180));
    for (point, wake) in [(("Verifying", 0), Wake::Late), (("Publishing", 0), Wake::AtOnce)] {
        eventually("the web port answers", || {
            answers(at).is_some_and(|line| line.contains(" 200 "))
        });
        assert!(depose(&mut crashes, point, Change::Taken, wake), "it was not hit");
    }
    // The one that held it has ended: the successor has it now, and shows what is.
    eventually("the successor has the web port", || {
        answers(at).is_some_and(|line| line.contains(" 200 "))
    });
}
