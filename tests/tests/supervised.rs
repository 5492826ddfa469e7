//! What a supervised service gets, and what running many of them costs.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd as _;

use lockstep_tests::processes::{Process, Role};
use lockstep_tests::{Lab, Service};

fn environment(process: &Process) -> BTreeSet<String> {
    let bytes = fs::read(format!("/proc/{}/environ", process.pid)).expect("it is ours");
    let text = String::from_utf8(bytes).expect("the names are ours");
    text.split('\0')
        .filter_map(|entry| Some(entry.split_once('=')?.0.to_owned()))
        .collect()
}

fn open_files(process: &Process) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", process.pid)).expect("it is ours");
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    files
}

/// git keeps the packs of its repository open: each fetch brings one, until they are packed anew.
fn open_files_without_packs(process: &Process) -> usize {
    let entries = fs::read_dir(format!("/proc/{}/fd", process.pid))
        .expect("it is ours")
        .flatten();
    let files = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    files
        .filter(|file| file.extension().is_none_or(|ending| ending != "pack"))
        .count()
}

#[test]
fn a_service_gets_a_clean_environment_and_no_open_files_of_anybody() {
    let sleeper = Service::program("sleeper", &["/bin/sleep", "1000"])
        .reload("{ restart = {} }")
        .pause("none")
        .tier("running")
        .env("GREETING", "hello");
    let lab = Lab::builder().service(sleeper).start();
    let process = lab.process("sleeper");
    let wanted = [
        "GREETING",
        "LAB_PLACE",
        "LANG",
        "LOCKSTEP_CONFIG",
        "LOCKSTEP_INSTANCE",
        "LOCKSTEP_OFFER_FILE",
        "LOCKSTEP_STATUS_FILE",
        "PATH",
    ];
    let given: BTreeSet<_> = environment(&process)
        .into_iter()
        .filter(|name| name != "HOME")
        .collect();
    assert_eq!(given, wanted.map(str::to_owned).into());
    assert_eq!(open_files(&process), ["0", "1", "2"]);
    assert_eq!(process.session, process.pid, "a session of its own");
    let cwd = fs::read_link(format!("/proc/{}/cwd", process.pid)).expect("it is ours");
    assert_eq!(cwd, lab.root(), "the settings' folder");
}

#[test]
fn guard_and_services_hold_nothing_open_that_their_caller_left_open() {
    // As a continuous integration's runner does, which waits for the end of this pipe.
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe can be made");
    let name = |file: &std::os::fd::OwnedFd| {
        fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("it is open")
    };
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    for process in lab
        .processes()
        .iter()
        .filter(|process| process.role != Role::Reconciler)
    {
        let folder = format!("/proc/{}/fd", process.pid);
        let open = fs::read_dir(folder).expect("it is ours").flatten();
        let open: Vec<_> = open
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        assert!(
            !open.contains(&name(&reader)) && !open.contains(&name(&writer)),
            "{process:?}: {open:?}"
        );
    }
}

#[test]
fn the_guard_runs_before_others_in_pauses_alone() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let guard = lab
        .processes()
        .into_iter()
        .find(|process| process.role == Role::Guard)
        .expect("it lives");
    let stat = fs::read_to_string(format!("/proc/{}/stat", guard.pid)).expect("it lives");
    // The 41st field; the name before the third may hold anything.
    let (_, rest) = stat.rsplit_once(") ").expect("the name is in brackets");
    assert_eq!(rest.split(' ').nth(38), Some("0"), "SCHED_OTHER: {stat}");
}

#[test]
fn a_service_can_run_as_another_user_and_takes_part_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can start processes of another user");
        return;
    }
    let lab = Lab::builder()
        .service(Service::voting("a").user("nobody"))
        .unstarted()
        .start();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(lab.root().join("lab"), open).expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    let before = lab.services();
    let status = fs::read_to_string(format!("/proc/{}/status", before["a"].pid)).expect("it lives");
    let uids = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .expect("it has one");
    assert!(uids.split_whitespace().all(|uid| uid == "65534"), "{uids}");
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
    lab.wait_kind("Rejected", &lab.set(&[("a", "value = 3\nrefuse = true")]));
    lab.assert_same_processes(&before);
}

#[test]
fn twenty_services_take_a_change_together() {
    let names: Vec<_> = (0..20).map(|number| format!("s{number:02}")).collect();
    let all = names.iter().fold(Lab::builder(), |lab, name| {
        lab.service(Service::acknowledged(name))
    });
    let lab = all.start();
    let before = lab.services();
    assert_eq!(before.len(), 20);
    let sections: Vec<_> = names.iter().map(|name| (name.as_str(), "value = 2")).collect();
    let settled = lab.wait_settled(&lab.set(&sections));
    assert!(
        settled.pause_us.is_some_and(|pause| pause < 2_000_000),
        "{settled:?}"
    );
    for name in &names {
        assert_eq!(lab.value(name), 2, "{name}");
    }
    let refused = names.iter().map(|name| {
        (
            name.as_str(),
            if name == "s13" {
                "value = 3\nrefuse = true"
            } else {
                "value = 3"
            },
        )
    });
    lab.wait_rolled_back(&lab.set(&refused.collect::<Vec<_>>()));
    for name in &names {
        assert_eq!(lab.value(name), 2, "{name}");
    }
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
}

#[test]
fn nobody_collects_open_files_over_many_rollouts() {
    let lab = Lab::builder()
        .service(Service::voting("a"))
        .service(Service::watching("b"))
        .start();
    let count = |lab: &Lab| -> Vec<(Role, usize)> {
        let mut counts: Vec<_> = lab
            .processes()
            .into_iter()
            .map(|process| (process.role.clone(), open_files_without_packs(&process)))
            .collect();
        counts.sort();
        counts
    };
    let change = |value: u32| {
        let lines = format!("value = {value}");
        lab.wait_settled(&lab.set(&[("a", &lines), ("b", &lines)]));
        lab.lockstep(&["status"]).done();
    };
    (2..=6).for_each(change);
    let before = count(&lab);
    (7..=40).for_each(change);
    for ((role, was), (_, is)) in before.iter().zip(count(&lab)) {
        // What is being looked at or written at the moment comes and goes.
        assert!(is <= was + 4, "{role:?} had {was} open files and has {is}");
    }
}

#[test]
fn the_log_can_be_one_json_object_a_line() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    lab.start_reconciler_with(&["--log", "json"]);
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab.wait_rolled_back(&lab.set(&[("a", "value = 2\nrefuse = true")]));
    lab.stop_reconciler();
    let log = fs::read_to_string(lab.root().join("run.log")).expect("it was written");
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
    }
    assert!(log.contains("`refuse` is set"), "{log}");
}
