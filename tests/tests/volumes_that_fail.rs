//! A volume that becomes read-only, or full, under a live release: on the way there, on the way back, while healing.
//! It is said what is wrong, nothing half done is seen by anybody, and what was to be done is done once it can be.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lockstep_protocol::Revision;
use lockstep_tests::points::Arrival;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

/// Has a service refuse a change; not at once, so that there is a Verifying before it is known.
const REFUSED: &str = "delay = 200\nrefuse_late = true";

/// A lab on a volume of its own; none where this user may not mount anything.
fn lab() -> Option<Lab> {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .unstarted()
        .start();
    fs::create_dir(lab.volume()).expect("the lab is ours");
    if !lab.start_reconciler_mounted("size=1m") {
        return None;
    }
    lab.wait_settled(&lab.origin().revision("HEAD"));
    Some(lab)
}

/// Changes both, with more lines for one of them.
fn change(lab: &Lab, value: i64, more: &str) -> Revision {
    let good = format!("value = {value}");
    lab.set(&[("a", &format!("{good}\n{more}")), ("b", &good)])
}

/// Has the reconciler stop in a state of this change's rollout.
#[track_caller]
fn stopped_in(lab: &Lab, state: &str, (value, more): (i64, &str)) -> Revision {
    lab.stop_in(state, 0);
    let revision = change(lab, value, more);
    let arrival = lab.wait_stopped(|| false);
    assert!(matches!(arrival, Arrival::At(_)), "{arrival:?}");
    revision
}

/// Asserts that both work with a value, that nobody stands, and that the volume is whole.
#[track_caller]
fn all_run(lab: &Lab, value: i64) {
    assert_eq!((lab.value("a"), lab.value("b")), (value, value));
    lab.assert_nobody_stopped();
    lab.assert_whole(&lab.mounted_volume());
}

fn current(lab: &Lab) -> std::path::PathBuf {
    fs::read_link(lab.mounted_volume().join("current")).expect("it is a link")
}

/// The folder of the live release. Not by resolving links: those that lead through a process would lead out of its view.
fn release(lab: &Lab) -> std::path::PathBuf {
    let switch = lab.mounted_volume().join(current(lab));
    let release = fs::read_link(&switch).expect("it is a link");
    switch.parent().expect("it lies in a folder").join(release)
}

/// Waits until the status shows that a revision is live in all services.
#[track_caller]
fn shows_live(lab: &Lab, revision: &Revision) {
    lab.wait_status("it is live", |status| {
        status.live.as_ref().map(|live| &live.revision) == Some(revision)
            && status.services.iter().all(|service| service.current)
            && status.rollout.is_none()
            && status.alarms.is_empty()
    });
}

#[test]
fn a_volume_that_becomes_read_only_aborts_what_is_under_way_and_it_goes_on_when_it_is_writable() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    for (value, state, kind) in [
        (2, "Preparing", "Aborted"),
        // The intent stands in the journal: that it was given up has to stand there before it is over.
        (3, "Publishing", "Alarm"),
    ] {
        let (was, values) = (current(&lab), lab.value("a"));
        let began = lab.now();
        let revision = stopped_in(&lab, state, (value, ""));
        lab.make_volume_read_only();
        lab.wake_reconciler();
        let told = lab.wait_event_after(began, "it is told", |event| event.is(kind, &revision));
        for words in ["the volume is read-only", "read-write"] {
            assert!(told.message.contains(words), "{state}: {told:?}");
        }
        if kind == "Alarm" {
            lab.wait_status("the alarm stands", |status| {
                status
                    .alarms
                    .iter()
                    .any(|alarm| alarm.contains("the volume's journal"))
            });
        }
        assert_eq!(current(&lab), was, "{state}");
        all_run(&lab, values);
        let status = lab.status();
        assert_eq!(status.quarantined, [], "the revision can do nothing about it");
        assert!(
            status.services.iter().all(|service| service.current),
            "{status:?}"
        );
        lab.make_volume_writable();
        lab.wait_settled(&revision);
        shows_live(&lab, &revision);
        all_run(&lab, value);
    }
    lab.assert_same_processes(&before);
}

#[test]
fn a_volume_that_becomes_read_only_on_the_way_back_is_stuck_loudly_and_goes_back_when_it_is_writable() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    let good = lab.origin().revision("HEAD");
    let bad = stopped_in(&lab, "Verifying", (2, REFUSED));
    let there = current(&lab);
    lab.make_volume_read_only();
    lab.wake_reconciler();
    let stuck = lab.wait_event("it is stuck", |event| event.kind == "Stuck");
    assert!(stuck.message.contains("the volume is read-only"), "{stuck:?}");
    let status = lab.wait_status("it is stuck", |status| {
        status
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.state == "Stuck")
    });
    let rollout = status.rollout.expect("it was waited for");
    let reason = rollout.reason.unwrap_or_default();
    // Whichever is heard of first.
    let why = ["`refuse_late` is set", "could not be flushed after the switch"];
    assert!(
        why.iter().any(|words| reason.contains(words)),
        "why it goes back: {reason}"
    );
    assert!(
        status.alarms.iter().any(|alarm| alarm.contains("read-only")),
        "{:?}",
        status.alarms
    );
    // The one that took it runs it, as what is current; the other one does not. Nobody stands.
    assert_eq!(current(&lab), there);
    eventually("b took it", || lab.value("b") == 2);
    assert_eq!(lab.value("a"), 1);
    lab.assert_nobody_stopped();
    lab.assert_whole(&lab.mounted_volume());
    lab.make_volume_writable();
    lab.wait_rolled_back(&bad);
    shows_live(&lab, &good);
    all_run(&lab, 1);
    lab.assert_same_processes(&before);
}

