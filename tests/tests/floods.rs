//! A commit with more mistakes than anybody reads: what is told and kept of it has an end.

use std::fs;

use lockstep_tests::processes::Process;
use lockstep_tests::{Lab, Service};

/// The most memory that a process ever had, in KiB.
fn peak(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words
        .and_then(|number| number.parse().ok())
        .expect("the kernel tells it")
}

#[test]
fn thousands_of_broken_files_fill_neither_memory_nor_the_status_nor_the_events() {
    let lab = Lab::builder().service(Service::voting("a")).start();
    let reconciler = lab.reconciler().expect("it runs");
    let good = lab.origin().revision("HEAD");
    let before = peak(&reconciler);
    for number in 0..3_000 {
        lab.origin()
            .write_file(&format!("config/broken/{number:04}.toml"), "value = \n");
    }
    let bad = lab.origin().publish("Break everything");
    let rejected = lab.wait_kind("Rejected", &bad);
    for words in [
        "config/broken/0000.toml:1:",
        "and 2000 more mistakes in 2000 files: config/broken/1000.toml, ",
        " of these are left out here",
    ] {
        assert!(
            rejected.message.contains(words),
            "{words:?}: {}",
            rejected.message
        );
    }
    assert!(rejected.message.len() < 40_000, "{}", rejected.message.len());
    let status = lab.lockstep(&["status", "--json"]).done();
    assert!(status.contains("and 2000 more mistakes"));
    assert!(status.len() < 100_000, "the status has {} bytes", status.len());
    let events = fs::metadata(lab.state().join("events.jsonl"))
        .expect("it is written")
        .len();
    assert!(events < 100_000, "the events have {events} bytes");
    let grown = peak(&reconciler) - before;
    eprintln!("judging it took {grown} KiB");
    assert!(grown < 24 * 1024, "judging it took {grown} KiB");
    lab.origin().git(&["reset", "-q", "--hard", good.as_str()]);
    lab.force_push();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
}
