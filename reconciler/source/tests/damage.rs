//! A mirror that was damaged: it is noticed, and remade without losing what only the mirror has.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lockstep_core::tree::TreePath;
use lockstep_protocol::Revision;
use lockstep_source::testing::{GitDaemon, Origin};
use lockstep_source::{Mirror, Next, SourceError, SourceSpec};
use tempfile::TempDir;

struct Fetched {
    origin: Origin,
    state: TempDir,
    head: Revision,
}

impl Fetched {
    fn new() -> Self {
        let (origin, state) = (Origin::new(), TempDir::new().unwrap());
        origin.write_file("sub/b.toml", "b = 1\n");
        let head = origin.publish_file("a.toml", "a = 1\n");
        let fetched = Self { origin, state, head };
        assert_eq!(fetched.open().fetch().unwrap(), fetched.head);
        fetched
    }

    fn dir(&self) -> PathBuf {
        self.state.path().join("mirror.git")
    }

    fn open(&self) -> Mirror {
        Mirror::open(self.dir(), SourceSpec::new(self.origin.url(), "main")).unwrap()
    }

    fn packs(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir().join("objects/pack")).unwrap();
        files
            .map(|f| f.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "pack"))
            .collect()
    }

    /// Follows the errors until a tree comes out, as the caller does.
    fn tree_len(&self, mirror: &mut Mirror) -> usize {
        for _ in 0..3 {
            match mirror.fetch().and_then(|head| mirror.tree(&head, None)) {
                Ok(tree) => return tree.len(),
                Err(error) => {
                    assert_eq!(error.next(), Next::Heal, "{error}");
                    assert!(
                        error.to_string().ends_with(". It is remade from the source"),
                        "{error}"
                    );
                    mirror.heal().unwrap();
                }
            }
        }
        panic!("it does not heal");
    }
}

/// Writes into a file of the mirror, which git keeps read-only.
fn overwrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_truncated_pack_heals() {
    for keep in [0, 5, 40, 120] {
        let fetched = Fetched::new();
        for pack in fetched.packs() {
            overwrite(&pack, |bytes| bytes.truncate(keep));
        }
        assert_eq!(fetched.tree_len(&mut fetched.open()), 2, "cut to {keep} bytes");
    }
}

#[test]
fn a_pack_with_changed_bytes_heals() {
    let fetched = Fetched::new();
    let whole = fs::read(&fetched.packs()[0]).unwrap();
    for at in (12..whole.len() - 20).step_by(3) {
        let pack = fetched.packs().remove(0);
        overwrite(&pack, |bytes| bytes[at] ^= 0x55);
        let mut mirror = fetched.open();
        // Bytes of something that is not looked at may be damaged and nobody notices; what is read is right.
        assert_eq!(fetched.tree_len(&mut mirror), 2, "byte {at}");
        let tree = mirror.tree(&fetched.head, None).unwrap();
        let blob = tree.get(&TreePath::new("a.toml").unwrap()).unwrap().blob;
        assert_eq!(mirror.blobs().unwrap().read(blob).unwrap(), b"a = 1\n");
        mirror.heal().unwrap();
    }
}

#[test]
fn a_pack_that_is_gone_heals() {
    let fetched = Fetched::new();
    fs::remove_dir_all(fetched.dir().join("objects/pack")).unwrap();
    assert_eq!(fetched.tree_len(&mut fetched.open()), 2);
}

#[test]
fn an_older_pack_that_is_gone_heals_although_the_newest_commit_is_there() {
    for by_daemon in [false, true] {
        let fetched = Fetched::new();
        let daemon = GitDaemon::serve(fetched.origin.bare().parent().unwrap());
        let url = if by_daemon {
            daemon.url("origin.git")
        } else {
            fetched.origin.url()
        };
        let open = || Mirror::open(fetched.dir(), SourceSpec::new(&url, "main")).unwrap();
        // Large enough that the server sends a difference to what it believes is here.
        let lines: Vec<_> = (0..2000).map(|n| format!("key{n} = {n}")).collect();
        fetched.origin.publish_file("large.toml", lines.join("\n"));
        open().fetch().unwrap();
        let older = fetched.packs();
        fetched.origin.publish_file("new/a.toml", "");
        open().fetch().unwrap();
        for pack in older {
            fs::remove_file(pack.with_extension("idx")).unwrap();
            fs::remove_file(pack).unwrap();
        }
        fetched
            .origin
            .publish_file("large.toml", lines.join("\n") + "\nlast = 1");
        assert_eq!(fetched.tree_len(&mut open()), 4, "{url}");
    }
}

