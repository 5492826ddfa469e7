//! How a thread of this crate is woken: by a signal, a watched folder, the end, or after a while.
//!
//! Rings carry no data and merge into one: whoever is woken looks at the world again.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use crate::Signal;

/// The waiting side. It exists before the thread that waits does, so that no ring is lost.
#[derive(Debug)]
pub(crate) struct Doorbell {
    receiver: UnixStream,
    ringer: Ringer,
}

/// The side that rings.
#[derive(Debug, Clone)]
pub(crate) struct Ringer {
    sender: Arc<UnixStream>,
    ended: Arc<AtomicBool>,
}

impl Doorbell {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let ringer = Ringer {
            sender: Arc::new(sender),
            ended: Arc::default(),
        };
        Ok(Self { receiver, ringer })
    }

    pub(crate) fn ringer(&self) -> &Ringer {
        &self.ringer
    }

    /// Waits for a ring, at most this long; true as long as there is no end. What was rung before is forgotten
    /// here, so the caller looks *after* this. An interrupted wait counts as a ring: looking once more is harmless.
    pub(crate) fn wait(&mut self, longest: Duration) -> bool {
        if !self.ringer.ended.load(Ordering::SeqCst) {
            let timeout = longest.try_into().ok();
            let mut wanted = [PollFd::new(&self.receiver, PollFlags::IN)];
            let _ring_timeout_or_interruption = poll(&mut wanted, timeout.as_ref());
        }
        let mut rings = [0; 64];
        while matches!(self.receiver.read(&mut rings), Ok(count) if count > 0) {}
        !self.ringer.ended.load(Ordering::SeqCst)
    }
}

impl Ringer {
    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        match (&*self.sender).write(&[1]) {
            Ok(_) => {}
            // So many rings are waiting that one more changes nothing.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => tracing::debug!(%error, "nobody listens any more"),
        }
    }

    /// Tells the thread to end.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Rings on every event in the folder. None when watching is impossible: the slow look goes on alone.
    ///
    /// The folder is watched, never a file: a rename of `current` is seen by nobody who watches the file.
    pub(crate) fn ring_on_changes_in(&self, folder: &Path) -> Option<RecommendedWatcher> {
        let ringer = self.clone();
        let ring = move |event: notify::Result<notify::Event>| {
            // Reading is no news, and our own reading would ring for ever.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                ringer.ring();
            }
        };
        let watcher = notify::recommended_watcher(ring).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "the folder cannot be watched: it is looked at now and then instead");
                None
            }
        }
    }
}

/// A signal that asks for a reload, caught from the moment this exists until it is dropped.
///
/// After the drop the signal is ignored; it never kills the process again.
#[derive(Debug)]
pub(crate) struct Caught {
    actions: [SigId; 2],
    asked: Arc<AtomicBool>,
}

impl Caught {
    pub(crate) fn new(signal: Signal, ringer: &Ringer) -> std::io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        // In this order: who is woken by the ring finds the flag set.
        let flag = signal_hook::flag::register(signal.number(), Arc::clone(&asked))?;
        let ring = ringer
            .sender
            .try_clone()
            .and_then(|sender| pipe::register(signal.number(), sender));
        match ring {
            Ok(ring) => Ok(Self {
                actions: [flag, ring],
                asked,
            }),
            Err(error) => {
                unregister(flag);
                Err(error)
            }
        }
    }

    /// Whether the signal came since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.asked.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        for action in self.actions {
            unregister(action);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost_and_rings_merge() {
        let mut bell = Doorbell::new().unwrap();
        for _ in 0..100_000 {
            bell.ringer().ring();
        }
        let started = Instant::now();
        assert!(bell.wait(Duration::from_secs(60)));
        assert!(started.elapsed() < Duration::from_secs(30));
        let started = Instant::now();
        assert!(bell.wait(Duration::from_millis(20)));
        assert!(
            started.elapsed() >= Duration::from_millis(20),
            "no ring was left over"
        );
    }

    #[test]
    fn a_rename_in_a_watched_folder_rings() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("old", folder.path().join("current")).unwrap();
        let mut bell = Doorbell::new().unwrap();
        let _watcher = bell.ringer().ring_on_changes_in(folder.path()).unwrap();
        std::os::unix::fs::symlink("new", folder.path().join("next")).unwrap();
        bell.wait(Duration::from_secs(60));
        let started = Instant::now();
        std::fs::rename(folder.path().join("next"), folder.path().join("current")).unwrap();
        assert!(bell.wait(Duration::from_secs(60)));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_end_is_seen_again_and_again() {
        let mut bell = Doorbell::new().unwrap();
        bell.ringer().end();
        assert!(!bell.wait(Duration::from_secs(60)));
        assert!(!bell.wait(Duration::from_secs(60)));
    }
}
