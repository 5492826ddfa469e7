//! Answering offers: would this service accept a release before anything is switched?

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_protocol::{MAX_DOCUMENT, Offer};

use crate::doorbell::Doorbell;
use crate::engine::Engine;

/// How often the offer file is looked at, besides the events in its folder.
const SLOW_LOOK: Duration = Duration::from_millis(200);

/// The protocol's longest document, as a file's size.
const LONGEST: u64 = MAX_DOCUMENT as u64;

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
        let seen = std::fs::metadata(&self.file).ok();
        let seen = seen.map(|seen| (seen.ino(), seen.size(), seen.mtime(), seen.mtime_nsec()));
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        if seen.is_none_or(|(_, size, ..)| size > LONGEST) {
            return;
        }
        let Ok(text) = std::fs::read(&self.file) else {
            return;
        };
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
