//! How long anybody stands still: a thread that looks at the services' processes all the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Lab;
use crate::processes::Process;
use crate::wait::until;

/// Two looks further apart than this say nothing about what was between them.
const BLIND: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    /// Who stood still beyond what is allowed, and for how long.
    beyond: Mutex<Vec<(Process, Duration)>>,
    /// The longest that anybody stood still, in microseconds.
    longest: AtomicU64,
    /// Whether it counts.
    counts: AtomicBool,
}

/// Watches the main processes of a lab's services, until it is dropped.
#[derive(Debug)]
pub struct Stillness {
    shared: Arc<Shared>,
    watching: Option<JoinHandle<()>>,
    allowed: Duration,
}

impl Stillness {
    /// Begins to watch whoever lives now: nobody may stand still for longer than `allowed`.
    #[must_use]
    pub fn watch(lab: &Lab, allowed: Duration) -> Self {
        let processes: Vec<_> = lab.services().into_values().collect();
        let shared = Arc::new(Shared {
            counts: AtomicBool::new(true),
            ..Shared::default()
        });
        let watching = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || look_on(&shared, &processes, allowed)
        });
        Self {
            shared,
            watching: Some(watching),
            allowed,
        }
    }

    /// Counts nothing while `work` is done: whoever would unpause is dead, and everybody knows.
    pub fn except<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.counts.store(false, Ordering::SeqCst);
        let done = work();
        self.shared.counts.store(true, Ordering::SeqCst);
        done
    }

    /// The longest that anybody stood still so far.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.shared.longest.load(Ordering::SeqCst))
    }

    /// Asserts that nobody stood still for too long.
    ///
    /// # Panics
    /// When somebody did.
    #[track_caller]
    pub fn assert_short(&self) {
        let beyond = self.shared.beyond.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            beyond.is_empty(),
            "stood still for more than {:?}: {beyond:?}",
            self.allowed
        );
    }
}

fn look_on(shared: &Shared, processes: &[Process], allowed: Duration) {
    let mut since: Vec<Option<Instant>> = vec![None; processes.len()];
    let mut looked = Instant::now();
    until(Duration::MAX, || {
        let now = Instant::now();
        let blind = now - looked > BLIND || !shared.counts.load(Ordering::SeqCst);
        looked = now;
        for (process, since) in processes.iter().zip(&mut since) {
            if !process.is_stopped() {
                *since = None;
                continue;
            }
            if blind {
                *since = Some(now);
            }
            let began = *since.get_or_insert(now);
            let still = now - began;
            let micros = u64::try_from(still.as_micros()).unwrap_or(u64::MAX);
            shared.longest.fetch_max(micros, Ordering::SeqCst);
            if still > allowed {
                let mut beyond = shared.beyond.lock().unwrap_or_else(PoisonError::into_inner);
                match beyond.iter_mut().find(|(known, _)| known == process) {
                    Some((_, longest)) => *longest = still.max(*longest),
                    None => beyond.push((process.clone(), still)),
                }
            }
        }
        shared.ending.load(Ordering::SeqCst).then_some(())
    });
}

impl Drop for Stillness {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        if let Some(watching) = self.watching.take() {
            let _ = watching.join();
        }
    }
}
