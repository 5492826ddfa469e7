//! Taking over a folder in which files lie that are not ours.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::scenario::{Scenario, THEIRS, assert_theirs_kept, put_theirs, rollout};
use common::*;
use lockstep_volume::fault::{self, Fault, Op};
use lockstep_volume::{FenceError, OpenError, OpenOptions, Volume};
use rustix::io::Errno;

fn adopting() -> OpenOptions {
    Scenario::Adopt.options()
}

/// Why a folder is not taken over; nothing in it may have changed.
fn refused(root: &Path) -> Vec<String> {
    let before = names(root);
    let error = Volume::open(root, adopting()).unwrap_err();
    assert_eq!(names(root), before, "nothing was made");
    match error {
        OpenError::NotAdoptable { reasons, .. } => reasons,
        other => panic!("{other}"),
    }
}

#[test]
fn a_reader_of_a_path_finds_a_file_at_every_moment() {
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    let mut store = Store::default();
    let tree = store.tree(&[("a.toml", "ours"), ("d/x", "ours")]);
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = |path: &'static str| {
            let done = &done;
            move || {
                let mut seen = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let read = std::fs::read_to_string(root.join(path));
                    seen.push(read.unwrap_or_else(|error| panic!("{path}: {error}")));
                }
                seen.dedup();
                seen
            }
        };
        let readers = [scope.spawn(reader("a.toml")), scope.spawn(reader("d/x"))];
        let (mut volume, _) = open(root, adopting());
        rollout(&mut volume, &store, &tree, 1).unwrap();
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap())
    });
    for seen in reads {
        assert!(seen == ["theirs", "ours"] || seen == ["theirs"], "{seen:?}");
    }
    assert_live(root, &tree, &store);
    assert_theirs_kept(root);
}

#[test]
fn what_was_kept_stays_kept_and_is_told_once_it_is_asked_for() {
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    let store = Store::default();
    let (mut volume, found) = open(root, adopting());
    let adopted = found.adopted.unwrap();
    assert_eq!(adopted.folder, volume.path().join(".lockstep/adopted-1"));
    assert_eq!(adopted.entries, [".hidden", "a.toml", "d", "link", "notes.txt"]);
    rollout(&mut volume, &store, &lockstep_core::tree::Tree::new(), 1).unwrap();
    drop(volume);
    for _ in 0..2 {
        let (mut volume, found) = open(root, adopting());
        assert_eq!(found.adopted, None, "it is a volume of ours");
        volume.tidy(&BTreeSet::new()).unwrap();
        assert_theirs_kept_for_good(root);
    }
}

fn assert_theirs_kept_for_good(root: &Path) {
    for (path, contents) in THEIRS {
        let kept = root.join(".lockstep/adopted-1").join(path);
        assert_eq!(std::fs::read_to_string(kept).unwrap(), contents);
        assert!(!root.join(path).exists(), "{path}");
    }
}

#[test]
fn a_layout_without_a_release_does_not_make_their_files_ours() {
    let folder = folder();
    let root = folder.path();
    std::fs::create_dir_all(root.join(".lockstep/switches")).unwrap();
    put_theirs(root);
    let error = Volume::open(root, options()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("--adopt"), "{error}");
    let (_, found) = open(root, adopting());
    assert!(found.adopted.is_some());
}

#[test]
fn what_was_begun_is_gone_on_with_also_when_nobody_asks() {
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    drop(open(root, adopting()));
    std::fs::write(root.join("later"), "later").unwrap();
    let (mut volume, found) = open(root, options());
    assert!(found.adopted.is_some());
    let store = Store::default();
    rollout(&mut volume, &store, &lockstep_core::tree::Tree::new(), 1).unwrap();
    assert_eq!(std::fs::read_to_string(root.join("later")).unwrap(), "later");
    assert_theirs_kept_for_good(root);
}

