//! The instances' own folders: status files are read, offers are written.
//!
//! The folder belongs to the service, so nothing in it is trusted, what we wrote there ourselves included: it is
//! opened by a directory handle, links are not followed, only regular files are read, never blocking and never
//! more than a bounded size; what we write is created exclusively and renamed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lockstep_core::service::ServiceName;
use lockstep_protocol::{Offer, RolloutId, Status};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::settings::Service;

/// The name of the status file in an instance's folder.
pub const STATUS: &str = "status.json";
/// The name of the offer file in an instance's folder.
pub const OFFER: &str = "offer.json";
/// Where the folders of all state folders are, on a machine that has such a place.
const RUN: &str = "/run/lockstep";
/// The protocol's own limit: more than this is not read.
const LARGEST: u64 = lockstep_protocol::MAX_DOCUMENT as u64;

/// Where the instances' folders are.
#[derive(Debug, Clone)]
pub struct Folders {
    base: PathBuf,
    /// Where the files of services are that somebody else runs: wherever the operator says.
    foreign: BTreeMap<ServiceName, Files>,
}

/// The files of a service that somebody else runs.
#[derive(Debug, Clone)]
struct Files {
    status: Option<PathBuf>,
    offer: Option<PathBuf>,
}

/// What was read.
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) facts: Metadata,
}

