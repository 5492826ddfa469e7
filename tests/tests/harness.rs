//! The lab itself: what is promised to tests.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service, processes};

/// Set for the test below when it plays the one that is killed.
const DOOMED: &str = "LAB_IS_DOOMED";

#[test]
fn a_test_that_is_killed_leaves_neither_processes_nor_folders() {
    if std::env::var_os(DOOMED).is_some() {
        let lab = Lab::builder()
            .service(Service::acknowledged("a").args(&["--children", "2"]))
            .start();
        std::fs::write(
            std::env::var_os(DOOMED).expect("it is set"),
            lab.root().to_str().expect("it is UTF-8"),
        )
        .expect("the folder is the test's");
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .expect("it is ours");
    }
    let place = tempfile::tempdir().expect("a temporary folder can be made");
    let told = place.path().join("root");
    let myself = std::env::current_exe().expect("a test knows its path");
    let ended = Command::new(myself)
        .args([
            "--exact",
            "a_test_that_is_killed_leaves_neither_processes_nor_folders",
        ])
        .env(DOOMED, &told)
        .stdout(Stdio::null())
        .status()
        .expect("it can be run");
    assert_eq!(ended.signal(), Some(9), "{ended:?}");
    let root = std::fs::read_to_string(&told).expect("it said where its lab is");
    eventually("its lab is gone", || {
        processes::of(Path::new(&root)).is_empty() && !Path::new(&root).exists()
    });
}

/// Set for the test below when it plays the one that fails.
const FAILS: &str = "LAB_FAILS";

#[test]
fn a_test_that_fails_while_the_reconciler_is_stopped_says_all_else_and_ends() {
    if std::env::var_os(FAILS).is_some() {
        let lab = Lab::builder().service(Service::acknowledged("a")).start();
        let reconciler = lab.reconciler().expect("it runs");
        reconciler.signal(rustix::process::Signal::STOP);
        eventually("it is stopped", || reconciler.is_stopped());
        panic!("on purpose");
    }
    let myself = std::env::current_exe().expect("a test knows its path");
    let failed = Command::new(myself)
        .args([
            "--exact",
            "a_test_that_fails_while_the_reconciler_is_stopped_says_all_else_and_ends",
            "--nocapture",
        ])
        .env(FAILS, "yes")
        .output()
        .expect("it can be run");
    let said = String::from_utf8_lossy(&failed.stderr);
    // A second panic would abort it.
    assert_eq!(failed.status.code(), Some(101), "{:?}: {said}", failed.status);
    for part in [
        "on purpose",
        "not asked for: the reconciler is stopped",
        "---- run.log",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
