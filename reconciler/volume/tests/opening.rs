//! Which folders are taken as a volume, and which are refused, with words that say what to do.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use common::*;
use lockstep_core::tree::Tree;
use lockstep_protocol::SwitchNumber;
use lockstep_volume::fault::{self, Fault, Op};
use lockstep_volume::{ChangeError, Current, FenceError, OpenError, OpenOptions, Term, Volume};
use rustix::io::Errno;

#[test]
fn a_folder_that_does_not_exist_is_made() {
    let folder = folder();
    let root = folder.path().join("deep/er/volume");
    let (volume, _) = open(&root, options());
    assert_eq!(volume.path(), std::fs::canonicalize(&root).unwrap());
    assert_eq!(volume.term(), Term(1));
}

#[test]
fn a_path_that_is_a_link_to_the_volume_is_followed() {
    let folder = folder();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    symlink("real", &link).unwrap();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1"), ("b/c", "2")]);
    let (mut volume, _) = open(&link, options());
    publish(&mut volume, &store, &tree, 1);
    assert_live(&real, &tree, &store);
    assert_live(&link, &tree, &store);
}

#[test]
fn a_path_that_is_a_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let error = Volume::open(&path, options()).unwrap_err();
    assert!(matches!(error, OpenError::NotAFolder { .. }), "{error}");
    let error = Volume::open(&path.join("below"), options()).unwrap_err();
    assert!(error.to_string().contains("cannot make the volume"), "{error}");
}

#[test]
fn foreign_files_are_refused_with_a_list_at_the_first_start() {
    let folder = folder();
    std::fs::write(folder.path().join("config.toml"), "old").unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    symlink("/etc", folder.path().join("current")).unwrap();
    let error = Volume::open(folder.path(), options()).unwrap_err();
    let OpenError::Foreign { entries, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(entries, &["config.toml", "current", "data"]);
    assert!(
        error.to_string().contains("Move them away") && error.to_string().contains("--adopt"),
        "{error}"
    );
    assert_eq!(names(folder.path()).len(), 3, "nothing was made");
}

#[test]
fn a_checkout_of_a_config_repo_is_not_taken_for_a_volume() {
    let folder = folder();
    std::fs::create_dir(folder.path().join(".lockstep")).unwrap();
    std::fs::write(folder.path().join(".lockstep/policy.toml"), "version = 1").unwrap();
    let error = Volume::open(folder.path(), options()).unwrap_err();
    let OpenError::Strange { entries, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(entries, &[".lockstep/policy.toml"]);
}

#[test]
fn a_fresh_file_system_with_lost_and_found_is_taken() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    let store = Store::default();
    let (mut volume, _) = open(folder.path(), options());
    publish(&mut volume, &store, &Tree::new(), 1);
    assert!(volume.check_drift().unwrap().is_empty());
}

#[test]
fn foreign_files_that_come_later_stop_no_start() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1")]);
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &tree, 1);
    drop(volume);
    std::fs::write(root.join("note.txt"), "mine").unwrap();
    let (mut volume, found) = open(root, options());
    assert!(matches!(found.current, Current::Live { .. }));
    let drift = volume.check_drift().unwrap();
    assert_eq!(
        drift,
        [lockstep_volume::Drift::Foreign {
            entry: "note.txt".to_owned()
        }]
    );
    assert_eq!(std::fs::read_to_string(root.join("note.txt")).unwrap(), "mine");
}

#[test]
fn a_volume_in_use_is_refused_with_the_process_that_has_it_unless_it_is_taken_over() {
    let folder = folder();
    let (first, _) = open(folder.path(), options());
    let error = Volume::open(folder.path(), options()).unwrap_err();
    let OpenError::Locked { pid, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*pid, Some(std::process::id()));
    assert!(error.to_string().contains("--take-over"), "{error}");
    let (second, _) = take_over(folder.path());
    assert_eq!(second.term(), first.term().next());
    drop(second);
    let still = Volume::open(folder.path(), options()).unwrap_err();
    assert!(
        matches!(still, OpenError::Locked { .. }),
        "the lock was left with its holder"
    );
    drop(first);
    let (third, _) = open(folder.path(), options());
    assert_eq!(third.term(), Term(3));
}

