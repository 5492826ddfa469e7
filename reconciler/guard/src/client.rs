//! Reaching the guard: its socket, and starting one.
//!
//! Frames are made and read by [`encode`](crate::encode) and [`Decoder`](crate::Decoder).

use crate::error::GuardError;
use crate::processes::table::Processes;
use crate::record::{Record, boot};
use crate::state::{SOCKET, StateFolder};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// Connects to the guard of this state folder, however long its path is.
pub fn connect(state: &Path) -> Result<UnixStream, GuardError> {
    let socket = state.join(SOCKET);
    let folder = StateFolder::open(state).map_err(|source| GuardError::NotThere {
        socket: socket.clone(),
        source,
    })?;
    dial(&folder).map_err(|error| match error {
        Errno::AGAIN => GuardError::Silent { socket },
        error => GuardError::NotThere {
            socket,
            source: error.into(),
        },
    })
}

/// Never waits: a guard that hangs takes nobody in, and there is room for so many before its door alone.
fn dial(folder: &StateFolder) -> Result<UnixStream, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&stream, &SocketAddrUnix::new(folder.socket())?)?;
    ioctl_fionbio(&stream, false)?;
    Ok(UnixStream::from(stream))
}

/// Whether somebody lives whom a guard of this state folder had started and left behind. A guard that is started finds
/// them again.
pub fn left_behind(state: &Path) -> Result<bool, GuardError> {
    let Ok(folder) = StateFolder::open(state) else {
        return Ok(false);
    };
    let Some(record) = Record::load(&folder)? else {
        return Ok(false);
    };
    if record.boot != boot()? {
        return Ok(false);
    }
    let mut processes = Processes::open().map_err(GuardError::system("cannot open /proc"))?;
    for process in record
        .services
        .iter()
        .filter_map(|service| service.process.as_ref())
    {
        let lives = processes.lives(process.pid, process.start_ticks);
        if lives.map_err(GuardError::system("cannot read /proc"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Starts a guard for this state folder, and returns when it answers. It belongs to nobody: it has a session
/// of its own and lives on when the caller ends.
///
/// `program` is executed as `program guard --state STATE --detach` and has to call [`crate::run`] with that.
pub fn spawn(state: &Path, program: &Path) -> Result<(), GuardError> {
    let failed = |reason: String| GuardError::DidNotStart {
        program: program.to_owned(),
        reason,
    };
    let output = Command::new(program)
        .arg(crate::GUARD)
        .arg("--state")
        .arg(state)
        .arg("--detach")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
