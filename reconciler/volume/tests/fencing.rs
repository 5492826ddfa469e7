//! A coordinator that was deposed finds at each step that it was, and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use common::*;
use lockstep_protocol::SwitchNumber;
use lockstep_volume::{
    BuildError, ChangeError, Current, FenceError, JournalRecord, OpenOptions, OutcomeKind, StageError, Term,
    Volume,
};

/// What matters of the volume: everything but the new coordinator's own folder.
fn shared(root: &Path) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
    picture(root)
}

#[test]
fn every_change_of_a_deposed_coordinator_fails_by_name_and_changes_nothing() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let live = store.tree(&[("a", "1"), ("d/x", "same")]);
    let wanted = store.tree(&[("a", "2"), ("d/x", "same"), ("new", "n")]);
    let other = store.tree(&[("a", "3")]);
    let (mut old, _) = open(root, options());
    publish(&mut old, &store, &other, 3);
    let first = publish(&mut old, &store, &live, 1);
    old.tidy(&BTreeSet::new()).unwrap();
    let prepared = old.build(&document(&wanted, 2), &wanted, &store).unwrap();
    let begun = intent(&old, &prepared, SwitchNumber(9));
    let staged = old.stage_switch(&prepared, SwitchNumber(7)).unwrap();

    let (new, found) = take_over(root);
    assert!(
        matches!(
            found.current,
            Current::Live {
                switch: SwitchNumber(2),
                ..
            }
        ),
        "{found:?}"
    );
    let before = shared(root);
    let deposed = |error: &ChangeError| matches!(error, ChangeError::Deposed { .. });

    let failed = staged.commit().unwrap_err();
    assert!(deposed(&failed.error), "{failed}");
    drop(failed);
    for tree in [&other, &live, &store.tree(&[("b", "5")])] {
        let error = old.build(&document(tree, 1), tree, &store).unwrap_err();
        let BuildError::Change(error) = &error else {
            panic!("{error}")
        };
        assert!(deposed(error), "{error}");
    }
    let error = old.stage_switch(&first, SwitchNumber(8)).unwrap_err();
    let StageError::Change(error) = &error else {
        panic!("{error}")
    };
    assert!(deposed(error), "{error}");
    assert!(deposed(&old.prepare_kept(first.name()).unwrap_err()));
    assert!(deposed(&old.withdraw().unwrap_err()));
    assert!(deposed(&old.journal_intent(&begun).unwrap_err()));
    assert!(deposed(
        &old.journal_outcome(&outcome(&begun, Term(1), OutcomeKind::Settled))
            .unwrap_err()
    ));
    assert!(deposed(&old.tidy(&BTreeSet::new()).unwrap_err()));
    assert_eq!(shared(root), before);
    assert!(
        old.withdraw()
            .unwrap_err()
            .to_string()
            .contains("End this process")
    );

    drop(new);
    let (mut newest, _) = take_over(root);
    publish(&mut newest, &store, &wanted, 2);
    assert_live(root, &wanted, &store);
}

#[test]
fn a_coordinator_deposed_just_after_its_switch_cannot_complete_it() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1"), ("gone", "1")]);
    let wanted = store.tree(&[("a", "2")]);
    let (mut old, _) = open(root, options());
    publish(&mut old, &store, &tree, 1);
    let prepared = old.build(&document(&wanted, 2), &wanted, &store).unwrap();
    let begun = intent(&old, &prepared, SwitchNumber(2));
    old.journal_intent(&begun).unwrap();
    let switched = old
        .stage_switch(&prepared, SwitchNumber(2))
        .unwrap()
        .commit()
        .unwrap();
    let (_new, found) = take_over(root);
    assert_eq!(
        found.journal,
        Some(JournalRecord::InFlight(begun)),
        "the intent is known"
    );
    assert!(
        matches!(
            found.current,
            Current::Live {
                switch: SwitchNumber(2),
                ..
            }
        ),
        "and so is the switch"
    );
    assert_live(root, &wanted, &store);
    let before = shared(root);
    let error = old.after_unpause(&switched).unwrap_err();
    assert!(matches!(error, ChangeError::Deposed { .. }), "{error}");
    assert_eq!(shared(root), before);
}

#[test]
fn of_many_that_start_at_once_the_last_left_has_the_highest_term_and_all_others_are_deposed() {
    let folder = folder();
    let root = folder.path();
    drop(open(root, options()));
    for round in 0..20_u64 {
        let starters = 6;
        let barrier = Barrier::new(starters);
        let mut running: Vec<Volume> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..starters as u64)
                .map(|n| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        let unfenced = Volume::open(
                            root,
                            OpenOptions {
                                take_over: true,
                                ..options()
                            },
                        )
                        .unwrap();
                        barrier.wait();
                        // Some ask for the same term.
                        unfenced.fence(Term(round * 100 + 50 + n / 2))
                    })
                })
                .collect();
            let mut running = Vec::new();
            for handle in handles {
                match handle.join().unwrap() {
                    Ok((volume, _)) => running.push(volume),
                    // Fenced by a higher one while it was still starting, or too late with its term.
                    Err(FenceError::TermTaken { .. } | FenceError::Change(_) | FenceError::Journal(_)) => {}
                }
            }
            running
        });
        running.sort_by_key(Volume::term);
        let last = running.pop().expect("one of them stays");
        assert_eq!(last.term(), Term(round * 100 + 52), "the highest");
        for mut other in running {
            assert_ne!(other.term(), last.term(), "no two have one term");
            assert!(matches!(other.withdraw(), Err(ChangeError::Deposed { .. })));
        }
    }
}
