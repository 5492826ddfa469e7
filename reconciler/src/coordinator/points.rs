//! Where the tests of crashes stop the reconciler: before each event and before each command of a rollout.
//!
//! In debug builds alone, and there only when `LOCKSTEP_STOP_AT` names a file: it holds how many points are still
//! passed by, and the state in which they count if not in all. At the one after them the process writes the point's
//! name beside that file and stops itself by SIGSTOP, all threads at once; whoever tests then kills what it wants to see dead. Nothing is decided here,
//! and a release build has none of it.

use std::fmt::Debug;

use lockstep_core::rollout::Rollout;

/// Where a point lies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// An event is about to be given to the machine.
    On,
    /// A command is about to be carried out.
    Before,
}

/// A point is reached.
#[cfg(not(debug_assertions))]
pub(super) fn reached(_: &Rollout, _: Place, _: &impl Debug) {}

/// A point is reached.
#[cfg(debug_assertions)]
pub(super) fn reached(rollout: &Rollout, place: Place, what: &impl Debug) {
    stopping::pass(lockstep_core::status::state_of(rollout), || {
        let what = format!("{what:?}");
        let name = what.split(|c: char| !c.is_alphanumeric()).next();
        format!("{place:?} {}", name.unwrap_or_default())
    });
}

#[cfg(debug_assertions)]
mod stopping {
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;

    use rustix::process::{Signal, getpid, kill_process};

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("LOCKSTEP_STOP_AT").map(PathBuf::from));

    /// Passes by, or stops. Whatever fails here passes by: a test then misses its point and says so.
    pub(super) fn pass(state: &str, name: impl FnOnce() -> String) {
        if let Some(file) = &*FILE {
            let _ = count_down(file, state, name);
        }
    }

    fn count_down(file: &Path, state: &str, name: impl FnOnce() -> String) -> std::io::Result<()> {
        let text = std::fs::read_to_string(file)?;
        let (count, only) = text.split_once(' ').unwrap_or((&text, ""));
        if !only.is_empty() && only != state {
            return Ok(());
        }
        match count.parse::<u64>() {
            Ok(0) => {
                std::fs::remove_file(file)?;
                std::fs::write(file.with_extension("reached"), format!("{state} {}", name()))?;
                Ok(kill_process(getpid(), Signal::STOP)?)
            }
            Ok(left) => std::fs::write(file, format!("{} {only}", left - 1)),
            Err(_) => Ok(()),
        }
    }
}
