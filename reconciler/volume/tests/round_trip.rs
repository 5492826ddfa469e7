//! What is published is what was asked for, through every road that a build can take.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use common::*;
use lockstep_core::tree::{Tree, TreePath};
use lockstep_protocol::{FileMode, SwitchNumber};
use lockstep_volume::{Current, JournalRecord, OutcomeKind, Spare, StageError, Volume};

#[test]
fn a_first_release_is_published_and_found_again_with_its_tree() {
    let folder = folder();
    let root = folder.path().join("volume");
    let mut store = Store::default();
    let mut tree = store.tree(&[
        ("config.toml", "a = 1"),
        ("deep/er/b.toml", "b = 2"),
        ("empty", ""),
    ]);
    tree.insert(
        TreePath::new("deep/run.sh").unwrap(),
        store.file(b"#!/bin/sh", FileMode::Executable),
    );
    let (mut volume, found) = open(&root, options());
    assert!(matches!(found.current, Current::None), "{found:?}");
    let prepared = publish(&mut volume, &store, &tree, 1);
    assert!(prepared.was_built());
    assert_eq!(
        prepared.directory(),
        format!(".lockstep/releases/{}", prepared.name())
    );
    assert_live(&root, &tree, &store);
    assert_eq!(
        std::fs::read_to_string(root.join("deep/er/b.toml")).unwrap(),
        "b = 2"
    );
    assert_eq!(current_number(&root), Some(1));
    drop(volume);

    let (mut volume, found) = open(&root, options());
    let Current::Live {
        switch,
        release,
        document: read,
        tree: Some(known),
    } = found.current
    else {
        panic!("{found:?}")
    };
    assert_eq!((switch, &release), (SwitchNumber(1), prepared.name()));
    assert_eq!(read, document(&tree, 1));
    assert_eq!(known, tree, "with the blob ids");
    assert!(volume.check_drift().unwrap().is_empty());
}

#[test]
fn every_road_of_building_gives_the_same_release() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let mut tree = store.tree(&[
        ("a", "0"),
        ("d/b", "1"),
        ("d/e/c", "2"),
        ("flip", "file"),
        ("flop/x", "folder"),
    ]);
    let (mut volume, _) = open(root, options());
    let mut roads = BTreeSet::new();
    for round in 1..=8 {
        publish(&mut volume, &store, &tree, round);
        assert_live(root, &tree, &store);
        let spare = volume.tidy(&BTreeSet::new()).unwrap().spare;
        roads.insert(format!("{spare:?}"));
        assert!(volume.check_drift().unwrap().is_empty());
        store.put(&mut tree, "a", &round.to_string());
        store.put(&mut tree, &format!("new/{round}/f"), "x");
        if round > 1 {
            tree.remove(&TreePath::new(&format!("new/{}/f", round - 1)).unwrap());
        }
        // A file becomes a folder and a folder a file, to and fro.
        let there = ["flip", "flop/x"].map(|path| TreePath::new(path).unwrap());
        let back = ["flip/now", "flop"].map(|path| TreePath::new(path).unwrap());
        let (from, to) = if round % 2 == 1 {
            (&there, &back)
        } else {
            (&back, &there)
        };
        for (from, to) in from.iter().zip(to) {
            let file = *tree.get(from).unwrap();
            tree.remove(from);
            tree.insert(to.clone(), file);
        }
    }
    assert!(roads.contains("Made") && roads.contains("Recycled"), "{roads:?}");
    assert!(names(&root.join(".lockstep/releases")).len() <= 3);
}

#[test]
fn a_one_file_change_leaves_the_other_files_as_they_are_and_shares_them() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let mut tree = store.tree(&[("same/a", "1"), ("same/b", "2"), ("changed", "3")]);
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &tree, 1);
    let inode = |path: &str| std::fs::metadata(current(root).join(path)).unwrap().ino();
    let before = (inode("same/a"), inode("changed"));
    store.put(&mut tree, "changed", "4");
    publish(&mut volume, &store, &tree, 2);
    assert_eq!(inode("same/a"), before.0, "an unchanged file is a hard link");
    assert_ne!(
        inode("changed"),
        before.1,
        "a changed file is never written in place"
    );
}

#[test]
fn a_mode_alone_is_a_change_and_does_not_reach_the_older_release() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (mut volume, _) = open(root, options());
    let plain = store.tree(&[("run.sh", "x"), ("other", "y")]);
    let first = publish(&mut volume, &store, &plain, 1);
    let mut executable = plain.clone();
    executable.insert(
        TreePath::new("run.sh").unwrap(),
        store.file(b"x", FileMode::Executable),
    );
    for tidy in [false, true] {
        if tidy {
            volume.tidy(&BTreeSet::new()).unwrap();
        }
        publish(&mut volume, &store, &executable, 2);
        assert_live(root, &executable, &store);
        assert_eq!(contents(&root.join(first.directory())), expected(&plain, &store));
        publish(&mut volume, &store, &plain, 1);
    }
}

