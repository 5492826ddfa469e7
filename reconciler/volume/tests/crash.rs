//! The crash matrix: a real process is killed before every single change that it makes on disk, in every
//! situation. Afterwards readers see the whole old release or the whole new one, and a start puts all in order.
//!
//! A killed process leaves what it wrote in the kernel's cache, so this proves the order of changes, not the
//! flushes. Those are proved by the recorded order of writes and flushes, in the last test.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::scenario::{Scenario, Stage, rollout};
use common::*;
use lockstep_volume::fault::{self, Change, Fault, Op};

const ROOT: &str = "LOCKSTEP_TEST_ROOT";
const SCENARIO: &str = "LOCKSTEP_TEST_SCENARIO";
const AT: &str = "LOCKSTEP_TEST_ABORT_AT";

/// The process that dies. Started as a test of its own it has nothing to do.
#[test]
fn the_process_that_dies() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let no_core = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, no_core).unwrap();
    let named = std::env::var(SCENARIO).unwrap();
    let scenario = Scenario::ALL
        .into_iter()
        .find(|scenario| format!("{scenario:?}") == named)
        .unwrap();
    let root = Path::new(&root);
    let mut stage = Stage::set(root, scenario);
    fault::arm(Fault::AbortAt(std::env::var(AT).unwrap().parse().unwrap()));
    stage.go(root).unwrap();
    fault::disarm();
}

/// Lets a process die before its change with a number; false when it had fewer changes to make.
fn die_at(root: &Path, scenario: Scenario, at: u64) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_dies", "--nocapture"])
        .env(ROOT, root)
        .env(SCENARIO, format!("{scenario:?}"))
        .env(AT, at.to_string())
        .output()
        .unwrap();
    if output.status.success() {
        return false;
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{scenario:?} at {at}: {told}");
    true
}

fn matrix(scenario: Scenario) {
    let mut at = 0;
    let mut ends = BTreeSet::new();
    loop {
        at += 1;
        let folder = quick_folder();
        let died = die_at(folder.path(), scenario, at);
        let stage = Stage::trees(scenario);
        let context = Context(scenario, at);
        ends.insert(stage.assert_old_or_new(folder.path()));
        stage.assert_recovers(folder.path());
        std::mem::forget(context);
        if !died {
            break;
        }
    }
    println!("{scenario:?}: killed before each of {} changes", at - 1);
    assert_eq!(
        ends,
        [false, true].into(),
        "some die before the switch and some after"
    );
}

/// Tells where in the matrix a test failed.
struct Context(Scenario, u64);

impl Drop for Context {
    fn drop(&mut self) {
        eprintln!("in {:?}, killed before change {}", self.0, self.1);
    }
}

#[test]
fn killed_anywhere_in_a_first_rollout() {
    matrix(Scenario::First);
}

#[test]
fn killed_anywhere_in_a_change_by_hard_links() {
    matrix(Scenario::Links);
}

#[test]
fn killed_anywhere_in_a_change_over_the_spare() {
    matrix(Scenario::Spare);
}

#[test]
fn killed_anywhere_on_the_way_back() {
    matrix(Scenario::Back);
}

#[test]
fn killed_anywhere_in_a_start_after_a_crash() {
    matrix(Scenario::Restart);
}

#[test]
fn killed_anywhere_while_a_first_release_is_withdrawn() {
    matrix(Scenario::Withdraw);
}

#[test]
fn killed_anywhere_while_a_folder_is_taken_over() {
    matrix(Scenario::Adopt);
}

#[test]
fn killed_anywhere_while_a_first_release_on_a_folder_taken_over_is_withdrawn() {
    matrix(Scenario::AdoptAndWithdraw);
}

#[test]
fn killed_anywhere_in_a_healing() {
    matrix(Scenario::Heal);
}

/// What would be lost by a power failure: paths with changes that no flush has covered since.
#[derive(Default)]
struct Unflushed(BTreeSet<PathBuf>);

impl Unflushed {
    fn folder_of(&mut self, path: &Path) {
        self.0.insert(path.parent().unwrap().to_owned());
    }

