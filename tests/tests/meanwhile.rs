//! What arrives while a rollout is under way: nothing of it is listened to inside the pause, and the head is judged by
//! what is live when its turn comes.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use lockstep_tests::points::Arrival;
use lockstep_tests::processes::Role;
use lockstep_tests::wait::{PATIENCE, until};
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

#[test]
fn inside_the_pause_nothing_is_written_and_nobody_is_answered() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    lab.restart_with_points();
    lab.stop_in("Pausing", 0);
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    let settled = || lab.events().iter().any(|event| event.is("Settled", &revision));
    assert_ne!(lab.wait_stopped(settled), Arrival::Over);
    // The pause lasts for as long as the guard does not confirm it.
    let guard = lab
        .processes()
        .into_iter()
        .find(|process| process.role == Role::Guard)
        .expect("it lives");
    guard.signal(Signal::STOP);
    lab.wake_reconciler();

    let written = || {
        let files = [
            lab.state().join("ledger.json"),
            lab.state().join("events.jsonl"),
            lab.root().join("run.log"),
        ];
        files.map(|file| fs::read_to_string(file).expect("it was written"))
    };
    let before = written();
    let began = lab.now();
    let mut suspend = Command::new(lab.root().join("bin/lockstep"))
        .args(["suspend", "--reason", "in the pause", "--settings"])
        .arg(lab.settings())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program was built");
    fs::write(lab.volume().join("mine.txt"), "").expect("the lab is ours");
    fs::remove_file(lab.volume().join("mine.txt")).expect("the lab is ours");
    let next = lab.set(&[("a", "value = 3")]);
    // The source is looked at once a second, and does not answer any more: an event, when its time comes.
    let away = lab.root().join("away.git");
    fs::rename(lab.origin().bare(), &away).expect("the lab is ours");
    let broken = until(Duration::from_millis(1500), || {
        let answered = suspend.try_wait().expect("it is our child").is_some();
        (answered || written() != before).then(written)
    });
    guard.signal(Signal::CONT);
    assert_eq!(broken, None, "nothing happens; before it was {before:?}");
    lab.wait_event_after(began, "the source is away", |event| event.kind == "SourceFailed");
    fs::rename(away, lab.origin().bare()).expect("the lab is ours");
    lab.wait_settled(&revision);
    let suspended = lab.wait_event_after(began, "it is suspended", |event| event.kind == "Suspended");
    let unpaused = lab.wait_kind("Unpausing", &revision);
    assert!(suspended.seq > unpaused.seq, "{suspended:?} after {unpaused:?}");
    let ended = until(PATIENCE, || suspend.try_wait().expect("it is our child"));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    lab.lockstep(&["resume"]).done();
    lab.wait_settled(&next);
    assert_eq!((lab.value("a"), lab.value("b")), (3, 2));
    lab.assert_nobody_stopped();
}

#[test]
fn a_head_that_does_not_descend_from_what_settles_meanwhile_is_held() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let first = lab.origin().revision("HEAD");
    let slow = lab.set(&[("a", "value = 2\ndelay = 1500")]);
    lab.wait_kind("Verifying", &slow);
    lab.origin().reset_to(&first);
    let other = lab.edit(&[("a", "value = 3")]);
    lab.force_push();
    lab.lockstep(&["sync"]).done();
    assert!(
        !lab.events().iter().any(|event| event.is("Settled", &slow)),
        "it was judged against what was live before"
    );
    lab.wait_settled(&slow);
    let held = lab.wait_kind("Held", &other);
    assert!(held.message.contains("the branch was rewound"), "{held:?}");
    assert_eq!(lab.value("a"), 2);
    lab.lockstep(&["rollback"]).done();
    lab.lockstep(&["wait"]).done();
    assert_eq!(lab.value("a"), 2);
    let tried = lab
        .events()
        .into_iter()
        .find(|event| event.is("Preparing", &other));
    assert_eq!(tried, None);
}

#[test]
fn a_head_that_replaces_a_commit_which_fails_meanwhile_is_tried() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let first = lab.origin().revision("HEAD");
    let bad = lab.set(&[("a", "value = 2\ndelay = 1500\nrefuse_late = true")]);
    lab.wait_kind("Verifying", &bad);
    lab.origin().reset_to(&first);
    let other = lab.edit(&[("a", "value = 3")]);
    lab.force_push();
    lab.wait_rolled_back(&bad);
    lab.wait_settled(&other);
    assert_eq!(lab.value("a"), 3);
}