#[test]
fn going_back_to_a_kept_release_builds_nothing() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (mut volume, _) = open(root, options());
    let old = store.tree(&[("a", "1")]);
    let new = store.tree(&[("a", "2"), ("b", "3")]);
    let first = publish(&mut volume, &store, &old, 1);
    publish(&mut volume, &store, &new, 2);
    assert_live(root, &new, &store);
    let again = volume.build(&document(&old, 1), &old, &NoBlobs).unwrap();
    assert!(!again.was_built());
    assert_eq!(again.name(), first.name());
    let staged = volume.stage_switch(&again, SwitchNumber(3)).unwrap();
    let switched = staged.commit().unwrap();
    volume.after_unpause(&switched).unwrap();
    assert_live(root, &old, &store);
    assert_eq!(current_number(root), Some(3), "going back is a new switch");
}

#[test]
fn a_new_revision_with_the_same_files_gets_a_release_of_its_own() {
    let folder = folder();
    let mut store = Store::default();
    let (mut volume, _) = open(folder.path(), options());
    let tree = store.tree(&[("a", "1")]);
    let first = publish(&mut volume, &store, &tree, 1);
    let second = publish(&mut volume, &store, &tree, 2);
    assert_ne!(first.name(), second.name());
    assert_eq!(live_document(folder.path()).revision, revision(2));
}

#[test]
fn a_release_without_files_can_be_published() {
    let folder = folder();
    let mut store = Store::default();
    let (mut volume, _) = open(folder.path(), options());
    publish(&mut volume, &store, &Tree::new(), 1);
    assert_live(folder.path(), &Tree::new(), &store);
    let tree = store.tree(&[("a", "1")]);
    publish(&mut volume, &store, &tree, 2);
    assert_live(folder.path(), &tree, &store);
}

#[test]
fn retention_keeps_what_is_reported_and_what_was_current_a_short_while_ago() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (mut volume, _) = open(root, options());
    let trees: Vec<Tree> = (0..6).map(|n| store.tree(&[("a", &n.to_string())])).collect();
    for (number, tree) in trees.iter().enumerate() {
        publish(&mut volume, &store, tree, number as u64);
    }
    let reported = BTreeSet::from([trees[1].digest()]);
    let tidied = volume.tidy(&reported).unwrap();
    let mut kept: Vec<_> = volume
        .kept()
        .into_iter()
        .map(|kept| (kept.last_switch, kept.digest))
        .collect();
    kept.sort();
    let digests: Vec<_> = kept.into_iter().map(|(_, digest)| digest).collect();
    assert_eq!(digests, [trees[1].digest(), trees[4].digest(), trees[5].digest()]);
    assert_eq!(tidied.removed.len(), 3);
    assert_eq!(tidied.spare, Spare::Recycled);
    let switches = names(&root.join(".lockstep/switches"));
    assert_eq!(
        switches,
        ["2", "5", "6"].map(String::from).into(),
        "links of removed releases are gone"
    );
    assert_eq!(
        names(&root.join(".lockstep/manifests")),
        names(&root.join(".lockstep/releases"))
    );
    drop(volume);

    let (mut volume, _) = open(
        root,
        lockstep_volume::OpenOptions {
            keep: 1,
            ..Default::default()
        },
    );
    assert!(
        volume.tidy(&BTreeSet::new()).unwrap().removed.is_empty(),
        "all were current less than 60 s ago"
    );
}

#[test]
fn switch_numbers_only_grow_and_a_used_one_is_refused() {
    let folder = folder();
    let mut store = Store::default();
    let (mut volume, _) = open(folder.path(), options());
    let tree = store.tree(&[("a", "1")]);
    let prepared = volume.build(&document(&tree, 1), &tree, &store).unwrap();
    let staged = volume.stage_switch(&prepared, SwitchNumber(5)).unwrap();
    volume.abandon(staged).unwrap();
    for used in [1, 5] {
        let error = volume.stage_switch(&prepared, SwitchNumber(used)).unwrap_err();
        assert!(
            error.to_string().contains("is used up: 5 is the highest"),
            "{error}"
        );
    }
    assert_eq!(current_number(folder.path()), None);
    assert_eq!(
        links(folder.path()),
        BTreeSet::new(),
        "an abandoned switch takes its links back"
    );
    drop(volume);
    let unfenced = Volume::open(folder.path(), options()).unwrap();
    assert_eq!(unfenced.highest_switch(), SwitchNumber(5));
}

#[test]
fn a_withdrawn_first_release_leaves_no_current_and_no_links() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (mut volume, _) = open(root, options());
    let tree = store.tree(&[("a", "1"), ("b/c", "2")]);
    publish(&mut volume, &store, &tree, 1);
    volume.withdraw().unwrap();
    assert_eq!(names(root), [".lockstep".to_owned()].into());
    volume.withdraw().unwrap();
    drop(volume);
    let (mut volume, found) = open(root, options());
    assert!(matches!(found.current, Current::None));
    assert_eq!(found.highest_switch, SwitchNumber(1), "its number is used up");
    publish(&mut volume, &store, &tree, 1);
    assert_live(root, &tree, &store);
    assert_eq!(current_number(root), Some(2));
}

