//! Prints what a change of one file costs on volumes of 10 to 50,000 files: in the foreground, between the
//! commit and the switch, and in the background afterwards.
//!
//! `cargo run --release --example volume-cost -p lockstep-volume [FOLDER]`

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lockstep_core::tree::{BlobId, Tree, TreeFile, TreePath};
use lockstep_protocol::{FileMode, Release, Revision};
use lockstep_volume::{Blobs, BlobsError, OpenOptions, Spare, Volume};
use sha2::{Digest, Sha256};

/// Blobs in memory, named by the first bytes of their SHA-256.
#[derive(Default)]
struct Store(HashMap<BlobId, Vec<u8>>);

impl Store {
    fn file(&mut self, contents: String) -> TreeFile {
        let sha256: [u8; 32] = Sha256::digest(&contents).into();
        let mut id = [0; 20];
        id.copy_from_slice(&sha256[..20]);
        let file = TreeFile {
            mode: FileMode::Regular,
            blob: BlobId(id),
            sha256,
            size: contents.len() as u64,
        };
        self.0.insert(BlobId(id), contents.into_bytes());
        file
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

fn document(tree: &Tree, number: u64) -> Result<Release, Box<dyn Error>> {
    Ok(Release {
        revision: Revision::new(&format!("{number:08x}{number:032x}"))?,
        digest: tree.digest(),
        author: String::new(),
        committed: jiff::Timestamp::UNIX_EPOCH,
        subject: String::new(),
        built: jiff::Timestamp::UNIX_EPOCH,
    })
}

/// One change, timed step by step.
#[derive(Default)]
struct Times {
    build: Vec<Duration>,
    stage: Vec<Duration>,
    commit: Vec<Duration>,
    after: Vec<Duration>,
    tidy: Vec<(Duration, Spare)>,
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn measure(folder: PathBuf, files: u64) -> Result<(), Box<dyn Error>> {
    let mut store = Store::default();
    let mut tree = Tree::new();
    for n in 0..files {
        let contents = format!("value = {n}\n").repeat(20);
        tree.insert(
            TreePath::new(&format!("dir{:03}/file{n}.toml", n % 500))?,
            store.file(contents),
        );
    }
    let options = OpenOptions {
        keep: 4,
        linger: Duration::ZERO,
        ..OpenOptions::default()
    };
    let unfenced = Volume::open(&folder, options)?;
    let term = unfenced.highest_term().next();
    let (mut volume, _) = unfenced.fence(term)?;
    let began = Instant::now();
    let number = volume.highest_switch().next();
    let (_, staged) = volume.prepare_switch(&document(&tree, 1)?, &tree, &store, number)?;
    let switched = staged.commit()?;
    volume.after_unpause(&switched)?;
    let first = began.elapsed().as_secs_f64() * 1000.0;
    volume.tidy(&BTreeSet::new())?;

    let mut times = Times::default();
    let changed = TreePath::new("dir000/file0.toml")?;
    for number in 2..=21 {
        let file = store.file(format!("value = \"changed {number}\"\n"));
        tree.insert(changed.clone(), file);
        let document = document(&tree, number)?;
        let began = Instant::now();
        let prepared = volume.build(&document, &tree, &store)?;
        times.build.push(began.elapsed());
        let began = Instant::now();
        let staged = volume.stage_switch(&prepared, volume.highest_switch().next())?;
        times.stage.push(began.elapsed());
        let began = Instant::now();
        let switched = staged.commit()?;
        times.commit.push(began.elapsed());
        let began = Instant::now();
        volume.after_unpause(&switched)?;
        times.after.push(began.elapsed());
        let began = Instant::now();
        let spare = volume.tidy(&BTreeSet::new())?.spare;
        times.tidy.push((began.elapsed(), spare));
    }
    let began = Instant::now();
    let drift = volume.check_drift()?;
    assert!(drift.is_empty(), "{drift:?}");
    let checked = began.elapsed().as_secs_f64() * 1000.0;
    let tidied = |spare| {
        median(
            times
                .tidy
                .iter()
                .filter(|(_, s)| *s == spare)
                .map(|(t, _)| *t)
                .collect(),
        )
    };
    println!(
        "{files:>6} files | build {:>6.2} stage {:>5.2} commit {:>6.3} after {:>5.2} | spare: linked {:>7.1} \
         recycled {:>7.1} | first {first:>8.1} drift {checked:>6.1}",
        median(times.build),
        median(times.stage),
        median(times.commit),
        median(times.after),
        tidied(Spare::Made),
        tidied(Spare::Recycled),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir(),
    };
    println!(
        "medians in ms over 20 changes of one file, below {}",
        folder.display()
    );
    for files in [10, 1_000, 10_000, 50_000] {
        let folder = tempfile::Builder::new()
            .prefix("lockstep-cost-")
            .tempdir_in(&folder)?;
        measure(folder.path().join("volume"), files)?;
    }
    Ok(())
}
