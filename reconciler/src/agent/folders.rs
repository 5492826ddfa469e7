//! The instances' own folders: status files are read, offers are written.
//!
//! The folder belongs to the service, so nothing in it is trusted: it is opened by a directory handle, links
//! are not followed, only regular files are read, never blocking and never more than a bounded size; what we
//! write is created exclusively and renamed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use lockstep_core::service::ServiceName;
use lockstep_protocol::{Offer, RolloutId, Status};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// The name of the status file in an instance's folder.
pub const STATUS: &str = "status.json";
/// The name of the offer file in an instance's folder.
pub const OFFER: &str = "offer.json";
/// The protocol's own limit: more than this is not read.
const LARGEST_STATUS: u64 = lockstep_protocol::MAX_DOCUMENT as u64;

/// Where the instances' folders are.
#[derive(Debug, Clone)]
pub struct Folders {
    base: PathBuf,
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
    #[error("{path} has {size} bytes, more than {LARGEST_STATUS} are not read")]
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
        let hash: String = Sha256::digest(state.as_os_str().as_encoded_bytes())
            .iter()
            .take(6)
            .map(|b| format!("{b:02x}"))
            .collect();
        let run = Path::new("/run/lockstep").join(hash);
        if std::fs::create_dir_all(&run).is_ok()
            && rustix::fs::access(&run, rustix::fs::Access::WRITE_OK).is_ok()
        {
            return Ok(Self { base: run });
        }
        let base = state.join("run");
        std::fs::create_dir_all(&base).map_err(|error| FolderError::System {
            doing: "make the folder of the instances",
            path: base.clone(),
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?;
        Ok(Self { base })
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

    /// Takes all folders away, once nobody lives any more.
    pub fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.base) {
            tracing::warn!(%error, folder = %self.base.display(), "the instances' folders are left over");
        }
    }

    /// The status that lies there; none where there is no file.
    ///
    /// # Errors
    /// When something else lies there, or it is not a whole status document.
    pub fn status(&self, service: &ServiceName) -> Result<Option<Status>, FolderError> {
        let folder = self.of(service);
        let path = folder.join(STATUS);
        let system = |doing, errno| FolderError::System {
            doing,
            path: path.clone(),
            errno,
        };
        let dir = match open_folder(&folder) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(system("open the folder of", errno)),
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&dir, STATUS, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(FolderError::NotAFile {
                    path,
                    what: "a symbolic link",
                });
            }
            Err(errno) => return Err(system("open", errno)),
        };
        let facts = rustix::fs::fstat(&file).map_err(|errno| system("look at", errno))?;
        let what = match FileType::from_raw_mode(facts.st_mode) {
            FileType::RegularFile => None,
            FileType::Directory => Some("a folder"),
            FileType::Fifo => Some("a named pipe"),
            FileType::Socket => Some("a socket"),
            FileType::Symlink => Some("a symbolic link"),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Some("a device"),
        };
        if let Some(what) = what {
            return Err(FolderError::NotAFile { path, what });
        }
        let size = u64::try_from(facts.st_size).unwrap_or(u64::MAX);
        if size > LARGEST_STATUS {
            return Err(FolderError::TooLarge { path, size });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        std::fs::File::from(file)
            .take(LARGEST_STATUS)
            .read_to_end(&mut bytes)
            .map_err(|error| system("read", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| FolderError::NotUnderstood {
                path,
                reason: error.to_string(),
            })
    }

    /// Puts an offer there, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn offer(&self, service: &ServiceName, offer: &Offer) -> Result<(), FolderError> {
        let folder = self.of(service);
        let path = folder.join(OFFER);
        let system = |doing, errno| FolderError::System {
            doing,
            path: path.clone(),
            errno,
        };
        let dir = open_folder(&folder).map_err(|errno| system("open the folder of", errno))?;
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
        rustix::fs::renameat(&dir, &temporary, &dir, OFFER).map_err(|errno| system("rename", errno))
    }

    /// Takes the offer of a rollout back; another rollout's stays.
    pub fn withdraw_offer(&self, service: &ServiceName, rollout: &RolloutId) {
        let path = self.of(service).join(OFFER);
        let theirs = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Offer>(&bytes).ok())
            .is_some_and(|offer| offer.rollout != *rollout);
        if !theirs && let Ok(dir) = open_folder(&self.of(service)) {
            // That there is none is what is wanted.
            let _ = rustix::fs::unlinkat(&dir, OFFER, AtFlags::empty());
        }
    }
}

fn open_folder(path: &Path) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests;
