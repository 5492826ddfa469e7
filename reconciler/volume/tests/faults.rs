//! A disk that fails or is full: every single change fails once, in every situation. The error names a path,
//! readers see the whole old release or the whole new one, and the same call works when it is made again.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::scenario::{Scenario, Stage};
use common::*;
use lockstep_volume::fault::{self, Fault, Op};
use lockstep_volume::{BuildError, ChangeError, StagedSwitch};
use rustix::io::Errno;

fn every_change_fails_once(scenario: Scenario, errno: Errno) {
    let mut refused = 0;
    for at in 1.. {
        let folder = quick_folder();
        let root = folder.path();
        let mut stage = Stage::set(root, scenario);
        fault::arm(Fault::FailAt(at, errno));
        let went = stage.go(root);
        let reached = fault::disarm().len() as u64 >= at;
        if let Err(error) = &went {
            let told = error.to_string();
            let path = root.to_str().unwrap();
            assert!(told.contains(path), "{scenario:?} at {at}: no path in {told:?}");
            if errno == Errno::NOSPC {
                assert!(told.contains("the volume is full"), "{told}");
            }
            refused += 1;
        }
        stage.assert_old_or_new(root);
        stage
            .go(root)
            .unwrap_or_else(|error| panic!("{scenario:?} again after change {at} failed: {error}"));
        assert!(stage.assert_old_or_new(root), "{scenario:?} at {at}");
        stage.assert_recovers(root);
        if !reached {
            assert!(went.is_ok());
            println!(
                "{scenario:?}: {refused} of {} failures were refusals, the others were put right",
                at - 1
            );
            break;
        }
    }
    assert!(refused > 0);
}

#[test]
fn every_change_of_a_first_rollout_fails_once() {
    every_change_fails_once(Scenario::First, Errno::IO);
    every_change_fails_once(Scenario::First, Errno::NOSPC);
}

#[test]
fn every_change_of_a_change_by_hard_links_fails_once() {
    every_change_fails_once(Scenario::Links, Errno::IO);
    every_change_fails_once(Scenario::Links, Errno::NOSPC);
}

#[test]
fn every_change_of_a_change_over_the_spare_fails_once() {
    every_change_fails_once(Scenario::Spare, Errno::IO);
    every_change_fails_once(Scenario::Spare, Errno::NOSPC);
}

#[test]
fn every_change_of_the_way_back_fails_once() {
    every_change_fails_once(Scenario::Back, Errno::IO);
    every_change_fails_once(Scenario::Back, Errno::NOSPC);
}

#[test]
fn every_change_of_a_start_after_a_crash_fails_once() {
    every_change_fails_once(Scenario::Restart, Errno::IO);
    every_change_fails_once(Scenario::Restart, Errno::NOSPC);
}

#[test]
fn every_change_of_a_withdrawal_fails_once() {
    every_change_fails_once(Scenario::Withdraw, Errno::IO);
    every_change_fails_once(Scenario::Withdraw, Errno::NOSPC);
}

#[test]
fn every_change_of_a_take_over_fails_once() {
    every_change_fails_once(Scenario::Adopt, Errno::IO);
    every_change_fails_once(Scenario::Adopt, Errno::NOSPC);
    every_change_fails_once(Scenario::AdoptAndWithdraw, Errno::IO);
}

#[test]
fn every_change_of_a_healing_fails_once() {
    every_change_fails_once(Scenario::Heal, Errno::IO);
    every_change_fails_once(Scenario::Heal, Errno::NOSPC);
}

#[test]
fn a_disk_that_is_full_for_a_moment_does_not_keep_the_way_back_from_being_staged() {
    let mut put_right = 0;
    for at in 1.. {
        let folder = quick_folder();
        let root = folder.path();
        let mut store = Store::default();
        let (mut volume, _) = open(root, options());
        let old = store.tree(&[("a", "1"), ("gone", "1")]);
        let new = store.tree(&[("a", "2"), ("new", "2")]);
        let first = publish(&mut volume, &store, &old, 1);
        publish(&mut volume, &store, &new, 2);
        fault::arm(Fault::FailAt(at, Errno::NOSPC));
        let staged = volume
            .stage_switch(&first, volume.highest_switch().next())
            .map(StagedSwitch::commit);
        let reached = fault::disarm().len() as u64 >= at;
        match staged {
            Ok(switched) => {
                let switched = switched.or_else(|error| error.staged.commit()).unwrap();
                volume.after_unpause(&switched).unwrap();
                assert_live(root, &old, &store);
            }
            // Only the flush of a number that is used up already: the next number is as good.
            Err(error) => assert!(reached, "{error}"),
        }
        put_right += u64::from(reached && root.join("gone").exists());
        if !reached {
            break;
        }
    }
    assert!(put_right >= 5, "{put_right}");
}

