//! Services that are more than one process.

use lockstep_tests::processes::Process;
use lockstep_tests::{Lab, Service};

#[test]
fn services_that_fork_fork_twice_and_run_threads_take_changes_whole() {
    let lab = Lab::builder()
        .service(Service::voting("forks").args(&["--children", "3"]))
        .service(Service::acknowledged("forks-twice").args(&["--grandchildren", "2", "--children", "1"]))
        .service(Service::acknowledged("threads").args(&["--threads", "4"]))
        .start();
    let all = |lab: &Lab| -> Vec<Process> {
        let mut all = lab.processes();
        // The parent of an orphan may change; who it is does not.
        all.iter_mut().for_each(|process| process.parent = 0);
        all.sort();
        all
    };
    let before = all(&lab);
    assert_eq!(before.len(), 3 + 4 + 4 + 1, "{before:#?}");
    for value in 2..=6 {
        let lines = format!("value = {value}");
        let revision = lab.set(&[("forks", &lines), ("forks-twice", &lines), ("threads", &lines)]);
        let settled = lab.wait_settled(&revision);
        assert!(
            settled.pause_us.is_some_and(|pause| pause < 2_000_000),
            "{settled:?}"
        );
        lab.assert_nobody_stopped();
    }
    assert_eq!(all(&lab), before, "the same processes, children included");
    for name in ["forks", "forks-twice", "threads"] {
        assert_eq!(lab.value(name), 6);
    }
}

#[test]
fn a_restarted_service_leaves_no_children_behind() {
    let lab = Lab::builder()
        .service(Service::restarted("a").args(&["--children", "2", "--grandchildren", "2"]))
        .start();
    let before = lab.processes();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
    let after = lab.processes();
    assert_eq!(after.len(), before.len(), "{after:#?}");
}
