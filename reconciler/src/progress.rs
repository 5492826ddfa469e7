//! What takes longer than a second says how far it has come: nothing before that.
//!
//! Where a person waits it is one line on the terminal that goes when the result comes, elsewhere and in the log a line
//! now and then. It watches from a thread of its own and is told nothing: what works counts, as it always does.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockstep_core::counts::Counts;

/// What is faster is not spoken of.
const FIRST: Duration = Duration::from_secs(1);
/// How often a line is added to a log.
const AGAIN: Duration = Duration::from_secs(5);
/// The same where what a command says is kept by somebody, such as a job of CI.
const AGAIN_KEPT: Duration = Duration::from_secs(10);
/// How often a terminal's line moves.
const MOVES: Duration = Duration::from_millis(100);

/// Something that goes on; dropped when it has ended.
#[must_use = "it tells for as long as it is held"]
pub struct Progress {
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// Tells of something in the log of `lockstep run`.
pub fn logged(what: impl Into<String>, counts: Option<Arc<Counts>>) -> Progress {
    let (what, mut told) = (what.into(), false);
    Progress::start([FIRST, AGAIN], move |tick| {
        let counts = shown(counts.as_deref());
        match tick {
            Tick::GoesOn(since) => {
                told = true;
                tracing::info!("{what}: {counts}{} s so far", since.as_secs());
            }
            Tick::Ended(since) if told => {
                tracing::info!("{what}: done, {counts}{:.1} s", since.as_secs_f64());
            }
            Tick::Ended(_) => {}
        }
    })
}

/// Tells a person who waits for a command.
pub fn for_a_person(what: impl Into<String>, counts: Option<Arc<Counts>>) -> Progress {
    let what = what.into();
    if !std::io::stderr().is_terminal() {
        return Progress::start([AGAIN_KEPT, AGAIN_KEPT], move |tick| {
            if let Tick::GoesOn(since) = tick {
                let counts = shown(counts.as_deref());
                // That nobody reads it changes nothing about the result.
                let _ = writeln!(std::io::stderr(), "{what}: {counts}{} s so far", since.as_secs());
            }
        });
    }
    let mut bar = None;
    Progress::start([FIRST, MOVES], move |tick| match tick {
        Tick::GoesOn(since) => {
            let bar = bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                bar.set_style(ProgressStyle::default_spinner());
                bar
            });
            bar.set_message(format!(
                "{what}: {}{} s",
                shown(counts.as_deref()),
                since.as_secs()
            ));
            bar.tick();
        }
        Tick::Ended(_) => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        }
    })
}

/// Counts as the middle of a line.
fn shown(counts: Option<&Counts>) -> String {
    counts.map(|counts| format!("{counts}, ")).unwrap_or_default()
}

enum Tick {
    GoesOn(Duration),
    Ended(Duration),
}

impl Progress {
    /// Calls after the first time, then again and again, and once at the end.
    fn start([first, again]: [Duration; 2], mut tell: impl FnMut(Tick) + Send + 'static) -> Self {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = Arc::clone(&ended);
        let began = Instant::now();
        let watch = move || {
            let (ended, wake) = &*watched;
            let mut wait = first;
            loop {
                let guard = ended.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = wake.wait_timeout_while(guard, wait, |ended| !*ended);
                let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                drop(guard);
                if !timeout.timed_out() {
                    return tell(Tick::Ended(began.elapsed()));
                }
                tell(Tick::GoesOn(began.elapsed()));
                wait = again;
            }
        };
        // Without a thread nothing is told, and all goes on.
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(watch)
            .ok();
        Self { ended, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_fast_says_nothing_but_that_it_ended() {
        let (said, heard) = mpsc::channel();
        drop(Progress::start([FIRST, AGAIN], move |tick| {
            said.send(matches!(tick, Tick::Ended(_))).unwrap();
        }));
        assert_eq!(heard.iter().collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn what_is_slow_says_so_again_and_again_until_it_ends() {
        let (said, heard) = mpsc::channel();
        let short = Duration::from_millis(1);
        let progress = Progress::start([short, short], move |tick| {
            said.send(matches!(tick, Tick::Ended(_))).unwrap();
        });
        assert_eq!(heard.iter().take(3).collect::<Vec<_>>(), [false; 3]);
        drop(progress);
        assert!(heard.iter().last().unwrap());
    }
}