#[test]
fn the_journal_tells_the_next_coordinator_what_was_in_flight_until_its_outcome_is_recorded() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1")]);
    let (mut volume, found) = open(root, options());
    assert_eq!(found.journal, None);
    let prepared = volume.build(&document(&tree, 1), &tree, &store).unwrap();
    let intent = intent(&volume, &prepared, SwitchNumber(7));
    volume.journal_intent(&intent).unwrap();
    drop(volume);

    // Two coordinators that die before they record anything: the intent stays known.
    for _ in 0..2 {
        let (mut volume, found) = open(root, options());
        assert_eq!(found.journal, Some(JournalRecord::InFlight(intent.clone())));
        assert_eq!(
            found.highest_switch,
            SwitchNumber(8),
            "the number of the way back is used up"
        );
        volume.tidy(&BTreeSet::new()).unwrap();
    }
    let (mut volume, _) = open(root, options());
    let outcome = outcome(&intent, volume.term(), OutcomeKind::Aborted);
    volume.journal_outcome(&outcome).unwrap();
    let fenced = || {
        names(&root.join(".lockstep"))
            .iter()
            .filter(|name| name.starts_with("fenced"))
            .count()
    };
    assert_eq!(fenced(), 1);
    volume.tidy(&BTreeSet::new()).unwrap();
    assert_eq!(fenced(), 0, "a fenced folder goes when its intent has an outcome");
    drop(volume);

    for _ in 0..2 {
        let (_, found) = open(root, options());
        let Some(JournalRecord::Ended { outcome: read, .. }) = found.journal else {
            panic!("{found:?}")
        };
        assert_eq!(read, outcome);
    }
}

#[test]
fn a_switch_made_by_a_coordinator_that_died_is_completed_by_the_next() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let old = store.tree(&[("a", "1"), ("gone", "1")]);
    let new = store.tree(&[("a", "2"), ("new", "2")]);
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &old, 1);
    let prepared = volume.build(&document(&new, 2), &new, &store).unwrap();
    let switched = volume
        .stage_switch(&prepared, SwitchNumber(2))
        .unwrap()
        .commit()
        .unwrap();
    assert_eq!(
        volume.check_links().unwrap(),
        [],
        "a switch just made is no drift"
    );
    drop((switched, volume));

    let (mut volume, _) = open(root, options());
    let inode = |entry: &str| std::fs::symlink_metadata(root.join(entry)).unwrap().ino();
    let before = inode("a");
    volume.complete_found().unwrap();
    assert_ne!(
        inode("a"),
        before,
        "the link is renewed, for whoever watches the folder"
    );
    assert_live(root, &new, &store);
}

#[test]
fn an_abandoned_switch_that_somebody_makes_is_drift() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let [old, new] = ["1", "2"].map(|contents| store.tree(&[("a", contents)]));
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &old, 1);
    let prepared = volume.build(&document(&new, 2), &new, &store).unwrap();
    let staged = volume.stage_switch(&prepared, SwitchNumber(2)).unwrap();
    volume.abandon(staged).unwrap();
    std::fs::remove_file(root.join("current")).unwrap();
    std::os::unix::fs::symlink(".lockstep/switches/2", root.join("current")).unwrap();
    let found = Some(".lockstep/switches/2".into());
    assert_eq!(
        volume.check_links().unwrap(),
        [lockstep_volume::Drift::Current { found }]
    );
}

#[test]
fn a_number_that_was_only_staged_is_staged_again_for_the_same_release_alone() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let (old, new) = (store.tree(&[("a", "1")]), store.tree(&[("a", "2")]));
    let (mut volume, _) = open(root, options());
    let first = publish(&mut volume, &store, &old, 1);
    let second = publish(&mut volume, &store, &new, 2);
    // The way back is staged, and whoever staged it dies.
    std::mem::forget(volume.stage_switch(&first, SwitchNumber(3)).unwrap());
    drop(volume);

    let (mut volume, _) = open(root, options());
    let second = volume.prepare_kept(second.name()).unwrap().unwrap();
    let error = volume.stage_switch(&second, SwitchNumber(3)).unwrap_err();
    assert!(matches!(error, StageError::NumberUsed { .. }), "{error}");
    let first = volume.prepare_kept(first.name()).unwrap().unwrap();
    // Also one that was given up: the way back is tried again.
    let staged = volume.stage_switch(&first, SwitchNumber(3)).unwrap();
    volume.abandon(staged).unwrap();
    let staged = volume.stage_switch(&first, SwitchNumber(3)).unwrap();
    let switched = staged.commit().unwrap();
    volume.after_unpause(&switched).unwrap();
    assert_eq!(current_number(root), Some(3));
    assert_live(root, &old, &store);
    let error = volume.stage_switch(&first, SwitchNumber(3)).unwrap_err();
    assert!(matches!(error, StageError::NumberUsed { .. }), "{error}");
}