/// Takes a top-level link away while the reconciler does not look, then has the volume fail.
fn damaged_and(lab: &Lab, fail: impl FnOnce(&Lab)) -> u64 {
    let began = lab.now();
    let reconciler = lab.reconciler().expect("it runs");
    reconciler.signal(Signal::STOP);
    fs::remove_file(lab.mounted_volume().join("config.toml")).expect("the lab is ours");
    fail(lab);
    reconciler.signal(Signal::CONT);
    lab.wait_event_after(began, "it is noticed", |event| event.kind == "Drift");
    began
}

#[test]
fn a_volume_that_becomes_read_only_is_healed_when_it_is_writable() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    let began = damaged_and(&lab, Lab::make_volume_read_only);
    let failed = lab.wait_event_after(began, "it cannot be healed", |event| event.kind == "Aborted");
    assert!(failed.message.contains("the volume is read-only"), "{failed:?}");
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    lab.assert_nobody_stopped();
    let (link, release) = (
        lab.mounted_volume().join("config.toml"),
        lab.mounted_volume().join("current/config.toml"),
    );
    assert!(
        !link.exists() && release.is_file(),
        "who reads through `current` has it"
    );
    let status = lab.status();
    assert!(
        status
            .alarms
            .iter()
            .any(|alarm| alarm.contains("config.toml is gone")),
        "{:?}",
        status.alarms
    );
    lab.make_volume_writable();
    // Tried again after a moment, not only when everything is compared once a minute.
    lab.wait_event_after(failed.seq, "it is healed", |event| event.kind == "Settled");
    assert!(link.is_file());
    shows_live(&lab, &lab.origin().revision("HEAD"));
    all_run(&lab, 1);
    lab.assert_same_processes(&before);
}

fn free(filler: &Path) {
    fs::remove_file(filler).expect("the lab is ours");
}

#[test]
fn a_volume_that_becomes_full_aborts_what_is_under_way_and_it_goes_on_when_there_is_room() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    let (was, began) = (current(&lab), lab.now());
    let filler = lab.fill_volume();
    let revision = change(&lab, 2, "");
    let aborted = lab.wait_event_after(began, "it is given up", |event| event.is("Aborted", &revision));
    for words in ["the volume is full", "Free space"] {
        assert!(aborted.message.contains(words), "{aborted:?}");
    }
    assert_eq!(current(&lab), was);
    all_run(&lab, 1);
    free(&filler);
    lab.wait_settled(&revision);
    shows_live(&lab, &revision);
    all_run(&lab, 2);
    lab.assert_same_processes(&before);
}

#[test]
fn a_volume_that_becomes_full_keeps_nobody_from_the_way_back() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    let good = lab.origin().revision("HEAD");
    let bad = stopped_in(&lab, "Verifying", (2, REFUSED));
    let filler = lab.fill_volume();
    lab.wake_reconciler();
    lab.wait_rolled_back(&bad);
    assert!(lab.events().iter().all(|event| event.kind != "Stuck"));
    shows_live(&lab, &good);
    all_run(&lab, 1);
    free(&filler);
    let next = change(&lab, 3, "");
    lab.wait_settled(&next);
    all_run(&lab, 3);
    lab.assert_same_processes(&before);
}

#[test]
fn a_volume_that_becomes_full_is_healed_all_the_same() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    let mut filler = None;
    let began = damaged_and(&lab, |lab| filler = Some(lab.fill_volume()));
    // A link takes no room here, and for the way to a release that was live some is held back.
    lab.wait_event_after(began, "it is healed", |event| event.kind == "Settled");
    assert!(lab.mounted_volume().join("config.toml").is_file());
    all_run(&lab, 1);
    free(&filler.expect("it was filled"));
    let next = change(&lab, 2, "");
    lab.wait_settled(&next);
    all_run(&lab, 2);
    lab.assert_same_processes(&before);
}

#[test]
fn a_damaged_file_on_a_full_volume_is_healed_when_there_is_room() {
    let Some(lab) = lab() else { return };
    let before = lab.services();
    let good = lab.origin().revision("HEAD");
    let mut filler = None;
    let release = release(&lab);
    let began = damaged_and(&lab, |lab| {
        let file = release.join("config.toml");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("the lab is ours");
        fs::write(&file, "[a]\nvalue = 7\n").expect("the lab is ours");
        filler = Some(lab.fill_volume());
    });
    // For a release that was live room is held back, for one that is built anew there is none.
    let failed = lab.wait_event_after(began, "it cannot be healed", |event| event.kind == "Aborted");
    for words in ["the volume is full", "Free space"] {
        assert!(failed.message.contains(words), "{failed:?}");
    }
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    lab.assert_nobody_stopped();
    let status = lab.status();
    assert!(
        status
            .alarms
            .iter()
            .any(|alarm| alarm.contains("the volume was changed")),
        "{:?}",
        status.alarms
    );
    free(&filler.expect("it was filled"));
    lab.wait_event_after(failed.seq, "it is healed", |event| event.kind == "Settled");
    shows_live(&lab, &good);
    all_run(&lab, 1);
    let healed = self::release(&lab);
    assert_ne!(healed, release, "the damaged one is not used again");
    let text = fs::read_to_string(healed.join("config.toml")).expect("it is whole");
    assert!(!text.contains('7'), "{text}");
    lab.assert_same_processes(&before);
}
