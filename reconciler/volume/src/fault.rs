//! The fault seam of the tests: counts the changes on disk that this thread is about to make, and stops the
//! process or fails the call before a chosen one. Compiled only with the feature `crash`.
//!
//! It knows nothing of releases or switches, and never changes a file itself.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// A new, empty file.
    Create,
    /// Bytes into a file.
    Write,
    /// A mode.
    Chmod,
    /// A new directory.
    Mkdir,
    /// A new symbolic link.
    Symlink,
    /// A new hard link.
    Link,
    /// A file or link removed.
    Unlink,
    /// A directory removed.
    Rmdir,
    /// A rename.
    Rename,
    /// Two names exchanged.
    Exchange,
    /// A file's contents flushed.
    SyncFile,
    /// A directory flushed.
    SyncDir,
    /// The whole file system flushed.
    SyncAll,
}

/// One change as it was about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its kind.
    pub op: Op,
    /// Its path; of a rename or a hard link, where from.
    pub path: PathBuf,
    /// Of a rename or a hard link, where to.
    pub to: Option<PathBuf>,
}

/// What happens at the chosen change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: changes are only recorded.
    Record,
    /// The process aborts before the change with this number, counted from 1.
    AbortAt(u64),
    /// That one change fails.
    FailAt(u64, Errno),
    /// Every change of this kind fails.
    FailKind(Op, Errno),
}

/// Something that happens before the change with a number.
type Meanwhile = (u64, Box<dyn FnOnce()>);

thread_local! {
    static ARMED: RefCell<Option<(Fault, Vec<Change>)>> = const { RefCell::new(None) };
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// Arms a fault for this thread and starts to record.
pub fn arm(fault: Fault) {
    ARMED.with(|armed| *armed.borrow_mut() = Some((fault, Vec::new())));
}

/// Records, and before the change with this number lets something else happen.
pub fn arm_with(at: u64, meanwhile: impl FnOnce() + 'static) {
    arm(Fault::Record);
    MEANWHILE.with(|slot| *slot.borrow_mut() = Some((at, Box::new(meanwhile))));
}

/// Disarms, and returns what was recorded.
pub fn disarm() -> Vec<Change> {
    MEANWHILE.with(|slot| slot.borrow_mut().take());
    ARMED
        .with(|armed| armed.borrow_mut().take())
        .map(|(_, changes)| changes)
        .unwrap_or_default()
}

/// Called before each change.
pub(crate) fn before(op: Op, path: &Path, to: Option<&Path>) -> Result<(), Errno> {
    ARMED.with(|armed| {
        let mut armed = armed.borrow_mut();
        let Some((fault, changes)) = armed.as_mut() else {
            return Ok(());
        };
        changes.push(Change {
            op,
            path: path.to_owned(),
            to: to.map(Path::to_owned),
        });
        let number = changes.len() as u64;
        if let Some((_, meanwhile)) =
            MEANWHILE.with(|slot| slot.borrow_mut().take_if(|(at, _)| *at == number))
        {
            meanwhile();
        }
        match *fault {
            Fault::AbortAt(at) if at == number => std::process::abort(),
            Fault::FailAt(at, errno) if at == number => Err(errno),
            Fault::FailKind(kind, errno) if kind == op => Err(errno),
            Fault::Record | Fault::AbortAt(_) | Fault::FailAt(..) | Fault::FailKind(..) => Ok(()),
        }
    })
}
