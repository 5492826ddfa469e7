//! Tampering is seen, told by file, and healed by a new build.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::*;
use lockstep_core::tree::Tree;
use lockstep_volume::{Drift, FileChange, Volume};

struct Case {
    _folder: Folder,
    root: PathBuf,
    store: Store,
    tree: Tree,
    volume: Volume,
}

/// A volume with a release, a spare that shares its files, and no drift.
fn case() -> Case {
    let folder = folder();
    let root = folder.path().to_owned();
    let mut store = Store::default();
    let tree = store.tree(&[("a.toml", "aaaa"), ("d/x", "xxxx"), ("d/e/y", "yyyy")]);
    let (mut volume, _) = open(&root, options());
    publish(&mut volume, &store, &tree, 1);
    volume.tidy(&BTreeSet::new()).unwrap();
    assert_eq!(volume.check_drift().unwrap(), []);
    Case {
        _folder: folder,
        root,
        store,
        tree,
        volume,
    }
}

impl Case {
    /// Fails unless exactly this is found, and a new build of the same revision heals it.
    fn heals(self, expected: &[Drift]) {
        self.heals_and_stays(expected);
    }

    /// The same, and the volume stays for a look.
    fn heals_and_stays(mut self, expected: &[Drift]) -> Self {
        assert_eq!(self.volume.check_drift().unwrap(), expected);
        assert_eq!(
            self.volume.check_drift().unwrap(),
            expected,
            "until it is healed it is told"
        );
        publish(&mut self.volume, &self.store, &self.tree, 1);
        assert_live(&self.root, &self.tree, &self.store);
        assert_eq!(self.volume.check_drift().unwrap(), []);
        self.volume.tidy(&BTreeSet::new()).unwrap();
        assert_eq!(self.volume.check_drift().unwrap(), []);
        self
    }

    fn live(&self, path: &str) -> PathBuf {
        current(&self.root).join(path)
    }
}

fn file(path: &str, change: FileChange) -> Drift {
    Drift::File {
        path: PathBuf::from(path),
        change,
    }
}

/// Makes a folder of a release writable for the test.
fn open_up(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

fn close(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn a_file_written_in_place_is_seen_and_healed_under_a_new_name() {
    let case = case();
    write_in_place(&case.live("d/x"), b"XXXX");
    let name = |root: &Path| current(root).file_name().unwrap().to_str().unwrap().to_owned();
    let old = name(&case.root);
    let healed = case.heals_and_stays(&[file("d/x", FileChange::Modified)]);
    assert_eq!(name(&healed.root), format!("{old}.2"));
}

#[test]
fn an_edit_that_restores_size_and_times_is_seen_too() {
    let case = case();
    let path = case.live("a.toml");
    let times = fs::metadata(&path).unwrap();
    write_in_place(&path, b"AAAA");
    let restored = fs::FileTimes::new().set_modified(times.modified().unwrap());
    fs::File::open(&path).unwrap().set_times(restored).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().modified().unwrap(),
        times.modified().unwrap()
    );
    case.heals(&[file("a.toml", FileChange::Modified)]);
}

#[test]
fn a_touched_file_with_its_own_contents_is_no_drift() {
    let mut case = case();
    let path = case.live("a.toml");
    fs::File::open(&path)
        .unwrap()
        .set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH))
        .unwrap();
    assert_eq!(case.volume.check_drift().unwrap(), []);
}

#[test]
fn missing_extra_and_replaced_things_are_told_apart() {
    let case = case();
    open_up(&case.live("d"));
    fs::remove_file(case.live("d/x")).unwrap();
    fs::write(case.live("d/extra"), "").unwrap();
    fs::create_dir(case.live("strange")).unwrap();
    fs::remove_file(case.live("a.toml")).unwrap();
    symlink("/etc/passwd", case.live("a.toml")).unwrap();
    close(&case.live("d"));
    case.heals(&[
        file("a.toml", FileChange::Modified),
        file("d/extra", FileChange::Extra),
        file("d/x", FileChange::Missing),
        file("strange", FileChange::Extra),
    ]);
}

#[test]
fn a_release_that_is_gone_as_a_whole_misses_every_file() {
    let case = case();
    let release = fs::canonicalize(case.root.join("current")).unwrap();
    open_up(&release);
    fs::remove_dir_all(release).unwrap();
    let missing = |path| file(path, FileChange::Missing);
    case.heals(&[
        missing(".lockstep/release.json"),
        missing("a.toml"),
        missing("d/e/y"),
        missing("d/x"),
    ]);
}

#[test]
fn changed_permissions_are_told_as_such() {
    let case = case();
    fs::set_permissions(case.live("a.toml"), Permissions::from_mode(0o644)).unwrap();
    open_up(&case.live("d/e"));
    case.heals(&[file("a.toml", FileChange::Mode), file("d/e", FileChange::Mode)]);
}

#[test]
fn a_tampered_document_is_drift() {
    let case = case();
    write_in_place(&case.live(".lockstep/release.json"), b"{}");
    case.heals(&[file(".lockstep/release.json", FileChange::Modified)]);
}

#[test]
fn a_link_replaced_by_a_file_as_sed_does_it_is_mended_with_the_next_switch() {
    let case = case();
    fs::remove_file(case.root.join("a.toml")).unwrap();
    fs::write(case.root.join("a.toml"), "tampered").unwrap();
    case.heals(&[Drift::Link {
        entry: "a.toml".to_owned(),
        found: None,
    }]);
}

