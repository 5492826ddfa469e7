//! Which release a way back leads to: what was healed, or what was live before, built anew where it does not lie on the
//! volume as it was written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lockstep_protocol::Revision;
use lockstep_tests::points::Arrival;
use lockstep_tests::processes::Role;
use lockstep_tests::{Lab, Service, failing};
use rustix::process::Signal;

/// The release that `current` leads to.
fn release(lab: &Lab) -> PathBuf {
    fs::canonicalize(lab.volume().join("current")).expect("it leads to a release")
}

fn document(release: &Path) -> String {
    fs::read_to_string(release.join("config.toml")).expect("it is published")
}

/// Writes into a release, as somebody does who should not.
fn tamper(release: &Path) {
    let file = release.join("config.toml");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("the lab is ours");
    fs::write(&file, "[bad]\nvalue = 666\n").expect("the lab is ours");
}

/// A change that is waited for in vain, until `bad` is killed.
fn hangs(lab: &Lab, value: i64) -> Revision {
    let revision = lab.set(&[
        ("bad", &format!("value = {value}\nbehave = \"silent\"")),
        ("good", &format!("value = {value}")),
    ]);
    lab.wait_kind("Verifying", &revision);
    revision
}

#[test]
fn after_a_healing_that_went_back_the_next_way_back_leads_to_what_was_healed() {
    let lab = Lab::builder()
        .service(Service::by_hand("bad").within(failing::SHORT))
        .service(Service::acknowledged("good"))
        .unpublished()
        .start();
    let first = lab.set(&[
        ("bad", "value = 1\nbehave = \"silent-once\""),
        ("good", "value = 1"),
    ]);
    lab.start_reconciler();
    lab.wait_settled(&first);
    let before = lab.services();
    let (written, right) = (release(&lab), document(&release(&lab)));
    lab.stop_reconciler();
    tamper(&written);
    let began = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(began, "the healing goes back", |event| event.kind == "RolledBack");
    let healed = release(&lab);
    assert_ne!(healed, written, "another release of the same commit");
    assert_eq!(document(&healed), right);

    lab.wait_rolled_back(&lab.set(&[("bad", "value = 2\nrefuse = true"), ("good", "value = 2")]));
    assert_eq!(release(&lab), healed, "the way back");
    assert_eq!(document(&healed), right);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    lab.assert_same_processes(&before);
    lab.assert_volume_whole();
}

#[test]
fn a_release_that_is_gone_is_built_anew_for_the_way_back_without_the_git_server() {
    let lab = failing::with(Service::by_hand("bad"));
    let good = lab.process("good");
    let (live, right) = (release(&lab), document(&release(&lab)));
    let revision = hangs(&lab, 2);
    lab.origin().delete_bare();
    fs::remove_dir_all(&live).expect("the lab is ours");
    lab.process("bad").signal(Signal::KILL);
    lab.wait_rolled_back(&revision);
    assert_eq!(document(&release(&lab)), right);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert_eq!(lab.process("good"), good);
    lab.assert_volume_whole();
    lab.assert_nobody_stopped();
}

#[test]
fn what_was_built_anew_for_a_way_back_is_where_the_next_one_leads_also_after_a_crash() {
    let lab = failing::with(Service::by_hand("bad"));
    lab.restart_with_points();
    let (written, right) = (release(&lab), document(&release(&lab)));
    let revision = hangs(&lab, 2);
    tamper(&written);
    lab.process("bad").signal(Signal::KILL);
    lab.wait_rolled_back(&revision);
    let anew = release(&lab);
    assert_ne!(anew, written, "another release of the same commit");
    assert_eq!(document(&anew), right);

    // A rollout that is taken up knows its way back from the journal alone.
    lab.stop_in("Unpausing", 0);
    let next = lab.set(&[("bad", "value = 3\nrefuse = true"), ("good", "value = 3")]);
    let settled = || lab.events().iter().any(|event| event.is("Settled", &next));
    assert_ne!(lab.wait_stopped(settled), Arrival::Over);
    lab.kill_any(&[Role::Reconciler]);
    fs::remove_dir_all(&written).expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_rolled_back(&next);
    assert_eq!(release(&lab), anew, "the way back");
    assert_eq!(document(&anew), right);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    lab.assert_volume_whole();
}

#[test]
fn a_way_back_that_was_built_anew_and_switched_to_is_taken_up_where_it_was() {
    let lab = failing::with(Service::by_hand("bad"));
    lab.restart_with_points();
    let (written, right) = (release(&lab), document(&release(&lab)));
    let revision = hangs(&lab, 2);
    let (failed, good) = (release(&lab), lab.process("good"));
    tamper(&written);
    lab.stop_in("Restoring", 0);
    lab.process("bad").signal(Signal::KILL);
    let over = || lab.events().iter().any(|event| event.is("RolledBack", &revision));
    while release(&lab) == failed {
        assert_ne!(lab.wait_stopped(over), Arrival::Over);
        if release(&lab) == failed {
            lab.stop_in("Restoring", 0);
            lab.wake_reconciler();
        }
    }
    let anew = release(&lab);
    assert_ne!(anew, written, "another release of the same commit");
    lab.kill_any(&[Role::Reconciler]);
    assert!(!over(), "it is killed before the end");
    lab.origin().delete_bare();
    lab.start_reconciler();
    lab.wait_rolled_back(&revision);
    assert_eq!(release(&lab), anew);
    assert_eq!(document(&anew), right);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert_eq!(lab.process("good"), good);
    lab.assert_volume_whole();
    lab.assert_nobody_stopped();
}

#[test]
fn a_file_that_is_missing_from_what_is_live_is_healed_at_the_start() {
    let lab = failing::with(Service::acknowledged("bad"));
    let before = lab.services();
    let (live, right) = (release(&lab), document(&release(&lab)));
    lab.stop_reconciler();
    fs::remove_file(live.join("config.toml")).expect("the lab is ours");
    let began = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(began, "it is healed", |event| event.kind == "Settled");
    assert_eq!(document(&release(&lab)), right);
    lab.assert_same_processes(&before);
    lab.assert_volume_whole();
}

#[test]
fn what_was_healed_is_built_anew_where_it_was_damaged_again() {
    let lab = Lab::builder()
        .service(Service::by_hand("bad"))
        .service(Service::acknowledged("good"))
        .unpublished()
        .start();
    let first = lab.set(&[("bad", "value = 1\nbehave = \"silent\""), ("good", "value = 1")]);
    lab.start_reconciler();
    lab.wait_settled(&first);
    let (written, right) = (release(&lab), document(&release(&lab)));
    lab.stop_reconciler();
    tamper(&written);
    let began = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(began, "it is being healed", |event| event.kind == "Verifying");
    let healed = release(&lab);
    assert_ne!(healed, written, "another release of the same commit");
    fs::remove_file(healed.join("config.toml")).expect("the lab is ours");
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event_after(began, "the healing goes back", |event| event.kind == "RolledBack");
    assert_eq!(document(&release(&lab)), right);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    lab.assert_volume_whole();
}
