//! The lock file: a courtesy between the processes of one host, so that two reconcilers started by mistake
//! tell each other apart. What really keeps a second writer out is the term.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::FileError;

/// The lock file, locked until this is dropped. The file stays: only its lock means anything.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How an attempt to lock ended.
pub(crate) enum Attempt {
    Locked(Lock),
    /// Somebody holds it; its process id, if the file tells one.
    Held(Option<u32>),
}

/// Tries to lock the file, and writes our process id into it.
pub(crate) fn try_lock(path: &Path) -> Result<Attempt, FileError> {
    let named = |doing| move |error: std::io::Error| FileError::from_std(doing, path, &error);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map_err(named("open the lock file"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            file.read_to_string(&mut text)
                .map_err(named("read the lock file"))?;
            return Ok(Attempt::Held(text.trim().parse().ok()));
        }
        Err(errno) => return Err(FileError::new("lock", path, errno)),
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(named("write the process id into"))?;
    Ok(Attempt::Locked(Lock { _file: file }))
}