#[test]
fn numbers_start_above_what_is_known_elsewhere() {
    let folder = folder();
    let floors = OpenOptions {
        term_at_least: Term(40),
        switch_at_least: SwitchNumber(70),
        ..OpenOptions::default()
    };
    let unfenced = Volume::open(folder.path(), floors).unwrap();
    assert_eq!(
        (unfenced.highest_term(), unfenced.highest_switch()),
        (Term(40), SwitchNumber(70))
    );
    let error = unfenced.fence(Term(40)).unwrap_err();
    assert!(matches!(error, FenceError::TermTaken { .. }), "{error}");
}

#[test]
fn a_dangling_current_is_told_and_mended_by_the_next_switch() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1")]);
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &tree, 1);
    drop(volume);
    make_writable(root);
    std::fs::remove_dir_all(root.join(".lockstep/releases")).unwrap();
    let (mut volume, found) = open(root, options());
    let Current::Dangling { switch, .. } = found.current else {
        panic!("{found:?}")
    };
    assert_eq!(switch, SwitchNumber(1));
    publish(&mut volume, &store, &tree, 1);
    assert_live(root, &tree, &store);
}

#[test]
fn a_current_that_is_not_ours_is_told_and_a_link_is_replaced_by_the_next_switch() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1")]);
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &tree, 1);
    drop(volume);
    std::fs::remove_file(root.join("current")).unwrap();
    std::fs::create_dir(root.join("current")).unwrap();
    let (mut volume, found) = open(root, options());
    assert!(
        matches!(found.current, Current::Foreign { target: None }),
        "{found:?}"
    );
    let prepared = volume.build(&document(&tree, 1), &tree, &store).unwrap();
    let error = volume.stage_switch(&prepared, SwitchNumber(2)).unwrap_err();
    assert!(error.to_string().contains("Move it away"), "{error}");
    drop(volume);
    std::fs::remove_dir(root.join("current")).unwrap();
    symlink("/etc", root.join("current")).unwrap();
    let (mut volume, found) = open(root, options());
    assert!(
        matches!(found.current, Current::Foreign { target: Some(_) }),
        "{found:?}"
    );
    publish(&mut volume, &store, &tree, 1);
    assert_live(root, &tree, &store);
}

#[test]
fn a_lost_manifest_is_made_again_from_the_release() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1"), ("b/c", "2")]);
    let (mut volume, _) = open(root, options());
    publish(&mut volume, &store, &tree, 1);
    drop(volume);
    std::fs::remove_dir_all(root.join(".lockstep/manifests")).unwrap();
    let (mut volume, found) = open(root, options());
    let Current::Live {
        tree: Some(known), ..
    } = found.current
    else {
        panic!("{found:?}")
    };
    assert_eq!(known, tree, "with the blob ids that git gives");
    assert!(volume.check_drift().unwrap().is_empty());
}

