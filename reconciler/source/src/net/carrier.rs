//! What libgit2's smart protocol talks through: it asks for a stream, and is given the line that was dialled.
//!
//! A line is dialled before libgit2 is asked for anything, so that whatever stands in its way is an error of ours.
//! It is handed over by a variable of the thread: a transport is made by libgit2 in the midst of a call, on the
//! same thread, and knows nothing but a URL.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use git2::transport::{Service as Asked, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{ErrorClass, ErrorCode};

use super::line::Line;

/// The scheme that is ours alone: no URL of a user ever reaches libgit2.
const SCHEME: &str = "lockstep";
/// What libgit2 is told to connect to.
pub(crate) const URL: &str = "lockstep://source/repository";

/// A line that is shared with libgit2 while it talks.
pub(crate) type Shared = Arc<Mutex<Line>>;

thread_local! {
    static DIALLED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// Lets libgit2 know of the transport.
///
/// # Safety
/// Nothing else may use libgit2's list of transports meanwhile.
pub(crate) unsafe fn register() -> Result<(), git2::Error> {
    let make = |remote: &git2::Remote<'_>| {
        let line = DIALLED.take().ok_or_else(broken)?;
        let stateless = locked(&line).is_stateless();
        Transport::smart(remote, stateless, Carrier(line))
    };
    // SAFETY: passed on to the caller.
    unsafe { git2::transport::register(SCHEME, make) }
}

/// The line that the next connection of this thread is to use.
pub(crate) fn offer(line: &Shared) {
    DIALLED.set(Some(Arc::clone(line)));
}

/// A line is used by one thread; libgit2's interface wants more than that.
pub(crate) fn locked(line: &Shared) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken() -> git2::Error {
    git2::Error::new(ErrorCode::GenericError, ErrorClass::Net, "the connection failed")
}

struct Carrier(Shared);

impl SmartSubtransport for Carrier {
    fn action(&self, _url: &str, asked: Asked) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        match asked {
            // What was dialled begins with the listing.
            Asked::UploadPackLs | Asked::ReceivePackLs => {}
            Asked::UploadPack | Asked::ReceivePack => locked(&self.0).ask(),
        }
        Ok(Box::new(Stream(Arc::clone(&self.0))))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

struct Stream(Shared);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        locked(&self.0)
            .read(buffer)
            .map_err(|()| io::Error::other(broken()))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0)
            .write(bytes)
            .map_err(|()| io::Error::other(broken()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
