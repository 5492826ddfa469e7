//! The control socket: bound and dialled through a directory handle, so that long paths work.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;

use super::WebError;

/// The socket's name in the state folder.
pub const CONTROL: &str = "control.sock";

fn folder(state: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(state, flags, Mode::empty())?)
}

fn through(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{CONTROL}", folder.as_raw_fd()))
}

/// Dials the control socket of a state folder.
///
/// # Errors
/// When there is none, or nobody answers.
pub async fn connect(state: &Path) -> io::Result<UnixStream> {
    let folder = folder(state)?;
    UnixStream::connect(through(&folder)).await
}

/// Whether a reconciler answers for a state folder.
pub async fn answers(state: &Path) -> bool {
    connect(state).await.is_ok()
}

/// Who is at the other end of a connection, by what the system says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, tokio::net::UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, tokio::net::UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.map(|user| (user, lockstep_guard::user_name(user))) {
            Some((user, Some(name))) => write!(f, "{name} (user {user})"),
            Some((user, None)) => write!(f, "user {user}"),
            None => f.write_str("somebody at the control socket"),
        }
    }
}

/// Binds the control socket, in the place of one that an earlier reconciler left.
pub(super) fn bind(state: &Path) -> Result<UnixListener, WebError> {
    let path = state.join(CONTROL);
    let failed = |source| WebError::Socket {
        path: path.clone(),
        source,
    };
    let folder = folder(state).map_err(failed)?;
    match std::fs::remove_file(through(&folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(through(&folder)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    std::fs::set_permissions(through(&folder), std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}
