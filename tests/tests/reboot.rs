//! Everything dies at once, as when the machine does, and the git server is away when it comes up again: the services are
//! started, with the release that is live, and a rollout that was open comes to its end.

use std::fs;
use std::path::PathBuf;

use lockstep_protocol::Revision;
use lockstep_tests::points::Arrival;
use lockstep_tests::processes::Role;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

/// Where the repository lies while it is away.
fn away(lab: &Lab) -> PathBuf {
    lab.root().join("away.git")
}

/// Stops the reconciler at the first point of a state of this commit's rollout.
fn stop_in(lab: &Lab, state: &str, publish: impl FnOnce() -> Revision) -> Revision {
    lab.stop_in(state, 0);
    let began = lab.now();
    let revision = publish();
    let over = || {
        let events = lab.events();
        let mut later = events.iter().filter(|event| event.seq > began);
        later.any(|event| matches!(event.kind.as_str(), "Settled" | "RolledBack"))
    };
    match lab.wait_stopped(over) {
        Arrival::At(point) => eprintln!("everything dies at: {point}"),
        Arrival::Over => panic!("{state} was not hit"),
    }
    revision
}

/// Ends everybody, takes what a reboot takes and the repository, and starts the reconciler.
fn reboot(lab: &Lab) {
    // Whoever would start somebody again goes first.
    lab.kill_any(&[Role::Reconciler, Role::Guard, Role::Holder]);
    let services: Vec<_> = lab.processes().into_iter().map(|process| process.role).collect();
    lab.kill_any(&services);
    assert_eq!(lab.processes(), Vec::new(), "nobody lives");
    let record = lab.state().join("guard.json");
    let text = fs::read_to_string(&record).expect("the guard keeps one");
    let mut known: serde_json::Value = serde_json::from_str(&text).expect("it is a document");
    known["boot"] = "another".into();
    fs::write(&record, known.to_string()).expect("the lab is ours");
    let instances = lab.instance_folder("a");
    let instances = instances.parent().expect("it is an instance's folder");
    fs::remove_dir_all(instances).expect("the lab is ours");
    fs::rename(lab.origin().bare(), away(lab)).expect("the lab is ours");
    lab.spawn_with_points(&[]);
}

/// What was live before is live in all services, and the source does not answer.
fn assert_all_run(lab: &Lab, live: &Revision, values: [i64; 3]) {
    eventually("the reconciler answers", || {
        lab.lockstep(&["status", "--json"]).code == Some(0)
    });
    let status = lab.wait_status("all run what is live", |status| {
        status.rollout.is_none()
            && status.source.error.is_some()
            && status.services.iter().all(|service| {
                service.current
                    && service
                        .instances
                        .iter()
                        .all(|instance| instance.state == "applied")
            })
    });
    assert_eq!(
        status.live.map(|live| live.revision).as_ref(),
        Some(live),
        "what is live"
    );
    assert_eq!(["a", "b", "c"].map(|name| lab.value(name)), values);
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

fn builder() -> lockstep_tests::Builder {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::restarted("b"))
        .service(Service::acknowledged("c"))
}

#[test]
fn an_open_rollout_goes_back_and_everybody_is_started_while_git_is_away() {
    let lab = builder().start();
    lab.restart_with_points();
    let mut live = lab.origin().revision("HEAD");
    let mut value = 1;
    // How it ends; whoever was a participant died, so nothing that was switched is kept.
    let states = [
        ("Preparing", None),
        ("Pausing", Some("Aborted")),
        ("Publishing", Some("Aborted")),
        ("Unpausing", Some("RolledBack")),
        ("Verifying", Some("RolledBack")),
        ("Restoring", Some("RolledBack")),
    ];
    for (state, end) in states {
        let next = value + 1;
        let lines = format!("value = {next}\ndelay = 500\nrefuse_late = true");
        // Of another value, so that nothing of it would fail the same way.
        let other = format!("value = {}", next + 100);
        let line = format!("value = {next}");
        let died = lab.now();
        let revision = stop_in(&lab, state, || lab.set(&[("a", &lines), ("b", &other)]));
        reboot(&lab);
        assert_all_run(&lab, &live, [value, value, 1]);
        if let Some(end) = end {
            let id = lab.wait_kind("Preparing", &revision).rollout;
            let told = lab.wait_event_after(died, end, |event| event.kind == end && event.rollout == id);
            assert!(!told.message.is_empty(), "it says why: {told:?}");
        }

        fs::rename(away(&lab), lab.origin().bare()).expect("the lab is ours");
        live = lab.set(&[("a", &line), ("b", &line)]);
        lab.wait_settled(&live);
        value = next;
        assert_eq!(["a", "b", "c"].map(|name| lab.value(name)), [value, value, 1]);
    }
}

#[test]
fn a_first_release_is_carried_on_while_git_is_away() {
    let lab = builder().unstarted().start();
    let first = lab.origin().revision("HEAD");
    let revision = stop_in(&lab, "Verifying", || {
        lab.spawn_with_points(&[]);
        first
    });
    reboot(&lab);
    lab.wait_settled(&revision);
    assert_all_run(&lab, &revision, [1, 1, 1]);
}
