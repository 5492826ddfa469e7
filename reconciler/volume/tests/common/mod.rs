//! What all suites share: a store of blobs, trees made of texts, and checks of what lies on a volume.

#![allow(dead_code, unreachable_pub, reason = "each suite uses a part of it")]

pub mod scenario;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::tree::{BlobId, Tree, TreeFile, TreePath};
use lockstep_protocol::{DigestBuilder, FileMode, RELEASE_FILE, Release, Revision, RolloutId, SwitchNumber};
use lockstep_volume::{
    Blobs, BlobsError, Found, Intent, JOURNAL_VERSION, OpenOptions, Outcome, OutcomeKind, Prepared, Side,
    Term, Volume,
};
use sha2::{Digest as _, Sha256};

/// A store of blobs that knows every contents it ever made a file of.
#[derive(Default)]
pub struct Store(HashMap<BlobId, Vec<u8>>);

impl Store {
    /// A file with these contents.
    pub fn file(&mut self, contents: &[u8], mode: FileMode) -> TreeFile {
        let mut hasher = sha1::Sha1::new();
        hasher.update(format!("blob {}\0", contents.len()));
        hasher.update(contents);
        let blob = BlobId(hasher.finalize().into());
        self.0.insert(blob, contents.to_vec());
        TreeFile {
            mode,
            blob,
            sha256: Sha256::digest(contents).into(),
            size: contents.len() as u64,
        }
    }

    /// Puts a plain file into a tree.
    pub fn put(&mut self, tree: &mut Tree, path: &str, contents: &str) {
        let file = self.file(contents.as_bytes(), FileMode::Regular);
        tree.insert(TreePath::new(path).unwrap(), file);
    }

    /// A tree of plain files.
    pub fn tree(&mut self, files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, contents) in files {
            self.put(&mut tree, path, contents);
        }
        tree
    }
}

impl Blobs for Store {
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, BlobsError> {
        self.0
            .get(&blob)
            .cloned()
            .ok_or_else(|| BlobsError::new("no such blob"))
    }
}

/// A store that has nothing, and fails the test when it is asked.
pub struct NoBlobs;

impl Blobs for NoBlobs {
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, BlobsError> {
        panic!("the blob {blob:?} was asked for")
    }
}

/// The revision with a number.
pub fn revision(number: u64) -> Revision {
    Revision::new(&format!("{number:08x}{number:032x}")).unwrap()
}

/// The document of a tree as the revision with a number.
pub fn document(tree: &Tree, number: u64) -> Release {
    Release {
        revision: revision(number),
        digest: tree.digest(),
        author: "A <a@example.org>".to_owned(),
        committed: Timestamp::from_second(1_700_000_000).unwrap(),
        subject: format!("change {number}"),
        built: Timestamp::from_second(1_700_000_001).unwrap(),
    }
}

/// Options that keep few releases and forget at once.
pub fn options() -> OpenOptions {
    OpenOptions {
        keep: 2,
        linger: Duration::ZERO,
        ..OpenOptions::default()
    }
}

/// Opens and fences with the next term.
pub fn open(path: &Path, options: OpenOptions) -> (Volume, Found) {
    let unfenced = Volume::open(path, options).unwrap();
    let term = unfenced.highest_term().next();
    unfenced.fence(term).unwrap()
}

/// Opens beside a coordinator that still has the lock, and fences it.
pub fn take_over(path: &Path) -> (Volume, Found) {
    open(
        path,
        OpenOptions {
            take_over: true,
            ..options()
        },
    )
}

/// Publishes a tree as the next switch, with nobody to be paused.
pub fn publish(volume: &mut Volume, store: &Store, tree: &Tree, number: u64) -> Prepared {
    let switch = volume.highest_switch().next();
    let (prepared, staged) = volume
        .prepare_switch(&document(tree, number), tree, store, switch)
        .unwrap();
    let switched = staged.commit().unwrap();
    volume.after_unpause(&switched).unwrap();
    prepared
}

/// What a folder holds: each file's mode and contents, the folder's own `.lockstep` left out.
pub fn contents(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            if path == Path::new(".lockstep") {
                continue;
            }
            let meta = std::fs::symlink_metadata(folder.join(&path)).unwrap();
            if meta.is_dir() {
                assert_eq!(meta.mode() & 0o7777, 0o555, "mode of {path:?}");
                folders.push(path);
            } else {
                assert!(meta.is_file(), "{path:?}");
                let bytes = std::fs::read(folder.join(&path)).unwrap();
                found.insert(path.to_str().unwrap().to_owned(), (meta.mode() & 0o7777, bytes));
            }
        }
    }
    found
}

