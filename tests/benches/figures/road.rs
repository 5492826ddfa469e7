//! From the moment that a branch moves to the acknowledgement of both services, with the wake-up of a local
//! repository; where the time goes; and the parts that nobody could leave out, each measured alone.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_protocol::{Revision, Status};
use lockstep_source::{Mirror, SourceSpec};
use lockstep_tests::events::Event;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

use crate::Arguments;
use crate::table::{self, Samples, millis, verdict};

const WANTED: Duration = Duration::from_millis(30);

pub(crate) fn measure(arguments: &Arguments) {
    let rounds = arguments.samples(200, 20);
    let lab = Lab::builder()
        .service(Service::voting("a"))
        .service(Service::acknowledged("b"))
        .source("interval = \"1h\"")
        .start();
    let mut parts = Parts::default();
    for round in 0..rounds {
        parts.add(&lab, round);
    }
    table::head(
        "Commit pushed to acknowledged by both",
        &["until", "median", "p99", "samples"],
    );
    table::samples("both services have written their acknowledgement", &parts.applied);
    table::samples("the reconciler knows it", &parts.reached);
    table::samples("settled: flushed, recorded, told", &parts.settled);
    let median = parts.applied.median();
    println!(
        "\nwanted: median ≤ {}: {}",
        millis(WANTED),
        verdict(median <= WANTED)
    );
    table::head(
        "Where the time goes",
        &["from the step before", "median", "p99", "samples"],
    );
    table::samples("woken, listed, fetched, judged: Preparing", &parts.seen);
    table::samples("built, flushed, voted, intent recorded: Pausing", &parts.prepared);
    table::samples("paused, switched, unpaused", &parts.paused);
    table::samples("reloaded, acknowledged, heard", &parts.verified);
    table::samples("flushed, outcome recorded: Settled", &parts.closed);
    unavoidable(&lab, rounds);
}

#[derive(Default)]
struct Parts {
    applied: Samples,
    reached: Samples,
    settled: Samples,
    seen: Samples,
    prepared: Samples,
    paused: Samples,
    verified: Samples,
    closed: Samples,
}

impl Parts {
    fn add(&mut self, lab: &Lab, round: usize) {
        let began = lab.now();
        let revision = prepare(lab, round);
        let moved = move_branch(lab, &revision);
        lab.wait_settled(&revision);
        let events: Vec<_> = lab
            .events()
            .into_iter()
            .filter(|event| event.seq > began)
            .collect();
        let at = |kind: &str| last(&events, kind).at;
        let (preparing, pausing, settled) = (at("Preparing"), at("Pausing"), at("Settled"));
        let pause = last(&events, "Settled").pause_us.unwrap_or_default();
        let reached = at("Reached");
        let applied = ["a", "b"].map(|service| status(lab, service).at);
        let applied = applied[0].max(applied[1]);
        self.applied.add(between(moved, applied));
        self.reached.add(between(moved, reached));
        self.settled.add(between(moved, settled));
        self.seen.add(between(moved, preparing));
        self.prepared.add(between(preparing, pausing));
        self.paused.add(Duration::from_micros(pause));
        let unpaused = between(pausing, reached).saturating_sub(Duration::from_micros(pause));
        self.verified.add(unpaused);
        self.closed.add(between(reached, settled));
    }
}

fn last<'a>(events: &'a [Event], kind: &str) -> &'a Event {
    let found = events.iter().rev().find(|event| event.kind == kind);
    found.unwrap_or_else(|| panic!("there is no {kind}: {events:#?}"))
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to - from).unwrap_or_default()
}

fn status(lab: &Lab, service: &str) -> Status {
    let file = lab.instance_folder(service).join("status.json");
    serde_json::from_slice(&fs::read(file).expect("it was written")).expect("it is whole")
}

/// Commits a change and brings its objects into the repository, on another branch.
fn prepare(lab: &Lab, round: usize) -> Revision {
    let line = format!("value = {}", round + 2);
    lab.origin()
        .write_file("config/config.toml", format!("[a]\n{line}\n[b]\n{line}\n"));
    let revision = lab.origin().commit(&format!("Round {round}"));
    lab.origin().push_to("next");
    revision
}

/// The last thing that a push does: one rename. Gives when.
fn move_branch(lab: &Lab, revision: &Revision) -> Timestamp {
    let branch = lab.origin().bare().join("refs/heads/main");
    let lock = branch.with_extension("lock");
    fs::write(&lock, format!("{revision}\n")).expect("the repository is ours");
    let now = Timestamp::now();
    fs::rename(&lock, &branch).expect("the repository is ours");
    now
}

/// What no implementation could do without, each alone.
fn unavoidable(lab: &Lab, rounds: usize) {
    let mut listing = Samples::default();
    let mut fetch = Samples::default();
    let state = tempfile::tempdir().expect("a temporary folder can be made");
    let spec = SourceSpec::new(lab.origin().url(), "next").publishing("config");
    let mirror = Mirror::open(state.path().join("mirror.git"), spec).expect("the mirror opens");
    mirror.fetch().expect("it fetches");
    for round in 0..rounds {
        let revision = prepare(lab, rounds + round);
        listing.time(|| mirror.list_head().expect("it lists"));
        assert_eq!(fetch.time(|| mirror.fetch().expect("it fetches")), revision);
    }
    let mut flush = Samples::default();
    for _ in 0..rounds {
        flush.time(|| flushed(lab.root()));
    }
    let mut signal = Samples::default();
    for _ in 0..rounds {
        signal.time(|| acknowledged_alone(lab));
    }
    let document = fs::read_to_string(lab.volume().join("config.toml")).expect("it is live");
    let mut parse = Samples::default();
    for _ in 0..rounds {
        parse.time(|| document.parse::<toml::Table>().expect("it is valid"));
    }
    table::head(
        "Its unavoidable parts, each alone",
        &["part", "median", "p99", "samples"],
    );
    table::samples("listing the references", &listing);
    table::samples("fetching one commit", &fetch);
    table::samples("flushing one small file and its folder", &flush);
    table::samples("signal, reload, acknowledgement of one service", &signal);
    table::samples("parsing the document", &parse);
    let sum = [&listing, &fetch, &flush, &signal, &parse]
        .map(Samples::median)
        .iter()
        .sum();
    println!("\nsum of the medians, with one flush: {}", millis(sum));
}

fn flushed(folder: &Path) {
    let path = folder.join("flushed");
    let mut file = File::create(&path).expect("the folder is ours");
    file.write_all(b"value = 1\n").expect("there is space");
    file.sync_all().expect("it can be flushed");
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .expect("it can be flushed");
}

/// Tells a service by hand, and waits until it has written its status again.
fn acknowledged_alone(lab: &Lab) {
    let before = status(lab, "b").at;
    lab.process("b").signal(Signal::USR1);
    let began = Instant::now();
    while status(lab, "b").at == before {
        assert!(began.elapsed() < Duration::from_secs(10), "b states again");
        std::hint::spin_loop();
    }
}
