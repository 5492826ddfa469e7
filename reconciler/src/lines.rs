//! Documents in the state folder, one a line, appended: the events and the history.
//!
//! Two files of a bounded size, the older one with `.1` at its name. At a start the newer one is written anew, into a
//! file of its own: a deposed coordinator that wakes up holds the old one, and what it appends there is seen by nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Desk, StoreError};

/// The file is begun anew at this size.
pub const LARGEST_FILE: u64 = 8 * 1024 * 1024;

/// A file that is appended to.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Lines {
    /// Opens a file of the state folder and hands over what it holds, the oldest first.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open<T: DeserializeOwned>(
        state: &Path,
        desk: &Desk,
        name: &str,
        mut each: impl FnMut(T),
    ) -> Result<Self, StoreError> {
        let path = state.join(name);
        parse(&bytes_of(&older(&path))?, &mut each);
        let mut bytes = bytes_of(&path)?;
        parse(&bytes, &mut each);
        // Whatever was cut short before ends here, so that it takes no new document with it.
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            bytes.push(b'\n');
        }
        desk.write(name, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|source| StoreError::Io {
            doing: "open",
            path: path.clone(),
            source,
        })?;
        let size = bytes.len() as u64;
        Ok(Self { path, file, size })
    }

    /// Appends a document.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, document: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(document)?;
        line.push(b'\n');
        if self.size + line.len() as u64 > LARGEST_FILE && self.is_ours()? {
            std::fs::rename(&self.path, older(&self.path))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    /// Returns when all that was appended is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file that is written: to a later coordinator's after a take-over.
    fn is_ours(&self) -> io::Result<bool> {
        let (held, there) = (self.file.metadata()?, std::fs::metadata(&self.path)?);
        Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
    }
}

/// What a file of the state folder holds, the oldest first, for whoever only looks; also while a reconciler writes it.
///
/// # Errors
/// When it cannot be read.
pub fn read<T: DeserializeOwned>(state: &Path, name: &str) -> Result<Vec<T>, StoreError> {
    let path = state.join(name);
    let mut all = Vec::new();
    for path in [older(&path), path] {
        parse(&bytes_of(&path)?, &mut |document| all.push(document));
    }
    Ok(all)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StoreError::Io {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], each: &mut impl FnMut(T)) {
    for line in bytes.split(|byte| *byte == b'\n') {
        // A line that a crash cut short is no document.
        if let Ok(document) = serde_json::from_slice(line) {
            each(document);
        }
    }
}