/// What a folder with this tree must hold.
pub fn expected(tree: &Tree, store: &Store) -> BTreeMap<String, (u32, Vec<u8>)> {
    let bits = |mode| match mode {
        FileMode::Regular => 0o444,
        FileMode::Executable => 0o555,
    };
    tree.iter()
        .map(|(p, f)| (p.as_str().to_owned(), (bits(f.mode), store.read(f.blob).unwrap())))
        .collect()
}

/// The digest of a folder, computed from nothing but its files.
pub fn digest_on_disk(folder: &Path) -> lockstep_protocol::Digest {
    let mut digest = DigestBuilder::new();
    for (path, (bits, bytes)) in contents(folder) {
        let mode = if bits == 0o555 {
            FileMode::Executable
        } else {
            FileMode::Regular
        };
        digest.file(mode, &Sha256::digest(&bytes).into(), &path);
    }
    digest.finish()
}

/// The folder that `current` leads to.
pub fn current(root: &Path) -> PathBuf {
    std::fs::canonicalize(root.join("current")).unwrap()
}

/// The number of the switch that `current` names, if it names one.
pub fn current_number(root: &Path) -> Option<u64> {
    let target = std::fs::read_link(root.join("current")).ok()?;
    target.file_name()?.to_str()?.parse().ok()
}

/// The release document that readers see.
pub fn live_document(root: &Path) -> Release {
    serde_json::from_slice(&std::fs::read(root.join("current").join(RELEASE_FILE)).unwrap()).unwrap()
}

/// Fails unless `current` and all top-level links show exactly this tree.
pub fn assert_live(root: &Path, tree: &Tree, store: &Store) {
    let folder = current(root);
    assert_eq!(contents(&folder), expected(tree, store));
    let document = live_document(root);
    assert_eq!(document.digest, tree.digest());
    assert_eq!(digest_on_disk(&folder), tree.digest());
    assert_eq!(
        std::fs::metadata(&folder).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    assert_eq!(
        links(root),
        tree.iter().map(|(path, _)| path.top().to_owned()).collect()
    );
}

/// The top-level links, each checked for where it leads.
pub fn links(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in names(root) {
        if name != "current" && name != ".lockstep" {
            assert_eq!(
                std::fs::read_link(root.join(&name)).unwrap(),
                Path::new("current").join(&name)
            );
            found.insert(name);
        }
    }
    found
}

/// The names in a folder.
pub fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A recursive picture of everything below a folder: kinds, modes, inodes, contents and link targets.
pub fn picture(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            let full = folder.join(&path);
            let meta = std::fs::symlink_metadata(&full).unwrap();
            let bytes = if meta.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                std::fs::read_link(&full)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                std::fs::read(&full).unwrap()
            };
            found.insert(path, (meta.mode(), meta.ino(), bytes));
        }
    }
    found
}

/// The intent of a rollout to a prepared release.
pub fn intent(volume: &Volume, prepared: &Prepared, switch: SwitchNumber) -> Intent {
    let to = Side {
        switch,
        revision: prepared.document().revision.clone(),
        digest: prepared.document().digest,
        release: prepared.name().clone(),
    };
    Intent {
        version: JOURNAL_VERSION,
        rollout: RolloutId(format!("rollout-{switch}")),
        term: volume.term(),
        from: None,
        to,
        back: switch.next(),
        services: vec!["scanner".to_owned()],
        started: Timestamp::UNIX_EPOCH,
        detail: serde_json::json!({ "participants": [1, 2] }),
    }
}

/// The outcome of a rollout.
pub fn outcome(intent: &Intent, term: Term, kind: OutcomeKind) -> Outcome {
    Outcome {
        version: JOURNAL_VERSION,
        rollout: intent.rollout.clone(),
        term,
        kind,
        ended: Timestamp::UNIX_EPOCH,
        detail: serde_json::Value::Null,
    }
}

/// Overwrites a file's bytes in place, whatever its permissions, as a careless editor does.
pub fn write_in_place(path: &Path, bytes: &[u8]) {
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
}

/// A temporary folder that goes with all that is in it, read-only folders too.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        make_writable(self.0.path());
    }
}

/// A temporary folder on the disk.
pub fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

/// A folder for a suite that makes thousands of volumes: in memory where there is such a file system, since
/// what they prove does not depend on the disk.
pub fn quick_folder() -> Folder {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new()
        .prefix("lockstep-volume-")
        .tempdir_in(memory);
    Folder(made.or_else(|_| tempfile::tempdir()).unwrap())
}

/// Makes all folders below one writable for their owner.
pub fn make_writable(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o755));
            make_writable(&entry.path());
        }
    }
}

/// Runs a shell script in a mount namespace of its own; false where the machine does not allow that.
pub fn in_own_mounts(script: &str) -> bool {
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return false;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec", script])
        .output()
        .unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {told}");
    true
}
