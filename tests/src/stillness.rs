//! How long anybody stands still: a thread that looks at the services' processes all the time.
//!
//! # What is measured
//!
//! A stand is measured from the first look that sees it to the last, so never too long; and by the kernel's own count
//! of the times that the process gave the processor up, so two stands are never taken for one, however long nobody
//! looked. What is left is that whoever has to continue it (the guard, the holder, a reconciler that starts) gets the
//! processor late on a busy machine. The thread that looks is in the same queue: it asks to be woken every few
//! milliseconds, and how late it was woken during a stand is known. The latest of these delays is taken off.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Lab;
use crate::processes::Process;
use crate::wait::until;

/// How far two looks lie apart where nobody else wants the processor: the sleep between them and the look itself.
const APART: Duration = Duration::from_millis(5);

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

    /// The longest that anybody stood still so far, less the delay of who looked.
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

/// One stand of a process.
#[derive(Debug, Clone, Copy)]
struct Stand {
    /// When it was seen first.
    began: Instant,
    /// What tells it from another one.
    count: u64,
    /// By how much a look came late during it, at the worst.
    late: Duration,
    /// Whether it counts.
    counts: bool,
}

fn look_on(shared: &Shared, processes: &[Process], allowed: Duration) {
    let mut stands: Vec<Option<Stand>> = vec![None; processes.len()];
    let mut looked = Instant::now();
    until(Duration::MAX, || {
        let now = Instant::now();
        let late = (now - looked).saturating_sub(APART);
        looked = now;
        let counts = shared.counts.load(Ordering::SeqCst);
        for (process, stand) in processes.iter().zip(&mut stands) {
            let Some(count) = process.stand() else {
                *stand = None;
                continue;
            };
            let known = stand.filter(|stand| stand.count == count).map(|stand| Stand {
                late: stand.late.max(late),
                counts: stand.counts && counts,
                ..stand
            });
            let stands = *stand.insert(known.unwrap_or(Stand {
                began: now,
                count,
                late: Duration::ZERO,
                counts,
            }));
            if !stands.counts {
                continue;
            }
            let still = (now - stands.began).saturating_sub(stands.late);
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
