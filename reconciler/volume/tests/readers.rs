//! Readers beside a writer: whoever resolves `current` once reads one whole release, at any moment.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use lockstep_protocol::{RELEASE_FILE, Release};
use lockstep_volume::OpenOptions;

/// How many releases are kept: a reader that is slower than so many switches may lose its release.
const KEEP: u64 = 8;

/// Reads the live release as a service does; an error when a file is gone.
fn read_once(root: &Path) -> std::io::Result<(Release, String, String)> {
    let folder = std::fs::canonicalize(root.join("current"))?;
    let document = std::fs::read(folder.join(RELEASE_FILE))?;
    let first = std::fs::read_to_string(folder.join("a.toml"))?;
    let second = std::fs::read_to_string(folder.join("deep/b.toml"))?;
    Ok((serde_json::from_slice(&document).unwrap(), first, second))
}

#[test]
fn readers_never_see_a_mix_nor_a_moment_without_a_release() {
    let folder = folder();
    let root = folder.path();
    let mut store = Store::default();
    let tree = |store: &mut Store, n: u64| {
        let text = n.to_string();
        store.tree(&[("a.toml", &text), ("deep/b.toml", &text), ("same", "same")])
    };
    let (mut volume, _) = open(
        root,
        OpenOptions {
            keep: KEEP as usize,
            ..options()
        },
    );
    let first = tree(&mut store, 1);
    publish(&mut volume, &store, &first, 1);
    let done = AtomicBool::new(false);
    let reads: u64 = std::thread::scope(|scope| {
        let reader = || {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let before = current_number(root).expect("there is always a current");
                match read_once(root) {
                    Ok((document, first, second)) => {
                        assert_eq!(first, second, "one read is of one release");
                        assert_eq!(document.subject, format!("change {first}"));
                        reads += 1;
                    }
                    Err(error) => {
                        let after = current_number(root).expect("there is always a current");
                        assert_eq!(error.kind(), ErrorKind::NotFound);
                        assert!(
                            after - before >= KEEP - 2,
                            "{error} after {} switches",
                            after - before
                        );
                    }
                }
            }
            reads
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for n in 2..=150 {
            let next = tree(&mut store, n);
            publish(&mut volume, &store, &next, n);
            volume.tidy(&BTreeSet::new()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(reads > 150, "{reads}");
}
