//! What can go wrong with any change on the volume; each stage wraps it in an error of its own.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A call on a file failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {doing} {}: {errno}", path.display())]
pub struct FileError {
    /// What was tried, as it follows "cannot".
    pub doing: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the system answered.
    pub errno: Errno,
}

impl FileError {
    pub(crate) fn new(doing: &'static str, path: &Path, errno: Errno) -> Self {
        Self {
            doing,
            path: path.to_owned(),
            errno,
        }
    }

    /// From an error of the standard library, which may carry no error number.
    pub(crate) fn from_std(doing: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(doing, path, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }
}

/// Why a change on the volume did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A coordinator of a higher term has fenced this one.
    #[error(
        "{} has been fenced: a coordinator of a higher term has taken over this volume, and nothing was changed. \
         End this process, or start it anew if it should take over in turn",
        folder.display()
    )]
    Deposed {
        /// This coordinator's folder, which is gone.
        folder: PathBuf,
    },
    /// Somebody has removed our folder as a whole.
    #[error(
        "{} has been deleted while the reconciler was running. Restart it: it makes the folder anew and goes on \
         with higher numbers",
        folder.display()
    )]
    LayoutGone {
        /// The folder `.lockstep` of the volume.
        folder: PathBuf,
    },
    /// No space or no inodes are left, or a quota is used up.
    #[error(
        "the volume is full: {0}. Free space or inodes on its file system, or keep fewer releases ([volume] keep)"
    )]
    Full(FileError),
    /// The file system is mounted read-only.
    #[error("the volume is read-only: {0}. Mount its file system read-write for the reconciler")]
    ReadOnly(FileError),
    /// This process may not do that.
    #[error(
        "the volume may not be changed by this process: {0}. Run the reconciler as the volume's owner, or give it \
         the volume with chown -R"
    )]
    Denied(FileError),
    /// Anything else.
    #[error(
        "{0}. The volume is as it was before; look at its disk and the kernel's log if it happens again, it is tried again"
    )]
    File(FileError),
}

impl ChangeError {
    /// Sorts a failed call by its error number alone. Whether somebody took over is judged by the volume.
    pub(crate) fn sort(error: FileError) -> Self {
        match error.errno {
            Errno::NOSPC | Errno::DQUOT => Self::Full(error),
            Errno::ROFS => Self::ReadOnly(error),
            Errno::ACCESS | Errno::PERM => Self::Denied(error),
            _ => Self::File(error),
        }
    }
}
