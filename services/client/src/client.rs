//! The handle that a service keeps, and the threads behind it.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::Guard;
use lockstep_protocol::Status;
use notify::RecommendedWatcher;

use crate::doorbell::{Caught, Doorbell, Ringer};
use crate::engine::{Engine, When};
use crate::vote::Voter;
use crate::{Builder, Refusal, Snapshot};

/// How often `current` is looked at besides the events, for file systems that report none, and how often a
/// status that could not be written is tried again.
const SLOW_LOOK: Duration = Duration::from_secs(1);

/// The live configuration of a service.
///
/// Keep it for as long as the service runs: dropping it ends its threads, after an attempt that is under way.
pub struct Client<T> {
    engine: Arc<Engine<T>>,
    threads: Vec<(Ringer, JoinHandle<()>)>,
}

/// What wakes the thread that reloads.
pub(crate) struct Wakers {
    pub(crate) bell: Doorbell,
    pub(crate) signals: Vec<Caught>,
    pub(crate) watch: bool,
}

impl<T: Send + Sync + 'static> Client<T> {
    /// Begins with the loader: it parses *and* validates one release, and does nothing else. It is also called for
    /// releases that are only offered, again for the same one, and by two threads at once.
    ///
    /// It runs on threads of the client (or on the one that calls [`reload`](Self::reload)), so it may block.
    pub fn builder<F>(load: F) -> Builder<T>
    where
        F: Fn(&Snapshot) -> Result<T, Refusal> + Send + Sync + 'static,
    {
        Builder::new(Box::new(load))
    }

    pub(crate) fn run(engine: Engine<T>, wakers: Wakers, offers: Option<PathBuf>) -> std::io::Result<Self> {
        let engine = Arc::new(engine);
        let mut client = Self {
            engine: Arc::clone(&engine),
            threads: Vec::new(),
        };
        let reloads = Arc::clone(&engine);
        let Wakers { bell, signals, watch } = wakers;
        let watcher = if watch {
            bell.ringer().ring_on_changes_in(reloads.folder())
        } else {
            None
        };
        // Once the folder is watched: what moved before the first status was written is seen here, what moves from
        // now on rings. A refusal is in the status; what was loaded first goes on.
        let _ = engine.reload(When::Moved);
        client.spawn("lockstep-reload", bell, move |bell| {
            reload(&reloads, bell, &signals, watch, watcher);
        })?;
        if let Some(file) = offers {
            let voter = Voter::new(engine, file);
            client.spawn("lockstep-vote", Doorbell::new()?, move |bell| voter.run(bell))?;
        }
        Ok(client)
    }

    fn spawn(
        &mut self,
        name: &str,
        bell: Doorbell,
        run: impl FnOnce(Doorbell) + Send + 'static,
    ) -> std::io::Result<()> {
        let ringer = bell.ringer().clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(bell))?;
        self.threads.push((ringer, thread));
        Ok(())
    }

    /// The value that runs now. Cheap, never blocks; take it once per piece of work and keep it only that long.
    pub fn current(&self) -> Guard<Arc<T>> {
        self.engine.live().load()
    }

    /// The status as it was last published: what runs, and how the last attempt ended.
    ///
    /// Also there without Lockstep, where it is written nowhere.
    pub fn status(&self) -> Status {
        self.engine.statement().status()
    }

    /// Loads what is current now, for a service that catches the signal itself; goes round until nothing moved.
    ///
    /// It blocks for as long as the loader takes: in async code call it by `spawn_blocking`. Never call it from
    /// within the loader or a check: it waits for the attempt that is under way.
    ///
    /// # Errors
    /// When the release is refused. What ran before goes on, and the status says so already.
    pub fn reload(&self) -> Result<(), Refusal> {
        self.engine.reload(When::Asked)
    }
}

impl<T> Drop for Client<T> {
    fn drop(&mut self) {
        for (ringer, _) in &self.threads {
            ringer.end();
        }
        for (_, thread) in self.threads.drain(..) {
            // Dropped by its own thread (a check owned the last handle): that one cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the client had panicked");
            }
        }
    }
}

fn reload<T>(
    engine: &Engine<T>,
    mut bell: Doorbell,
    signals: &[Caught],
    watch: bool,
    _watcher: Option<RecommendedWatcher>,
) {
    let mut moved = false;
    loop {
        // Each signal is taken, not only the first that is found.
        let asked = signals.iter().fold(false, |asked, signal| asked | signal.take());
        if asked || moved {
            // Said in the status and in the log; there is nobody else to tell.
            let _ = engine.reload(if asked { When::Asked } else { When::Moved });
        }
        engine.statement().make_up();
        if !bell.wait(SLOW_LOOK) {
            return;
        }
        moved = watch;
    }
}