#[test]
fn a_volume_of_another_user_is_refused_with_both_user_ids() {
    let folder = folder();
    let root = folder.path().join("volume");
    drop(open(&root, options()));
    let us = rustix::process::geteuid();
    if us.is_root() {
        chown(root.join(".lockstep"), Some(4242), Some(4242)).unwrap();
        let error = Volume::open(&root, options()).unwrap_err();
        let OpenError::OtherOwner { owner, us, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*owner, *us), (4242, 0));
        assert!(error.to_string().contains("chown -R 0"), "{error}");
    } else {
        // Without root a folder cannot be given away: root's own is one of another user.
        let error = Volume::open(Path::new("/"), options()).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_volume_that_may_not_be_written_is_refused_with_the_next_step() {
    for (errno, words) in [
        (Errno::ROFS, "the volume is read-only"),
        (Errno::ACCESS, "chown -R"),
        (Errno::NOSPC, "the volume is full"),
        (Errno::DQUOT, "the volume is full"),
    ] {
        let folder = folder();
        fault::arm(Fault::FailKind(Op::Mkdir, errno));
        let error = Volume::open(folder.path(), options()).unwrap_err();
        fault::disarm();
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Runs a test of this file, to be found by name, inside the mount namespace.
fn inner(test: &str, root: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "LOCKSTEP_TEST_MOUNT={} {} --exact {test} --nocapture",
        root.display(),
        program.display()
    )
}

#[test]
fn a_file_system_that_is_really_full_refuses_the_build_and_takes_it_after_space_was_freed() {
    let Ok(root) = std::env::var("LOCKSTEP_TEST_MOUNT") else {
        let folder = folder();
        let inner = inner(
            "a_file_system_that_is_really_full_refuses_the_build_and_takes_it_after_space_was_freed",
            folder.path(),
        );
        let script = format!(
            "mount -t tmpfs -o size=3m tmpfs {}; {inner}",
            folder.path().display()
        );
        let real = in_own_mounts(&script);
        // Where that is not allowed, every single change fails with ENOSPC in faults.rs all the same.
        println!("on a real full file system: {real}");
        return;
    };
    let root = Path::new(&root);
    let mut store = Store::default();
    let small = store.tree(&[("a", "1")]);
    let (mut volume, _) = open(root, options());
    let first = publish(&mut volume, &store, &small, 1);
    let mut large = small.clone();
    let file = |n: u8| [n; 64 * 1024];
    for n in 0..64 {
        let blob = store.file(&file(n), lockstep_protocol::FileMode::Regular);
        large.insert(
            lockstep_core::tree::TreePath::new(&format!("d/{n}")).unwrap(),
            blob,
        );
    }
    let other = store.tree(&[("a", "2")]);
    publish(&mut volume, &store, &other, 4);
    for _ in 0..3 {
        let error = volume.build(&document(&large, 2), &large, &store).unwrap_err();
        let lockstep_volume::BuildError::Change(ChangeError::Full(_)) = &error else {
            panic!("{error}")
        };
        assert_live(root, &other, &store);
    }
    // Somebody else fills the disk to the last byte: the way back is still open.
    let filler = std::fs::File::create(root.join(".lockstep/filler")).unwrap();
    while std::io::Write::write(&mut &filler, &[1; 4096]).is_ok() {}
    let staged = volume
        .stage_switch(&first, volume.highest_switch().next())
        .unwrap();
    let switched = staged.commit().unwrap();
    volume.after_unpause(&switched).unwrap();
    assert_live(root, &small, &store);
    drop(filler);
    std::fs::remove_file(root.join(".lockstep/filler")).unwrap();
    let mut fits = small.clone();
    for n in 0..16 {
        let blob = store.file(&file(n), lockstep_protocol::FileMode::Regular);
        fits.insert(
            lockstep_core::tree::TreePath::new(&format!("d/{n}")).unwrap(),
            blob,
        );
    }
    publish(&mut volume, &store, &fits, 3);
    assert_live(root, &fits, &store);
}

#[test]
fn a_file_system_that_is_really_read_only_is_refused_by_name() {
    let Ok(root) = std::env::var("LOCKSTEP_TEST_MOUNT") else {
        let folder = folder();
        let (mut volume, _) = open(folder.path(), options());
        publish(&mut volume, &Store::default(), &Tree::new(), 1);
        drop(volume);
        let inner = inner(
            "a_file_system_that_is_really_read_only_is_refused_by_name",
            folder.path(),
        );
        let path = folder.path().display();
        let script = format!("mount --bind {path} {path}; mount -o remount,bind,ro {path}; {inner}");
        println!("on a real read-only file system: {}", in_own_mounts(&script));
        return;
    };
    let error = Volume::open(Path::new(&root), options()).unwrap_err();
    let OpenError::Change(ChangeError::ReadOnly(_)) = &error else {
        panic!("{error}")
    };
    assert!(
        error.to_string().contains("Mount its file system read-write"),
        "{error}"
    );
}

#[test]
fn modes_are_right_under_any_umask() {
    let Ok(root) = std::env::var("LOCKSTEP_TEST_UMASK") else {
        for mask in ["0000", "0077"] {
            let folder = folder();
            let program = std::env::current_exe().unwrap();
            let script = format!(
                "umask {mask}; exec {} --exact modes_are_right_under_any_umask",
                program.display()
            );
            let output = Command::new("sh")
                .args(["-c", &script])
                .env("LOCKSTEP_TEST_UMASK", folder.path())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
            let mode = |path: &str| {
                std::fs::metadata(folder.path().join(path))
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o7777
            };
            assert_eq!(
                (
                    mode(".lockstep"),
                    mode(".lockstep/releases"),
                    mode(".lockstep/term-1")
                ),
                (0o755, 0o755, 0o700)
            );
        }
        return;
    };
    let mut store = Store::default();
    let tree = store.tree(&[("a", "1"), ("b/c", "2")]);
    let (mut volume, _) = open(Path::new(&root), options());
    publish(&mut volume, &store, &tree, 1);
    assert_live(Path::new(&root), &tree, &store);
}
