//! One release as a loader sees it.
//!
//! The directory is opened once and everything is read below that handle, so one load never mixes two
//! releases, whatever happens to `current` meanwhile. It never follows a path out of the directory.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use lockstep_protocol::{Digest, RELEASE_FILE, Release, Revision, SwitchNumber};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use serde::de::DeserializeOwned;

use crate::Refusal;
use crate::place::split;

/// One release (or, without Lockstep, one plain folder), held open.
#[derive(Debug)]
pub struct Snapshot {
    directory: OwnedFd,
    path: PathBuf,
    document: String,
    switch: Option<SwitchNumber>,
    release: Option<Release>,
}

impl Snapshot {
    /// The folder around one file that belongs to no volume, for instance what `--check FILE` was given.
    ///
    /// # Errors
    /// When the file's folder cannot be opened, or its name is no UTF-8.
    pub fn of_file(file: impl AsRef<Path>) -> Result<Self, Refusal> {
        let file = file.as_ref();
        let (folder, document) = split(file).ok_or_else(|| {
            let path = file.display();
            Refusal::new(format!(
                "{path} names no file: a path that ends in a UTF-8 name is expected"
            ))
        })?;
        Self::plain(folder, document)
    }

    /// A folder that is no release: nothing is known of its revision.
    pub(crate) fn plain(folder: &Path, document: &str) -> Result<Self, Refusal> {
        let directory = open_directory(folder)?;
        Ok(Self {
            directory,
            path: folder.to_owned(),
            document: document.to_owned(),
            switch: None,
            release: None,
        })
    }

    /// A release directory; its `release.json` must be there and readable.
    pub(crate) fn release_in(
        path: &Path,
        document: &str,
        switch: Option<SwitchNumber>,
    ) -> Result<Self, Refusal> {
        let mut snapshot = Self::plain(path, document)?;
        snapshot.switch = switch;
        let text = snapshot.text(RELEASE_FILE)?;
        let release = serde_json::from_str(&text).map_err(|error| {
            let place = number(error.line()).zip(number(error.column()));
            let refusal = Refusal::new(format!("this is no release: {error}")).in_file(RELEASE_FILE);
            place.map_or(refusal.clone(), |(line, column)| refusal.at(line, column))
        })?;
        snapshot.release = Some(release);
        Ok(snapshot)
    }

    /// The switch that made this release current; none for an offered one and for a plain folder.
    #[must_use]
    pub fn switch(&self) -> Option<SwitchNumber> {
        self.switch
    }

    /// What the release says of itself; none for a plain folder.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// The commit whose files these are; none for a plain folder.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        self.release.as_ref().map(|release| &release.revision)
    }

    /// The digest over the release's files; none for a plain folder.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.release.as_ref().map(|release| release.digest)
    }

    /// The name of the service's main document: what `CONFIG_PATH` names, else `config.toml`.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.document
    }

    /// Where the directory lies, for libraries that insist on opening files by path.
    ///
    /// In a volume this is the switch's own link, which never moves: paths below it do not mix releases.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file. The path is relative to the release.
    ///
    /// # Errors
    /// When it cannot be read, or leads out of the release.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>, Refusal> {
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !inside {
            let text = "a path inside the release is expected, relative and without `..`";
            return Err(Refusal::new(text).in_file(path));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = retry_on_intr(|| rustix::fs::openat(&self.directory, path, flags, Mode::empty()))
            .map_err(|errno| self.unreadable(path, errno.into()))?;
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(path, error))?;
        Ok(bytes)
    }

    /// Reads a text file, which must be UTF-8.
    ///
    /// # Errors
    /// When it cannot be read or is no UTF-8.
    pub fn text(&self, path: &str) -> Result<String, Refusal> {
        String::from_utf8(self.bytes(path)?).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
            Refusal::new("this is no UTF-8 text")
                .in_file(path)
                .at_offset(&before, valid)
        })
    }

    /// Reads a TOML document into a type. What does not fit is refused with its line and column.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or does not fit the type.
    pub fn toml<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refusal> {
        let text = self.text(path)?;
        toml::from_str(&text).map_err(|error| {
            let refusal = Refusal::new(error.message()).in_file(path);
            match error.span() {
                Some(span) => refusal.at_offset(&text, span.start),
                None => refusal,
            }
        })
    }

    fn unreadable(&self, path: &str, error: std::io::Error) -> Refusal {
        Refusal::new(format!("cannot be read in {}: {error}", self.path.display())).in_file(path)
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(|errno: Errno| {
        let error = std::io::Error::from(errno);
        Refusal::new(format!("the folder {} cannot be opened: {error}", path.display()))
    })
}

/// Line and column of JSON errors; 0 there means unknown.
fn number(count: usize) -> Option<u32> {
    u32::try_from(count).ok().filter(|count| *count > 0)
}
