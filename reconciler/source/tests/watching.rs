//! Wake-ups from a real repository on this machine.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use lockstep_source::testing::Origin;
use lockstep_source::{Head, Mirror, SourceSpec, Watcher};
use tempfile::TempDir;

struct Watched {
    wakes: Receiver<()>,
    _watcher: Watcher,
}

fn watch(url: &str) -> Watched {
    let (wake, wakes) = mpsc::channel();
    let on_wake = move || {
        let _ = wake.send(());
    };
    let watcher = Watcher::start(&SourceSpec::new(url, "main"), on_wake)
        .unwrap()
        .unwrap();
    Watched {
        wakes,
        _watcher: watcher,
    }
}

impl Watched {
    fn is_woken(&self, why: &str) {
        self.wakes
            .recv_timeout(Duration::from_secs(20))
            .unwrap_or_else(|_| panic!("nobody was woken: {why}"));
    }

    /// Waits until a look after a wake-up sees a head, as the caller does.
    fn woken_until(&self, why: &str, mut seen: impl FnMut() -> bool) {
        while !seen() {
            self.is_woken(why);
        }
    }
}

#[test]
fn a_push_wakes_whoever_watches() {
    let origin = Origin::new();
    let watched = watch(&origin.url());
    let first = origin.publish_file("a", "1");
    watched.is_woken("a first push");
    let state = TempDir::new().unwrap();
    let mirror = Mirror::open(
        state.path().join("mirror.git"),
        SourceSpec::new(origin.url(), "main"),
    )
    .unwrap();
    watched.woken_until("the push", || {
        mirror.list_head().unwrap() == Head::Revision(first.clone())
    });

    // Packed refs are one file beside the others.
    origin.run(&origin.bare(), &["pack-refs", "--all"]);
    let second = origin.publish_file("a", "2");
    watched.woken_until("a push after packing", || {
        mirror.list_head().unwrap() == Head::Revision(second.clone())
    });
    origin.push_to("feature/deep/down");
    watched.is_woken("a branch in new folders");
}

#[test]
fn a_commit_in_a_work_tree_wakes_whoever_watches() {
    let origin = Origin::new();
    origin.publish_file("a", "1");
    let watched = watch(&origin.work().display().to_string());
    origin.write_file("a", "2");
    origin.commit("Second");
    watched.is_woken("a commit");
}

#[test]
fn a_repository_that_is_deleted_and_remade_is_watched_again() {
    let origin = Origin::new();
    origin.publish_file("a", "1");
    let watched = watch(&origin.url());
    let state = TempDir::new().unwrap();
    let mirror = Mirror::open(
        state.path().join("mirror.git"),
        SourceSpec::new(origin.url(), "main"),
    )
    .unwrap();
    for round in 2..5 {
        origin.delete_bare();
        watched.woken_until("it was deleted", || mirror.list_head().is_err());
        origin.make_bare();
        watched.woken_until("it was remade", || {
            mirror.list_head().is_ok_and(|head| head == Head::Empty)
        });
        let head = origin.publish_file("a", round.to_string());
        watched.woken_until("a push to the new one", || {
            mirror
                .list_head()
                .is_ok_and(|now| now == Head::Revision(head.clone()))
        });
    }
}

#[test]
fn a_repository_that_appears_later_wakes_whoever_watches() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("not/yet/there");
    let watched = watch(&root.join("origin.git").display().to_string());
    let origin = Origin::at(&root);
    origin.publish_file("a", "1");
    watched.is_woken("it appeared");
}

#[test]
fn a_repository_elsewhere_is_not_watched() {
    let watcher = Watcher::start(&SourceSpec::new("git://127.0.0.1:1/config.git", "main"), || {});
    assert!(watcher.unwrap().is_none());
}