#[test]
fn a_link_replaced_by_a_folder_or_another_link_or_removed_is_mended_with_the_next_switch() {
    for kind in 0..3 {
        let case = case();
        let path = case.root.join("d");
        fs::remove_file(&path).unwrap();
        let found = match kind {
            0 => {
                fs::create_dir_all(path.join("deep")).unwrap();
                None
            }
            1 => {
                symlink("/etc", &path).unwrap();
                Some(PathBuf::from("/etc"))
            }
            _ => None,
        };
        case.heals(&[Drift::Link {
            entry: "d".to_owned(),
            found,
        }]);
    }
}

#[test]
fn a_link_broken_while_nobody_ran_is_mended_at_the_next_switch_or_start() {
    let Case {
        _folder,
        root,
        store,
        tree,
        volume,
    } = case();
    drop(volume);
    fs::remove_file(root.join("d")).unwrap();
    fs::remove_file(root.join("a.toml")).unwrap();
    fs::write(root.join("a.toml"), "tampered").unwrap();
    let (mut volume, _) = open(&root, options());
    let drift = volume.check_drift().unwrap();
    assert_eq!(
        drift,
        [Drift::Link {
            entry: "a.toml".to_owned(),
            found: None
        }],
        "the missing one is back already"
    );
    publish(&mut volume, &store, &tree, 1);
    assert_live(&root, &tree, &store);
}

#[test]
fn a_moved_current_and_a_moved_switch_are_told_and_healed() {
    let case = case();
    fs::remove_file(case.root.join("current")).unwrap();
    case.heals(&[Drift::Current { found: None }]);

    let case = self::case();
    fs::remove_file(case.root.join("current")).unwrap();
    symlink("/etc", case.root.join("current")).unwrap();
    case.heals(&[Drift::Current {
        found: Some("/etc".into()),
    }]);

    let case = self::case();
    fs::remove_file(case.root.join(".lockstep/switches/1")).unwrap();
    case.heals(&[Drift::Switch { found: None }]);
}

#[test]
fn a_file_shared_by_hard_links_is_damaged_in_every_release_that_has_it_and_in_the_spare() {
    let Case {
        _folder,
        root,
        mut store,
        tree: first,
        mut volume,
    } = case();
    let mut second = first.clone();
    store.put(&mut second, "a.toml", "2");
    let old = volume.kept()[0].name.clone();
    publish(&mut volume, &store, &second, 2);
    volume.tidy(&BTreeSet::new()).unwrap();
    write_in_place(&current(&root).join("d/x"), b"XXXX");
    assert_eq!(volume.check_drift().unwrap(), [file("d/x", FileChange::Modified)]);
    assert!(
        volume.prepare_kept(&old).unwrap().is_none(),
        "the older release has the tampered file as well"
    );
    publish(&mut volume, &store, &first, 1);
    assert_live(&root, &first, &store);
    publish(&mut volume, &store, &second, 2);
    assert_live(&root, &second, &store);
}

#[test]
fn a_file_that_differs_is_checked_before_a_kept_release_is_used_again() {
    let Case {
        _folder,
        root,
        mut store,
        tree: first,
        mut volume,
    } = case();
    let mut second = first.clone();
    store.put(&mut second, "a.toml", "2");
    let old = current(&root);
    publish(&mut volume, &store, &second, 2);
    write_in_place(&old.join("a.toml"), b"AAAA");
    let prepared = publish(&mut volume, &store, &first, 1);
    assert!(prepared.was_built(), "the damaged one is not used");
    assert_live(&root, &first, &store);
}

#[test]
fn a_tampered_release_is_not_recycled() {
    let Case {
        _folder,
        root,
        mut store,
        mut tree,
        mut volume,
    } = case();
    for round in 2..6 {
        let older = current(&root);
        store.put(&mut tree, "a.toml", &round.to_string());
        publish(&mut volume, &store, &tree, round);
        // Its file with the round's own contents is shared with nobody.
        write_in_place(&older.join("a.toml"), b"tampered");
        open_up(&older.join("d"));
        fs::write(older.join("d/hidden"), "tampered").unwrap();
        volume.tidy(&BTreeSet::new()).unwrap();
        assert_live(&root, &tree, &store);
        assert_eq!(volume.check_drift().unwrap(), []);
    }
}

#[test]
fn a_tampered_spare_is_not_used() {
    let Case {
        _folder,
        root,
        mut store,
        mut tree,
        mut volume,
    } = case();
    let term = root.join(".lockstep/term-1");
    let spare = names(&term)
        .into_iter()
        .find(|name| name.starts_with("spare-") && term.join(name).is_dir())
        .unwrap();
    fs::remove_file(term.join(spare).join("a.toml")).unwrap();
    store.put(&mut tree, "a.toml", "2");
    publish(&mut volume, &store, &tree, 2);
    assert_live(&root, &tree, &store);
}

#[test]
fn a_foreign_file_where_a_new_entry_must_be_blocks_the_switch_and_is_left_alone() {
    let Case {
        _folder,
        root,
        mut store,
        tree: first,
        mut volume,
    } = case();
    fs::write(root.join("new"), "mine").unwrap();
    let mut tree = first.clone();
    store.put(&mut tree, "new", "2");
    let prepared = volume.build(&document(&tree, 2), &tree, &store).unwrap();
    let error = volume
        .stage_switch(&prepared, volume.highest_switch().next())
        .unwrap_err();
    assert!(error.to_string().contains("Move it away"), "{error}");
    assert_eq!(fs::read_to_string(root.join("new")).unwrap(), "mine");
    fs::remove_file(root.join("new")).unwrap();
    assert_live(&root, &first, &store);
    publish(&mut volume, &store, &tree, 2);
    assert_live(&root, &tree, &store);
}