#[test]
fn a_lost_head_is_written_again_around_what_is_there() {
    let fetched = Fetched::new();
    fs::remove_file(fetched.dir().join("HEAD")).unwrap();
    fetched.origin.delete_bare();
    let mirror = fetched.open();
    assert_eq!(
        mirror.fetched().unwrap(),
        Some(fetched.head.clone()),
        "nothing had to be fetched again"
    );
    assert_eq!(mirror.tree(&fetched.head, None).unwrap().len(), 2);
}

#[test]
fn whatever_lies_where_the_mirror_belongs_gives_way() {
    let (origin, state) = (Origin::new(), TempDir::new().unwrap());
    let head = origin.publish_file("a.toml", "a = 1\n");
    let dir = state.path().join("mirror.git");
    let open = || Mirror::open(&dir, SourceSpec::new(origin.url(), "main")).unwrap();
    fs::write(&dir, "a file").unwrap();
    assert_eq!(open().fetch().unwrap(), head);
    fs::write(dir.join("config"), "[core\n").unwrap();
    assert_eq!(open().fetch().unwrap(), head);
    fs::write(dir.join("HEAD"), "").unwrap();
    assert_eq!(open().fetch().unwrap(), head);
}

#[test]
fn refs_that_lost_their_contents_in_a_power_cut_are_written_again() {
    let fetched = Fetched::new();
    let mirror = fetched.open();
    mirror.pin(&fetched.head).unwrap();
    drop(mirror);
    let kept = format!("refs/lockstep/kept/{}", fetched.head);
    for name in ["HEAD", "refs/heads/main", &kept] {
        fs::write(fetched.dir().join(name), "").unwrap();
    }
    let mirror = fetched.open();
    assert_eq!(mirror.fetched().unwrap(), None);
    assert_eq!(mirror.pinned().unwrap(), std::slice::from_ref(&fetched.head));
    assert_eq!(mirror.fetch().unwrap(), fetched.head);
    assert_eq!(mirror.resolve("HEAD").unwrap(), fetched.head);
}

#[test]
fn kept_revisions_survive_a_remake_although_the_source_has_lost_them() {
    let fetched = Fetched::new();
    let first = fetched.head.clone();
    let second = fetched.origin.publish_file("a.toml", "a = 2\n");
    let mut mirror = fetched.open();
    mirror.fetch().unwrap();
    mirror.pin(&second).unwrap();
    fetched.origin.reset_to(&first);
    fetched.origin.force_push();
    let third = fetched.origin.publish_file("a.toml", "a = 3\n");
    mirror.fetch().unwrap();
    let blobs = mirror.blobs().unwrap();
    let tree = mirror.tree(&second, None).unwrap();

    mirror.heal().unwrap();
    assert_eq!(mirror.fetched().unwrap(), Some(third));
    assert_eq!(mirror.pinned().unwrap(), std::slice::from_ref(&second));
    assert_eq!(mirror.tree(&second, None).unwrap(), tree);
    let blob = tree.get(&TreePath::new("a.toml").unwrap()).unwrap().blob;
    assert_eq!(
        blobs.read(blob).unwrap(),
        b"a = 2\n",
        "an old handle goes on working"
    );
}

#[test]
fn a_damaged_mirror_stays_while_the_source_is_away() {
    let fetched = Fetched::new();
    let mut mirror = fetched.open();
    fetched.origin.delete_bare();
    assert_eq!(mirror.heal().unwrap_err().next(), Next::Retry);
    assert_eq!(mirror.tree(&fetched.head, None).unwrap().len(), 2);
    drop(mirror);
    assert_eq!(fetched.open().fetched().unwrap(), Some(fetched.head.clone()));
}

#[test]
fn a_remake_that_was_killed_between_its_renames_is_carried_on() {
    let fetched = Fetched::new();
    let beside = |suffix: &str| fetched.state.path().join(format!("mirror.git{suffix}"));
    fs::rename(fetched.dir(), beside(".new")).unwrap();
    fs::create_dir(beside(".old")).unwrap();
    assert_eq!(fetched.open().fetched().unwrap(), Some(fetched.head.clone()));
    assert!(!beside(".new").exists() && !beside(".old").exists());
}

