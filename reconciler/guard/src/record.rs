//! The record: what the next guard must know when this one dies.
//!
//! Replaced as a whole and flushed: written beside, flushed, renamed, the folder flushed. It is written
//! before a child may execute its command and before a new highest term is answered; never inside a pause.

use crate::error::GuardError;
use crate::state::StateFolder;
use crate::wire::{Definition, Foreign, Process};
use rustix::fs::{Mode, OFlags, fsync, openat, renameat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Write as _};

const NAME: &str = "guard.json";
const NEW: &str = "guard.json.new";

/// The record as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    /// Pids and start times mean nothing after a reboot.
    pub(crate) boot: String,
    /// The highest term ever seen.
    pub(crate) term: u64,
    pub(crate) services: Vec<Recorded>,
    /// Processes of others, which may have been paused.
    #[serde(default)]
    pub(crate) foreign: Vec<Foreign>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) definition: Definition,
    /// Whether it was last ordered to run, not to stop.
    pub(crate) wanted: bool,
    /// Its process, from before it executes its command until after its end.
    pub(crate) process: Option<Process>,
}

impl Record {
    pub(crate) fn new(boot: String) -> Self {
        Self {
            version: 1,
            boot,
            term: 0,
            services: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// Reads the record, if there is one.
    pub(crate) fn load(state: &StateFolder) -> Result<Option<Self>, GuardError> {
        let path = state.path.join(NAME);
        let file = match openat(
            &state.handle,
            NAME,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(GuardError::state("cannot open", path)(error.into())),
        };
        let mut text = Vec::new();
        File::from(file)
            .read_to_end(&mut text)
            .map_err(GuardError::state("cannot read", &path))?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| GuardError::Record { path, source })
    }

    /// Replaces the record on disk. When this returns well it survives a crash of the machine.
    pub(crate) fn save(&self, state: &StateFolder) -> Result<(), GuardError> {
        let written = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
            let mut file = File::from(openat(&state.handle, NEW, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            renameat(&state.handle, NEW, &state.handle, NAME)?;
            fsync(&state.handle)?;
            Ok(())
        };
        written().map_err(GuardError::state("cannot write", state.path.join(NAME)))
    }
}

/// Names this run of the machine.
pub(crate) fn boot() -> Result<String, GuardError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(GuardError::state("cannot read", path))?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(Record::load(&state).unwrap(), None);
        let mut record = Record::new(boot().unwrap());
        for term in [3, 4] {
            record.term = term;
            record.save(&state).unwrap();
            assert_eq!(Record::load(&state).unwrap().as_ref(), Some(&record));
        }
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, [NAME]);
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "{").unwrap();
        let error = Record::load(&StateFolder::open(folder.path()).unwrap()).unwrap_err();
        assert!(error.to_string().contains(NAME), "{error}");
    }
}
