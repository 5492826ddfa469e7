//! Answering offers: would this service accept a release before anything is switched?

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockstep_protocol::{MAX_DOCUMENT, Offer};
use rustix::fs::{Mode, OFlags};

use crate::doorbell::Doorbell;
use crate::engine::Engine;

/// How often the offer file is looked at, besides the events in its folder.
const SLOW_LOOK: Duration = Duration::from_millis(200);

/// The protocol's longest document, as a file's size.
const LONGEST: u64 = MAX_DOCUMENT as u64;

/// Reads an offer. The folder is the service's own, so whatever it put there instead is no offer: it is neither
/// followed nor waited for, as a pipe would be.
fn read(file: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = File::from(rustix::fs::open(file, flags, Mode::empty()).ok()?);
    let meta = opened.metadata().ok()?;
    if !meta.is_file() || meta.size() > LONGEST {
        return None;
    }
    let mut text = Vec::new();
    opened.take(LONGEST).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Watches the offer file.
pub(crate) struct Voter<T> {
    engine: Arc<Engine<T>>,
    file: PathBuf,
    /// The file as it was last read: inode, size, time of the last change.
    seen: Option<(u64, u64, i64, i64)>,
    answered: Option<Offer>,
}

impl<T> Voter<T> {
    pub(crate) fn new(engine: Arc<Engine<T>>, file: PathBuf) -> Self {
        Self {
            engine,
            file,
            seen: None,
            answered: None,
        }
    }

    /// Answers each new offer until the end.
    pub(crate) fn run(mut self, mut bell: Doorbell) {
        let folder = self.file.parent().map(ToOwned::to_owned);
        let _watcher = folder.and_then(|folder| bell.ringer().ring_on_changes_in(&folder));
        loop {
            self.look();
            if !bell.wait(SLOW_LOOK) {
                return;
            }
        }
    }

    fn look(&mut self) {
        // The file is opened only when it is another one: opening it is an event in the watched folder as well.
        let seen = std::fs::symlink_metadata(&self.file).ok();
        let seen = seen.map(|seen| (seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec()));
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        let Some(text) = read(&self.file) else { return };
        let offer: Offer = match serde_json::from_slice(&text) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "this offer is ignored: it cannot be understood");
                return;
            }
        };
        if self.answered.as_ref() != Some(&offer) {
            self.engine.vote(&offer);
            self.answered = Some(offer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_no_plain_file_is_no_offer_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("offer"), "{}").unwrap();
        std::os::unix::fs::symlink("offer", at("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        std::fs::write(at("long"), vec![b' '; MAX_DOCUMENT + 1]).unwrap();
        let paths = ["offer", "link", "pipe", "long"].map(at);
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for path in paths {
                said.send(read(&path)).unwrap();
            }
        });
        let next = || {
            heard
                .recv_timeout(Duration::from_secs(60))
                .expect("it is not waited for")
        };
        assert_eq!(next().as_deref(), Some(b"{}".as_slice()));
        assert_eq!([next(), next(), next()], [None, None, None]);
    }
}
