//! A supervised process before it executes its command: first it is the program itself.
//!
//! Between the guard's spawn and the command's first instruction lies the guard's record: this code waits
//! for `go`, which is sent only after the record is on disk. If the guard dies first, the socket says end
//! of file, and the command is never executed. So there is no process of a service that no record names.
//!
//! Standard input is a socket to the guard. It brings one frame with the [`Job`], then the `go` byte. Back
//! goes [`EXECUTING`] just before the command; then the socket closes by itself because the command was
//! executed, or the reason follows why it was not.

use crate::account::Account;
use crate::dispositions;
use crate::frame::Decoder;
use rustix::fs::{CWD, FileType, Mode, OFlags, fchmod, fchown, fcntl_setfl, fstat, openat};
use rustix::process::{Resource, Rlimit, getppid, getrlimit, setrlimit, setsid, umask};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _, stdin};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Said by the guard once the record is flushed.
pub(crate) const GO: u8 = b'g';
/// Said by the child as its last word.
pub(crate) const EXECUTING: u8 = b'x';
/// The exit code of a child that could not execute its command (as in a shell).
pub(crate) const NOT_EXECUTED: i32 = 127;

/// What the child is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The guard's pid: a child that finds another parent was left alone.
    pub(crate) parent: u32,
    pub(crate) command: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: Option<String>,
    pub(crate) output: PathBuf,
    pub(crate) run_dir: PathBuf,
    /// The limit of open files and the file mode mask that the guard was started with: its own differ.
    pub(crate) open_files: Option<u64>,
    pub(crate) umask: u32,
}

/// The child's side of a start. Returns only when the command was not executed: with its exit code.
pub(crate) fn execute() -> i32 {
    let Ok(Some(mut guard)) = take_guard() else {
        return NOT_EXECUTED;
    };
    match become_command(&mut guard) {
        // The guard is gone, or has changed its mind.
        Ok(Left) => 0,
        Err(reason) => {
            // If it cannot be told, the guard sees the exit.
            let _ = guard.write_all(reason.as_bytes());
            NOT_EXECUTED
        }
    }
}

/// The guard ended or closed the socket before `go`.
struct Left;

/// Moves the socket away from standard input to a handle that closes when a command is executed.
fn take_guard() -> io::Result<Option<UnixStream>> {
    let moved = stdin().as_fd().try_clone_to_owned()?;
    let is_socket = FileType::from_raw_mode(fstat(&moved)?.st_mode) == FileType::Socket;
    Ok(is_socket.then(|| UnixStream::from(moved)))
}

fn become_command(guard: &mut UnixStream) -> Result<Left, String> {
    let Some(job) = read_job(guard)? else {
        return Ok(Left);
    };
    if !is_parent(job.parent) {
        return Ok(Left);
    }
    dispositions::reset();
    setsid().map_err(|error| format!("no session of its own: {error}"))?;
    let account = job.user.as_deref().map(Account::named).transpose()?;
    if let Some(account) = &account {
        account.can_be_assumed()?;
    }
    make_run_dir(&job.run_dir, account.as_ref())
        .map_err(|error| format!("the folder {} cannot be prepared: {error}", job.run_dir.display()))?;
    let output = open_output(&job.output)
        .map_err(|error| format!("the output {} cannot be opened: {error}", job.output.display()))?;
    let limit = Rlimit {
        current: job.open_files,
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).map_err(|error| format!("the limit of open files: {error}"))?;
    umask(Mode::from_raw_mode(job.umask));
    if let Some(account) = &account {
        account.assume()?;
    }
    let program = job.command.first().ok_or("the command is empty")?;
    // Entered by path and as the service's user: a service need not be able to do what the guard can.
    std::env::set_current_dir(&job.cwd)
        .map_err(|error| format!("the folder {} cannot be entered: {error}", job.cwd.display()))?;
    let output_too = output
        .try_clone()
        .map_err(|error| format!("the output: {error}"))?;
    let mut command = Command::new(program);
    command
        .args(&job.command[1..])
        .env_clear()
        .envs(&job.env)
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(output_too));

    let mut go = [0];
    match guard.read(&mut go) {
        Ok(1) if go[0] == GO && is_parent(job.parent) => {}
        Ok(_) => return Ok(Left),
        Err(error) => return Err(format!("the guard cannot be heard: {error}")),
    }
    guard
        .write_all(&[EXECUTING])
        .map_err(|error| format!("the guard cannot be told: {error}"))?;
    let error = command.exec();
    Err(format!(
        "{program} cannot be executed: {error}: check the path, its permissions and `cwd`"
    ))
}

fn read_job(guard: &mut UnixStream) -> Result<Option<Job>, String> {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 4096];
    loop {
        // `go` may lie right behind the frame: never more than the frame is asked for.
        let wanted = decoder.missing().min(bytes.len());
        match guard.read(&mut bytes[..wanted]) {
            Ok(0) => return Ok(None),
            Ok(length) => decoder.push(&bytes[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the guard cannot be heard: {error}")),
        }
        if let Some(job) = decoder.next_document().map_err(|error| error.to_string())? {
            return Ok(Some(job));
        }
    }
}

fn is_parent(pid: u32) -> bool {
    getppid().is_some_and(|parent| parent.as_raw_nonzero().get().unsigned_abs() == pid)
}

/// The folder of the status and offer files: the service's own, closed to everybody else.
fn make_run_dir(path: &Path, account: Option<&Account>) -> io::Result<()> {
    // Folders above it are crossed by services of other users.
    umask(Mode::from_raw_mode(0o022));
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // By handle and without following a link: what is there may have been put there by a service.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, path, flags, Mode::empty())?;
    if let Some(account) = account {
        fchown(&folder, Some(account.user), Some(account.group))?;
    }
    fchmod(&folder, Mode::RWXU)?;
    Ok(())
}

/// Opens the file that output is appended to. A pipe is refused: with its reader dead, the service's next
/// line would kill it.
fn open_output(path: &Path) -> io::Result<File> {
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    // Without waiting: a pipe that nobody reads would keep us here.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file: OwnedFd = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => {}
        FileType::Fifo
        | FileType::Socket
        | FileType::Directory
        | FileType::Symlink
        | FileType::BlockDevice
        | FileType::Unknown => {
            return Err(io::Error::other(
                "it is neither a file nor a device such as /dev/null",
            ));
        }
    }
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(File::from(file))
}
