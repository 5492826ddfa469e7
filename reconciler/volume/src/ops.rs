//! Every change on disk that this crate makes goes through one of these functions, and nothing else does.
//!
//! They know nothing of releases or switches. Each names its path in its error. Tests stop or fail them one
//! by one through the seam in `fault.rs`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::FileError;
use crate::look;

#[cfg(not(any(test, feature = "crash")))]
mod seam {
    //! Nothing to see in a build without the fault seam.
    macro_rules! before {
        ($op:ident, $path:expr) => {};
        ($op:ident, $path:expr, $to:expr) => {};
    }
    pub(super) use before;
}
#[cfg(any(test, feature = "crash"))]
mod seam {
    //! Asks the fault seam before each change.
    macro_rules! before {
        ($op:ident, $path:expr) => {
            crate::fault::before(crate::fault::Op::$op, $path, None)?
        };
        ($op:ident, $path:expr, $to:expr) => {
            crate::fault::before(crate::fault::Op::$op, $path, Some($to))?
        };
    }
    pub(super) use before;
}
use seam::before;

type Outcome = Result<(), FileError>;

/// Runs some calls and names the path in their error.
fn named<T>(
    doing: &'static str,
    path: &Path,
    calls: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, FileError> {
    calls().map_err(|errno| FileError::new(doing, path, errno))
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits)
}

fn write_all(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&fd, bytes, offset))?;
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Creates a file that must not exist yet, with exactly these permission bits whatever the umask says.
pub(crate) fn write_new(path: &Path, bytes: &[u8], bits: u32) -> Outcome {
    named("create", path, || {
        before!(Create, path);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(CWD, path, flags, mode(0o600))?;
        before!(Write, path);
        write_all(&fd, bytes, 0)?;
        before!(Chmod, path);
        rustix::fs::fchmod(&fd, mode(bits))
    })
}

/// Writes into an existing file at an offset, without flushing.
pub(crate) fn write_at(path: &Path, offset: u64, bytes: &[u8]) -> Outcome {
    named("write to", path, || {
        let fd = rustix::fs::openat(
            CWD,
            path,
            OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        before!(Write, path);
        write_all(&fd, bytes, offset)
    })
}

/// Flushes a file: its contents and what is needed to read them.
pub(crate) fn sync_file(path: &Path) -> Outcome {
    named("flush", path, || {
        let fd = rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        before!(SyncFile, path);
        rustix::fs::fsync(fd)
    })
}

/// Flushes a file's contents only: for records written in place into space that is allocated already.
pub(crate) fn sync_data(path: &Path) -> Outcome {
    named("flush", path, || {
        let fd = rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        before!(SyncFile, path);
        rustix::fs::fdatasync(fd)
    })
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Flushes a directory: the names in it.
pub(crate) fn sync_dir(path: &Path) -> Outcome {
    named("flush the folder", path, || {
        let fd = open_dir(path)?;
        before!(SyncDir, path);
        rustix::fs::fsync(fd)
    })
}

/// Flushes everything on the file system that a directory lies on: cheaper than one flush a file for many.
pub(crate) fn sync_all(path: &Path) -> Outcome {
    named("flush the file system of", path, || {
        let fd = open_dir(path)?;
        before!(SyncAll, path);
        rustix::fs::syncfs(fd)
    })
}

/// Makes a directory with exactly these permission bits whatever the umask says.
pub(crate) fn mkdir(path: &Path, bits: u32) -> Outcome {
    named("make the folder", path, || {
        before!(Mkdir, path);
        rustix::fs::mkdirat(CWD, path, mode(0o700))
    })?;
    chmod(path, bits)
}

/// Sets the permission bits of a directory. Files get theirs when they are written and keep them: a file may
/// be shared between releases by hard links.
pub(crate) fn chmod(path: &Path, bits: u32) -> Outcome {
    named("change the mode of", path, || {
        before!(Chmod, path);
        rustix::fs::chmodat(CWD, path, mode(bits), AtFlags::empty())
    })
}

/// Makes a symbolic link that must not exist yet.
pub(crate) fn symlink(target: &Path, path: &Path) -> Outcome {
    named("make the link", path, || {
        before!(Symlink, path);
        rustix::fs::symlinkat(target, CWD, path)
    })
}

/// Makes a hard link that must not exist yet.
pub(crate) fn hard_link(from: &Path, to: &Path) -> Outcome {
    named("make the hard link", to, || {
        before!(Link, from, to);
        rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())
    })
}

/// Removes a file or link.
pub(crate) fn unlink(path: &Path) -> Outcome {
    named("remove", path, || {
        before!(Unlink, path);
        rustix::fs::unlinkat(CWD, path, AtFlags::empty())
    })
}

/// Removes an empty directory.
pub(crate) fn rmdir(path: &Path) -> Outcome {
    named("remove the folder", path, || {
        before!(Rmdir, path);
        rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)
    })
}

/// Renames, replacing what has the new name.
pub(crate) fn rename(from: &Path, to: &Path) -> Outcome {
    named("rename to", to, || {
        before!(Rename, from, to);
        rustix::fs::renameat(CWD, from, CWD, to)
    })
}

/// Exchanges two names in one step. Both must exist.
pub(crate) fn exchange(one: &Path, other: &Path) -> Outcome {
    named("exchange with what was kept", other, || {
        before!(Exchange, one, other);
        rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
    })
}

/// Renames a symbolic link to a name that must not exist yet.
///
/// Where the file system knows no exclusive rename (NFS), the link is hard-linked to the new name, which
/// never replaces either, and then removed from the old.
pub(crate) fn rename_link_new(from: &Path, to: &Path) -> Outcome {
    named("rename to the new name", to, || {
        before!(Rename, from, to);
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_then_unlink(from, to),
            done => done,
        }
    })
}

/// What [`rename_link_new`] does where there is no exclusive rename.
fn link_then_unlink(from: &Path, to: &Path) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
    rustix::fs::unlinkat(CWD, from, AtFlags::empty())
}

/// Removes a file, link or whole directory tree, made writable first. What is gone already is no error.
pub(crate) fn remove_all(path: &Path) -> Outcome {
    let Some(meta) = look::meta(path)? else {
        return Ok(());
    };
    if !meta.is_dir() {
        return unlink(path);
    }
    chmod(path, 0o700)?;
    for entry in look::names(path)? {
        remove_all(&path.join(entry))?;
    }
    rmdir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exclusive_rename_a_link_moves_and_still_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to, taken] = ["from", "to", "taken"].map(|name| folder.path().join(name));
        symlink(Path::new("../releases/x"), &from).unwrap();
        std::fs::write(&taken, "").unwrap();
        assert_eq!(link_then_unlink(&from, &taken), Err(Errno::EXIST));
        link_then_unlink(&from, &to).unwrap();
        assert_eq!(
            look::link(&to).unwrap().as_deref(),
            Some(Path::new("../releases/x"))
        );
        assert!(!look::exists(&from).unwrap());
        assert_eq!(
            link_then_unlink(&from, &to),
            Err(Errno::NOENT),
            "as for a fenced coordinator"
        );
    }
}
