//! What it costs to be there: memory of reconciler, guard and holder, processor time while nothing happens.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lockstep_tests::processes::Role;
use lockstep_tests::{Lab, Service};

use crate::Arguments;
use crate::fetching::processor_time;
use crate::table::{self, verdict};

pub(crate) fn measure(arguments: &Arguments) {
    let lab = Lab::builder()
        .service(Service::voting("a"))
        .service(Service::acknowledged("b"))
        .source("interval = \"1s\"")
        .start();
    let rounds = arguments.samples(200, 20);
    for round in 0..rounds {
        let line = format!("value = {}", round + 2);
        let revision = lab.set(&[("a", &line), ("b", &line)]);
        lab.wait_settled(&revision);
    }
    table::head(
        &format!("Memory, after {rounds} rollouts"),
        &["process", "resident", "of it anonymous", "wanted", ""],
    );
    let of = |role: &Role| {
        let processes = lab.processes();
        let process = processes.into_iter().find(|process| process.role == *role);
        process.unwrap_or_else(|| panic!("there is no {role:?}")).pid
    };
    let (reconciler, guard, holder) = (of(&Role::Reconciler), of(&Role::Guard), of(&Role::Holder));
    let row = |what: &str, resident: u64, anonymous: u64, wanted: &str, reached: bool| {
        let (resident, anonymous) = (mebi(resident), mebi(anonymous));
        table::row(&[what, &resident, &anonymous, wanted, verdict(reached)]);
    };
    let resident = memory(reconciler, "VmRSS");
    row(
        "reconciler",
        resident,
        memory(reconciler, "RssAnon"),
        "resident ≤ 40 MiB",
        resident <= 40 * 1024,
    );
    let anonymous = memory(guard, "RssAnon") + memory(holder, "RssAnon");
    row(
        "guard and holder",
        memory(guard, "VmRSS") + memory(holder, "VmRSS"),
        anonymous,
        "anonymous ≤ 4 MiB",
        anonymous <= 4 * 1024,
    );

    let time = Duration::from_secs(if arguments.quick { 5 } else { 60 });
    let pids = [reconciler, guard, holder];
    let (before, began) = (pids.map(used), Instant::now());
    // Nothing is waited for: this is the time that is measured.
    std::thread::sleep(time);
    let (after, passed) = (pids.map(used), began.elapsed());
    table::head(
        "Processor time while nothing happens, looking at the repository every second",
        &["process", "of one processor", "wanted", ""],
    );
    for (index, name) in ["reconciler", "guard", "holder"].iter().enumerate() {
        let part = (after[index] - before[index]).as_secs_f64() / passed.as_secs_f64();
        table::row(&[
            name,
            &format!("{:.2} %", part * 100.0),
            "< 1 %",
            verdict(part < 0.01),
        ]);
    }
}

/// A figure of a process's memory, in KiB.
fn memory(pid: i32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let value = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("there is no {key}"))
}

fn mebi(kibi: u64) -> String {
    format!("{:.1} MiB", kibi as f64 / 1024.0)
}

fn used(pid: i32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    tasks
        .flatten()
        .filter_map(|task| processor_time(Path::new(&task.path())))
        .sum()
}