#[test]
fn where_hard_links_are_refused_files_are_copied() {
    for errno in [Errno::PERM, Errno::OPNOTSUPP, Errno::XDEV] {
        let folder = folder();
        let root = folder.path();
        let mut store = Store::default();
        let (mut volume, _) = open(root, options());
        let mut tree = store.tree(&[("a", "1"), ("d/b", "2"), ("d/c", "3")]);
        publish(&mut volume, &store, &tree, 1);
        fault::arm(Fault::FailKind(Op::Link, errno));
        store.put(&mut tree, "a", "changed");
        publish(&mut volume, &store, &tree, 2);
        volume.tidy(&Default::default()).unwrap();
        store.put(&mut tree, "a", "changed again");
        publish(&mut volume, &store, &tree, 3);
        let tried = fault::disarm()
            .iter()
            .filter(|change| change.op == Op::Link)
            .count();
        assert_eq!(tried, 1, "after the first refusal no more are tried");
        assert_live(root, &tree, &store);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(root.join("d/b")).unwrap().nlink(), 1);
        assert!(volume.check_drift().unwrap().is_empty());
    }
}

#[test]
fn a_file_with_as_many_links_as_it_can_have_is_copied_and_the_others_are_linked() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (mut volume, _) = open(root, options());
    let mut tree = store.tree(&[("a", "1"), ("b", "2"), ("c", "3")]);
    publish(&mut volume, &store, &tree, 1);
    store.put(&mut tree, "a", "changed");
    fault::arm(Fault::FailKind(Op::Link, Errno::MLINK));
    publish(&mut volume, &store, &tree, 2);
    let tried = fault::disarm()
        .iter()
        .filter(|change| change.op == Op::Link)
        .count();
    assert_eq!(tried, 2, "each is tried");
    assert_live(root, &tree, &store);
}

#[test]
fn a_blob_that_is_not_what_was_validated_is_refused_and_nothing_is_published() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (mut volume, _) = open(root, options());
    let tree = store.tree(&[("a", "1")]);
    publish(&mut volume, &store, &tree, 1);
    let mut forged = tree.clone();
    let path = lockstep_core::tree::TreePath::new("a").unwrap();
    let mut file = *tree.get(&path).unwrap();
    file.sha256 = [7; 32];
    forged.insert(path, file);
    let error = volume.build(&document(&forged, 2), &forged, &store).unwrap_err();
    assert!(matches!(error, BuildError::Supply(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("the contents of a in the mirror are not those that were validated")
    );
    let missing = Store::default();
    let other = store.tree(&[("a", "2")]);
    let error = volume.build(&document(&other, 3), &other, &missing).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot read the contents of a from the mirror: no such blob"),
        "{error}"
    );
    assert_live(root, &tree, &store);
    publish(&mut volume, &store, &other, 3);
    assert_live(root, &other, &store);
}

#[test]
fn names_that_are_ours_are_refused_before_anything_is_written() {
    let folder = folder();
    let mut store = Store::default();
    let (mut volume, _) = open(folder.path(), options());
    for path in ["current/x", "lost+found", ".lockstep/release.json", ".hidden"] {
        let tree = store.tree(&[("a", "1"), (path, "2")]);
        let error = volume.build(&document(&tree, 1), &tree, &store).unwrap_err();
        assert!(matches!(error, BuildError::Reserved { .. }), "{path}: {error}");
    }
    let mut staging = names(&folder.path().join(".lockstep/term-1"));
    staging.retain(|name| !name.starts_with("reserve-"));
    assert_eq!(staging, ["journal".to_owned()].into());
}

#[test]
fn a_layout_deleted_under_a_running_coordinator_is_named_and_a_restart_goes_on_with_higher_numbers() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1")]);
    let (mut volume, _) = open(root, options());
    for _ in 0..3 {
        publish(&mut volume, &store, &tree, 1);
    }
    let prepared = volume
        .prepare_kept(&volume.kept()[0].name.clone())
        .unwrap()
        .unwrap();
    make_writable(root);
    std::fs::remove_dir_all(root.join(".lockstep")).unwrap();
    let error = volume
        .stage_switch(&prepared, volume.highest_switch().next())
        .unwrap_err();
    let lockstep_volume::StageError::Change(ChangeError::LayoutGone { .. }) = error else {
        panic!("{error}")
    };
    assert!(matches!(
        volume.check_drift(),
        Err(ChangeError::LayoutGone { .. })
    ));
    drop(volume);

    let floors = lockstep_volume::OpenOptions {
        term_at_least: lockstep_volume::Term(8),
        ..options()
    };
    let (mut volume, found) = open(root, floors);
    assert_eq!(volume.term(), lockstep_volume::Term(9));
    assert!(
        matches!(found.current, lockstep_volume::Current::Dangling { .. }),
        "{found:?}"
    );
    publish(&mut volume, &store, &tree, 1);
    assert_live(root, &tree, &store);
    assert_eq!(
        current_number(root),
        Some(4),
        "the number in the dangling link is used up"
    );
}
