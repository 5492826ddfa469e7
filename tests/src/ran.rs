//! Commands that are run to their end.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use crate::Lab;
use crate::wait::{PATIENCE, until};

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it said on the error output.
    pub err: String,
}

impl Ran {
    /// What it printed, if it was done.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "it failed:\n{}{}", self.out, self.err);
        self.out
    }

    /// What it said, if it failed with this exit code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "it ended otherwise:\n{}{}",
            self.out,
            self.err
        );
        format!("{}{}", self.out, self.err)
    }
}

impl Lab {
    /// Runs a command of the program as another user, which only root can.
    pub fn lockstep_as(&self, user: u32, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        command.uid(user).gid(user);
        await_end(command)
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When that does not come.
pub(crate) fn await_end(command: Command) -> Ran {
    let said = format!("{command:?}");
    let ran = end_within(command, PATIENCE + PATIENCE);
    ran.unwrap_or_else(|killed| panic!("{said} did not end\n{}{}", killed.out, killed.err))
}

/// Runs a command to its end, or kills it when that takes longer, and gives what it said until then.
pub(crate) fn end_within(mut command: Command, time: Duration) -> Result<Ran, Ran> {
    let out = tempfile::tempfile().expect("a temporary file can be made");
    let err = tempfile::tempfile().expect("a temporary file can be made");
    let clone = |file: &File| file.try_clone().expect("a file can be shared");
    let mut child = command
        .stdout(clone(&out))
        .stderr(clone(&err))
        .spawn()
        .expect("it was built");
    let ended = until(time, || child.try_wait().expect("it is our child"));
    if ended.is_none() {
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }
    let ran = Ran {
        code: ended.and_then(|status| status.code()),
        out: read(out),
        err: read(err),
    };
    if ended.is_some() { Ok(ran) } else { Err(ran) }
}

fn read(mut file: File) -> String {
    let mut text = Vec::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut text));
    read.expect("a temporary file can be read");
    String::from_utf8_lossy(&text).into_owned()
}