#[test]
fn a_deposed_coordinator_exchanges_nothing_any_more() {
    // It stops before each of its changes, another one takes over and finishes, and it goes on.
    let mut deposed = 0;
    for at in 1.. {
        let folder = quick_folder();
        let root = folder.path();
        put_theirs(root);
        let unfenced = Volume::open(root, adopting()).unwrap();
        let term = unfenced.highest_term().next();
        let mut store = Store::default();
        let tree = store.tree(&[("a.toml", "ours"), ("d/x", "ours")]);
        let (path, other, ours) = (root.to_owned(), store, tree.clone());
        let (sent, finished) = std::sync::mpsc::channel();
        fault::arm_with(at, move || {
            let done = std::thread::spawn(move || {
                let options = OpenOptions {
                    take_over: true,
                    ..adopting()
                };
                let Ok(unfenced) = Volume::open(&path, options) else {
                    return;
                };
                let term = unfenced.highest_term().next();
                let (mut volume, _) = unfenced.fence(term).unwrap();
                rollout(&mut volume, &other, &ours, 1).unwrap();
            });
            sent.send(done.join().is_ok()).unwrap();
        });
        let late = unfenced.fence(term);
        let reached = fault::disarm().len() as u64 >= at;
        if !reached {
            assert!(late.is_ok());
            break;
        }
        assert!(
            finished.recv().unwrap(),
            "before change {at} the other one failed"
        );
        deposed += u64::from(matches!(
            late,
            Err(FenceError::Change(_) | FenceError::TermTaken { .. })
        ));
        assert_eq!(
            std::fs::read_to_string(root.join("a.toml")).unwrap(),
            "ours",
            "at {at}"
        );
        assert_theirs_kept(root);
    }
    assert!(deposed > 10, "{deposed}");
}

#[test]
fn without_an_exchange_files_are_moved_and_folders_are_refused() {
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    fault::arm(Fault::FailKind(Op::Exchange, Errno::INVAL));
    let unfenced = Volume::open(root, adopting()).unwrap();
    let term = unfenced.highest_term().next();
    let error = unfenced.fence(term).unwrap_err();
    assert!(error.to_string().contains("move it away by hand"), "{error}");
    assert!(error.to_string().contains("/d"), "{error}");
    for (path, contents) in THEIRS {
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), contents);
    }
    std::fs::remove_dir_all(root.join("d")).unwrap();
    let (_, found) = open(root, adopting());
    fault::disarm();
    assert_eq!(found.adopted.unwrap().entries.len(), 4);
    let kept = root.join(".lockstep/adopted-1/a.toml");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "theirs");
    assert_eq!(std::fs::read_to_string(root.join("a.toml")).unwrap(), "theirs");
}

#[test]
fn a_socket_a_pipe_and_the_name_current_are_refused_by_name() {
    let folder = folder();
    let root = folder.path();
    std::fs::create_dir(root.join("deep")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(root.join("deep/sock")).unwrap();
    let made = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    symlink("deep", root.join("current")).unwrap();
    let reasons = refused(root);
    assert_eq!(
        reasons,
        [
            "current has the name of the link that Lockstep makes",
            "deep/sock is a socket or a pipe: a program waits at it",
            "pipe is a socket or a pipe: a program waits at it"
        ]
    );
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can give a file away");
        return;
    }
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    chown(root.join("d/only/here"), Some(4242), Some(4242)).unwrap();
    assert_eq!(
        refused(root),
        ["d/only/here belongs to the user 4242, and this process runs as 0"]
    );
}

#[test]
fn a_folder_that_may_not_be_written_is_refused() {
    if rustix::process::geteuid().is_root() {
        eprintln!("not run: root may write every folder");
        return;
    }
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    std::fs::set_permissions(root.join("d"), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert!(refused(root)[0].starts_with("d is a folder that this process may not write"));
}

#[test]
fn a_mount_point_is_refused_also_of_a_single_file() {
    let Ok(root) = std::env::var("LOCKSTEP_TEST_MOUNT") else {
        let folder = folder();
        put_theirs(folder.path());
        let path = folder.path().display();
        let program = std::env::current_exe().unwrap();
        let script = format!(
            "mount --bind {path}/d {path}/d; mount --bind {path}/notes.txt {path}/a.toml; \
             LOCKSTEP_TEST_MOUNT={path} {} --exact a_mount_point_is_refused_also_of_a_single_file --nocapture",
            program.display()
        );
        println!("with real mounts: {}", in_own_mounts(&script));
        return;
    };
    assert_eq!(
        refused(Path::new(&root)),
        [
            "a.toml is a mount point: unmount it first",
            "d is a mount point: unmount it first"
        ]
    );
}

#[test]
fn a_checkout_or_a_newer_layout_is_never_taken_over() {
    let folder = folder();
    let root = folder.path();
    put_theirs(root);
    std::fs::create_dir(root.join(".lockstep")).unwrap();
    std::fs::write(root.join(".lockstep/layout-2"), "").unwrap();
    let error = Volume::open(root, adopting()).unwrap_err();
    assert!(matches!(error, OpenError::Strange { .. }), "{error}");
    assert!(error.to_string().contains("newer Lockstep"), "{error}");
}