impl Text {
    /// When it was written.
    pub(super) fn written(&self) -> SystemTime {
        // Every file system of Linux has it.
        self.facts.modified().unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Why a folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A system call failed.
    #[error("{path}: cannot {doing}: {errno}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The error.
        errno: Errno,
    },
    /// Something else than a regular file lies there.
    #[error(
        "{path} is {what}, a regular file is expected: the service writes a temporary file and renames it"
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is too large.
    #[error("{path} has {size} bytes, more than {LARGEST} are not read")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// It is not a status document.
    #[error("{path} is not a status document: {reason}; see docs/protocol.md for its fields")]
    NotUnderstood {
        /// The path.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
}

impl Folders {
    /// The folders of a state folder: below `/run/lockstep` where that can be made, else in the state folder.
    ///
    /// # Errors
    /// When neither can be made.
    pub fn open(state: &Path) -> Result<Self, FolderError> {
        let [run, base] = places(state);
        if std::fs::create_dir_all(&run).is_ok()
            && rustix::fs::access(&run, rustix::fs::Access::WRITE_OK).is_ok()
        {
            return Ok(Self::below(run));
        }
        std::fs::create_dir_all(&base).map_err(|error| FolderError::System {
            doing: "make the folder of the instances",
            path: base.clone(),
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
        Ok(Self::below(base))
    }

    fn below(base: PathBuf) -> Self {
        Self {
            base,
            foreign: BTreeMap::new(),
        }
    }

    /// The same, with the files of services that somebody else runs.
    #[must_use]
    pub fn with_files_of(mut self, services: &[Service]) -> Self {
        let foreign = services.iter().filter_map(|service| {
            let foreign = service.foreign()?;
            let files = Files {
                status: foreign.status_file.clone(),
                offer: foreign.offer_file.clone(),
            };
            Some((service.name.clone(), files))
        });
        self.foreign = foreign.collect();
        self
    }

    /// Where they are, or would be made.
    #[must_use]
    pub fn place(state: &Path) -> PathBuf {
        let [run, base] = places(state);
        let writable = run
            .ancestors()
            .find(|folder| folder.exists())
            .is_some_and(|folder| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok());
        if writable { run } else { base }
    }

    /// The folder of a service's instance.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> PathBuf {
        self.base.join(service.as_str())
    }

    /// The folder that holds all of them.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Takes all folders of a state folder away, once nobody lives any more: by whoever ended the guard.
    ///
    /// # Errors
    /// When something of them is left over.
    pub fn remove(state: &Path) -> Result<(), FolderError> {
        for path in places(state) {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(FolderError::System {
                        doing: "remove the folder of the instances",
                        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
                        path,
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes the place for the folders away if no service was ever started there. Somebody whom no guard guards may
    /// live, and has his folder.
    pub fn remove_unused(state: &Path) {
        for path in places(state) {
            // That it is not empty, or not there, is how it may be.
            let _ = std::fs::remove_dir(path);
        }
    }

    /// The status that lies there; none where there is no file.
    ///
    /// # Errors
    /// When something else lies there, or it is not a whole status document.
    pub fn status(&self, service: &ServiceName) -> Result<Option<Status>, FolderError> {
        Ok(self.dated_status(service)?.map(|(status, _)| status))
    }

    /// The same with the time at which it was written.
    pub(super) fn dated_status(
        &self,
        service: &ServiceName,
    ) -> Result<Option<(Status, SystemTime)>, FolderError> {
        let read = match self.foreign.get(service) {
            None => {
                let path = self.of(service).join(STATUS);
                (read_at(&path, open_folder), path)
            }
            // Its folder is what the operator says, whatever leads there.
            Some(Files {
                status: Some(path), ..
            }) => (read_at(path, follow_folder), path.clone()),
            Some(Files { status: None, .. }) => return Ok(None),
        };
        let (text, path) = (read.0?, read.1);
        let Some(text) = text else {
            return Ok(None);
        };
        match serde_json::from_slice(&text.bytes) {
            Ok(status) => Ok(Some((status, text.written()))),
            Err(error) => Err(FolderError::NotUnderstood {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// Where a service looks for offers.
    fn offer_file(&self, service: &ServiceName) -> Option<PathBuf> {
        match self.foreign.get(service) {
            None => Some(self.of(service).join(OFFER)),
            Some(files) => files.offer.clone(),
        }
    }

    /// Puts an offer there, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn offer(&self, service: &ServiceName, offer: &Offer) -> Result<(), FolderError> {
        // The settings do not let a service vote that has no such file.
        let Some(path) = self.offer_file(service) else {
            return Ok(());
        };
        let (folder, name) = parts(&path);
        let system = |doing, errno| FolderError::System {
            doing,
            path: path.clone(),
            errno,
        };
        let dir = open_folder(folder).map_err(|errno| system("open the folder of", errno))?;
        let temporary = format!(".offer-{}.tmp", std::process::id());
        // A left-over of a process of the same number: ours by its name, and never read.
        let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &temporary, flags, Mode::from_raw_mode(0o644))
            .map_err(|errno| system("create", errno))?;
        let bytes = serde_json::to_vec(offer).map_err(|error| FolderError::NotUnderstood {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        std::fs::File::from(file)
            .write_all(&bytes)
            .map_err(|error| system("write", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        rustix::fs::renameat(&dir, &temporary, &dir, name).map_err(|errno| system("rename", errno))
    }

    /// Takes the offer of a rollout back; another rollout's stays. Whatever else the service put in its place goes.
    pub fn withdraw_offer(&self, service: &ServiceName, rollout: &RolloutId) {
        let Some(path) = self.offer_file(service) else {
            return;
        };
        let (folder, name) = parts(&path);
        let Ok(dir) = open_folder(folder) else {
            return;
        };
        let theirs = read(&dir, &path, name)
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_slice::<Offer>(&text.bytes).ok())
            .is_some_and(|offer| offer.rollout != *rollout);
        if !theirs {
            // That there is none is what is wanted.
            let _ = rustix::fs::unlinkat(&dir, name, AtFlags::empty());
        }
    }
}

/// Where the folders of a state folder may be: the first choice, and the one where that cannot be made.
fn places(state: &Path) -> [PathBuf; 2] {
    let hash: String = Sha256::digest(state.as_os_str().as_encoded_bytes())
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect();
    [Path::new(RUN).join(hash), state.join("run")]
}

/// A file's folder and its name there.
fn parts(path: &Path) -> (&Path, &OsStr) {
    let folder = path.parent().unwrap_or(Path::new("/"));
    (folder, path.file_name().unwrap_or_default())
}

/// What lies at a path; none where there is nothing, or no folder.
pub(super) fn read_at(
    path: &Path,
    open: fn(&Path) -> Result<OwnedFd, Errno>,
) -> Result<Option<Text>, FolderError> {
    let (folder, name) = parts(path);
    match open(folder) {
        Ok(dir) => read(&dir, path, name),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(FolderError::System {
            doing: "open the folder of",
            path: path.to_owned(),
            errno,
        }),
    }
}

/// A folder by whatever leads to it: `/var/run` is a link on most machines.
pub(super) fn follow_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// What lies under a name in an open folder; none where there is nothing. `path` is for people.
fn read(dir: &OwnedFd, path: &Path, name: &OsStr) -> Result<Option<Text>, FolderError> {
    let system = |doing, errno| FolderError::System {
        doing,
        path: path.to_owned(),
        errno,
    };
    let not_a_file = |what| FolderError::NotAFile {
        path: path.to_owned(),
        what,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(not_a_file("a symbolic link")),
        Err(errno) => return Err(system("open", errno)),
    };
    let facts = rustix::fs::fstat(&file).map_err(|errno| system("look at", errno))?;
    match FileType::from_raw_mode(facts.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(not_a_file("a folder")),
        FileType::Fifo => return Err(not_a_file("a named pipe")),
        FileType::Socket => return Err(not_a_file("a socket")),
        FileType::Symlink => return Err(not_a_file("a symbolic link")),
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            return Err(not_a_file("a device"));
        }
    }
    let size = u64::try_from(facts.st_size).unwrap_or(u64::MAX);
    if size > LARGEST {
        return Err(FolderError::TooLarge {
            path: path.to_owned(),
            size,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    let file = std::fs::File::from(file);
    let facts = file
        .metadata()
        .map_err(|error| system("look at", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    file.take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| system("read", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    Ok(Some(Text { bytes, facts }))
}

#[cfg(test)]
mod tests;