    fn apply(&mut self, change: &Change) {
        let path = &change.path;
        match change.op {
            Op::Create => {
                self.0.insert(path.clone());
                self.folder_of(path);
            }
            Op::Write | Op::Chmod => {
                self.0.insert(path.clone());
            }
            Op::Mkdir => {
                self.0.insert(path.clone());
                self.folder_of(path);
            }
            Op::Symlink => self.folder_of(path),
            Op::Link => self.folder_of(change.to.as_ref().unwrap()),
            Op::Unlink | Op::Rmdir => {
                self.0.remove(path);
                self.folder_of(path);
            }
            Op::Rename => {
                let to = change.to.as_ref().unwrap();
                let moved: Vec<PathBuf> = self
                    .0
                    .iter()
                    .filter(|dirty| dirty.starts_with(path))
                    .cloned()
                    .collect();
                for dirty in moved {
                    self.0.remove(&dirty);
                    self.0.insert(to.join(dirty.strip_prefix(path).unwrap()));
                }
                self.folder_of(path);
                self.folder_of(to);
            }
            Op::Exchange => {
                self.folder_of(path);
                self.folder_of(change.to.as_ref().unwrap());
            }
            Op::SyncFile | Op::SyncDir => {
                self.0.remove(path);
            }
            Op::SyncAll => self.0.clear(),
        }
    }

    /// What is unflushed outside the staging folder, and the journal.
    fn that_matters(&self) -> Vec<&PathBuf> {
        let staging = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "term-1");
        self.0
            .iter()
            .filter(|path| !staging(path) || path.ends_with("journal"))
            .collect()
    }
}

#[test]
fn everything_that_a_switch_leads_to_is_flushed_before_it_and_the_switch_itself_before_the_outcome() {
    for scenario in [
        Scenario::First,
        Scenario::Links,
        Scenario::Spare,
        Scenario::Back,
        Scenario::Adopt,
    ] {
        let folder = folder();
        let root = folder.path();
        let mut stage = Stage::set(root, scenario);
        fault::arm(Fault::Record);
        stage.go(root).unwrap();
        let changes = fault::disarm();
        let mut unflushed = Unflushed::default();
        let mut switched = false;
        let mut staged = false;
        for change in &changes {
            let root = std::fs::canonicalize(root).unwrap();
            let numbered = |to: &PathBuf| to.starts_with(root.join(".lockstep/switches"));
            // Before the first, `current` may lead to what was taken over.
            staged |= change.op == Op::Rename && change.to.as_ref().is_some_and(numbered);
            if staged && change.op == Op::Rename && change.to.as_ref() == Some(&root.join("current")) {
                assert_eq!(
                    unflushed.that_matters(),
                    Vec::<&PathBuf>::new(),
                    "{scenario:?}, at the switch"
                );
                switched = true;
            } else if switched && change.op == Op::Write && change.path.ends_with("journal") {
                assert_eq!(
                    unflushed.that_matters(),
                    Vec::<&PathBuf>::new(),
                    "{scenario:?}, at the outcome"
                );
                switched = false;
            }
            unflushed.apply(change);
        }
        assert!(
            changes.len() > 10 && !switched,
            "{scenario:?} had a switch and an outcome"
        );
    }
}

#[test]
fn the_switch_inside_the_pause_is_one_rename_and_nothing_else() {
    let folder = folder();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1"), ("b/c", "2")]);
    let (mut volume, _) = open(folder.path(), options());
    let prepared = volume.build(&document(&tree, 1), &tree, &store).unwrap();
    let staged = volume
        .stage_switch(&prepared, lockstep_protocol::SwitchNumber(1))
        .unwrap();
    fault::arm(Fault::Record);
    let switched = staged.commit().unwrap();
    let changes = fault::disarm();
    assert_eq!(
        changes.iter().map(|change| change.op).collect::<Vec<_>>(),
        [Op::Rename]
    );
    volume.after_unpause(&switched).unwrap();
    rollout(&mut volume, &store, &tree, 2).unwrap();
}