#[test]
fn lock_files_and_unfinished_packs_of_a_killed_process_are_swept() {
    let fetched = Fetched::new();
    let left = [
        "refs/heads/main.lock",
        "HEAD.lock",
        "config.lock",
        "packed-refs.lock",
        "objects/pack/pack_Xa8b",
    ];
    for name in left {
        let file = fs::File::create(fetched.dir().join(name)).unwrap();
        // Whoever was killed held its locks until just now.
        if !name.ends_with(".lock") {
            file.set_modified(SystemTime::now() - Duration::from_secs(7200))
                .unwrap();
        }
    }
    let second = fetched.origin.publish_file("a.toml", "a = 2\n");
    let mirror = fetched.open();
    assert_eq!(mirror.fetch().unwrap(), second);
    for name in left {
        assert!(!fetched.dir().join(name).exists(), "{name}");
    }
}

#[test]
fn many_packs_become_one_and_only_what_is_named_stays() {
    let fetched = Fetched::new();
    let mut mirror = fetched.open();
    let blobs = mirror.blobs().unwrap();
    let mut revisions = vec![fetched.head.clone()];
    for n in 0..101 {
        revisions.push(fetched.origin.publish_file("a.toml", format!("a = {n}\n")));
        mirror.fetch().unwrap();
    }
    let (kept, lost) = (revisions[90].clone(), revisions[100].clone());
    mirror.pin(&kept).unwrap();
    fetched.origin.reset_to(&revisions[80]);
    fetched.origin.force_push();
    mirror.fetch().unwrap();

    let kept_tree = mirror.tree(&kept, None).unwrap();
    assert!(fetched.packs().len() > 100);
    assert!(mirror.tidy().unwrap());
    assert!(!mirror.tidy().unwrap());
    assert!(fetched.packs().len() <= 2, "{:?}", fetched.packs());
    assert_eq!(mirror.fetched().unwrap(), Some(revisions[80].clone()));
    assert_eq!(mirror.tree(&kept, None).unwrap(), kept_tree);
    assert!(mirror.tree(&revisions[3], None).is_ok());
    assert!(!mirror.has(&lost));
    let blob = kept_tree.get(&TreePath::new("a.toml").unwrap()).unwrap().blob;
    assert_eq!(blobs.read(blob).unwrap(), b"a = 89\n");
    let next = fetched.origin.publish_file("a.toml", "a = 1000\n");
    assert_eq!(mirror.fetch().unwrap(), next);
}

#[test]
fn a_source_that_is_damaged_says_so_and_the_mirror_stays() {
    let fetched = Fetched::new();
    let daemon = GitDaemon::serve(fetched.origin.bare().parent().unwrap());
    let second = fetched.origin.publish_file("a.toml", "a = 2\n");
    let tree = fetched.origin.git(&["rev-parse", "HEAD^{tree}"]);
    let object = fetched
        .origin
        .bare()
        .join("objects")
        .join(&tree[..2])
        .join(&tree[2..]);
    fs::remove_file(object).unwrap();
    for url in [fetched.origin.url(), daemon.url("origin.git")] {
        let mirror = Mirror::open(
            fetched.state.path().join("other.git"),
            SourceSpec::new(&url, "main"),
        )
        .unwrap();
        let error = mirror.fetch().unwrap_err();
        assert_eq!(error.next(), Next::Retry, "{error:?}");
        assert!(!mirror.has(&second));
        if url == fetched.origin.url() {
            assert!(matches!(error, SourceError::RemoteCorrupt { .. }), "{error:?}");
        }
    }
}

#[test]
fn unknown_revisions_are_not_taken_for_damage() {
    let fetched = Fetched::new();
    let mirror = fetched.open();
    let unknown = Revision::new(&"ab".repeat(20)).unwrap();
    let error = mirror.tree(&unknown, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "\"{unknown}\" names no revision in the mirror of {}: no such commit was fetched. Push it to the \
             followed branch, or check the id",
            fetched.origin.url()
        )
    );
    assert_eq!(error.next(), Next::Reject);
    let sha256 = Revision::new(&"ab".repeat(32)).unwrap();
    assert_eq!(mirror.tree(&sha256, None).unwrap_err().next(), Next::Reject);
}
