//! The source's thread: owns the mirror, looks at the repository when woken, judges what it finds.
//!
//! git2 blocks, so all of it happens here. The thread is woken by the interval, by the repository's watcher
//! and by requests; a wake-up carries no data: it looks at the world again. It tells the coordinator only
//! what is new, and answers every [`Request::Look`] once a look has ended that began after it was asked.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_core::admission::Ancestry;
use lockstep_protocol::{Digest, Revision};
use lockstep_source::{Blobs, HangUp, Head, Mirror, Next, Schedule, SourceError, SourceSpec, Stamp, Watcher};
use tokio::sync::{mpsc as channel, oneshot, watch};

use super::{Asked, Judged, Judges, Validated, ancestry, judge};
use crate::progress;
use crate::telemetry::Steps;

/// What a candidate is judged against.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// What is live.
    pub live: Option<Arc<Validated>>,
    /// The commit that settled last: what the head has to descend from.
    pub settled: Option<Revision>,
    /// The files that settled before.
    pub before: Arc<BTreeSet<Digest>>,
}

/// Which base a head was judged against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseId {
    /// Whose policy it is: what is live, and the commit that settled last with the same files, may have different ones.
    live: Option<Revision>,
    settled: Option<Revision>,
    /// Whether its policy was known: until the mirror was asked for it, what is live is known from the volume alone.
    whole: bool,
}

impl Base {
    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> BaseId {
        BaseId {
            live: self.live.as_ref().map(|live| live.revision().clone()),
            settled: self.settled.clone(),
            whole: self.live.as_ref().is_none_or(|live| live.is_whole()),
        }
    }
}

/// What is asked of the thread.
pub enum Request {
    /// Look now, and say what was seen although it is not new; then [`Seen::Looked`] with this number.
    Look(u64),
    /// Judge a revision that is on the volume already, whose policy only the mirror knows.
    TakeUp(Revision),
    /// Judge any revision, for `lockstep plan`.
    Judge(String, oneshot::Sender<Result<Judged, String>>),
    /// Work on the mirror that the coordinator wants done here.
    Work(Box<dyn FnOnce(&mut Mirror) + Send>),
    /// Make a commit, and say [`Seen::Committed`] when whoever asked for it was answered.
    Commit(Box<dyn FnOnce(&mut Mirror) + Send>),
    /// Keep exactly these revisions.
    Pin(BTreeSet<Revision>),
    /// End.
    Stop,
}

/// What was seen.
#[derive(Debug)]
pub enum Seen {
    /// The head of the branch, judged.
    Head {
        /// The verdict on its contents.
        judged: Judged,
        /// How it relates to the last settled revision.
        ancestry: Ancestry,
        /// What it was judged against.
        base: BaseId,
        /// When it was first seen: the beginning of commit-to-settled.
        at: Instant,
    },
    /// A revision that is on the volume is known by the mirror.
    TakenUp(Arc<Validated>),
    /// A revision that was on the volume cannot be had from the mirror, or would be refused today.
    NotKnown(Revision),
    /// A commit was made, or could not be, and whoever asked for it was answered.
    Committed,
    /// The look of this number has ended, and what it saw was told.
    Looked(u64),
    /// The head is what it was when it was told last.
    Unchanged,
    /// There is nothing to follow, or the source does not answer: nothing changes.
    Failed {
        /// Why, with the next step. It begins with the reason's code ([`lockstep_source::code_in`]).
        reason: String,
    },
}

/// Why the thread does not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The mirror cannot be made, or the source's settings cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The system gives no thread.
    #[error("no thread for the source: {0}")]
    Thread(std::io::Error),
}

/// The handle of the thread. Dropping it ends the thread.
pub struct Worker {
    requests: mpsc::Sender<Request>,
    hang_up: HangUp,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Opens the mirror and starts the thread; gives also the handle to the mirror's contents.
    ///
    /// # Errors
    /// When the mirror cannot be made, or the source's settings cannot be used.
    pub fn start(
        mirror: PathBuf,
        spec: SourceSpec,
        interval: Duration,
        judges: Judges,
        base: watch::Receiver<Base>,
        seen: channel::UnboundedSender<Seen>,
        steps: Steps,
    ) -> Result<(Self, Blobs), WorkerError> {
        let (requests, inbox) = mpsc::channel();
        let wake = requests.clone();
        let mirror = Mirror::open(mirror, spec.clone())?;
        let blobs = mirror.blobs()?;
        let hang_up = mirror.hang_up();
        // The thread is gone only while the program ends.
        let watcher = Watcher::start(&spec, move || drop(wake.send(Request::Work(Box::new(|_| ())))))?;
        let seed = u64::from(std::process::id());
        let mut thread = Thread {
            mirror,
            interval,
            mended_by: Vec::new(),
            schedule: Schedule::new(interval, seed),
            judges,
            base,
            seen,
            told: None,
            steps,
            _watcher: watcher,
        };
        let handle = std::thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || thread.run(&inbox))
            .map_err(WorkerError::Thread)?;
        Ok((
            Self {
                requests,
                hang_up,
                thread: Some(handle),
            },
            blobs,
        ))
    }

    /// Asks something of the thread.
    pub fn ask(&self, request: Request) {
        // The thread is gone only while the program ends.
        let _ = self.requests.send(request);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ask(Request::Stop);
        // A server that says nothing is not waited for.
        self.hang_up.now();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is said where the program itself is wrong.
const DEFECT: &str = "the reconciler has a defect and gave up what it did with the repository: see its log for the place, and \
                      report it; it tries again";

/// The head that was told last, and the base it was judged against.
type Told = (Revision, BaseId);

struct Thread {
    mirror: Mirror,
    interval: Duration,
    /// What the files for the server were at the last look: after a failure, another file may mend it.
    mended_by: Vec<Option<Stamp>>,
    schedule: Schedule,
    judges: Judges,
    base: watch::Receiver<Base>,
    seen: channel::UnboundedSender<Seen>,
    told: Option<Told>,
    /// For traces.
    steps: Steps,
    _watcher: Option<Watcher>,
}

impl Thread {
    fn run(&mut self, inbox: &mpsc::Receiver<Request>) {
        // The first look is asked for, once the base is known.
        let mut due = Instant::now() + self.schedule.succeeded();
        loop {
            let request = match inbox.recv_timeout(self.wait_until(due)) {
                Ok(request) => Some(request),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < due && !self.may_be_mended() => {
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            match request {
                Some(Request::Stop) => return,
                Some(Request::TakeUp(revision)) => {
                    let taken = self.guarded(|thread| thread.take_up(&revision)).flatten();
                    let seen = taken.map_or(Seen::NotKnown(revision), Seen::TakenUp);
                    let _ = self.seen.send(seen);
                }
                Some(Request::Judge(text, answer)) => {
                    let judged = self.guarded(|thread| thread.judge_text(&text));
                    let _ = answer.send(judged.unwrap_or_else(|| Err(DEFECT.to_owned())));
                }
                Some(Request::Pin(revisions)) => {
                    self.pin(&revisions);
                    // A busy repository leaves no interval for it.
                    self.tidy();
                }
                Some(Request::Work(work)) => {
                    self.guarded(|thread| work(&mut thread.mirror));
                    due = Instant::now() + self.look(false);
                }
                Some(Request::Commit(make)) => {
                    self.guarded(|thread| make(&mut thread.mirror));
                    let _ = self.seen.send(Seen::Committed);
                    due = Instant::now() + self.look(false);
                }
                Some(Request::Look(number)) => {
                    due = Instant::now() + self.look(true);
                    let _ = self.seen.send(Seen::Looked(number));
                }
                None => {
                    let wait = self.look(false);
                    self.tidy();
                    due = Instant::now() + wait;
                }
            }
        }
    }

    /// Does something that may have a defect: it is told, and whoever waits for this thread does not wait for ever.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self))).ok();
        if done.is_none() {
            // What was seen before need not be whole.
            self.told = None;
            let reason = DEFECT.to_owned();
            let _ = self.seen.send(Seen::Failed { reason });
        }
        done
    }

    /// Each fetch leaves a pack: many are made one, after a rollout or when nobody asks for anything.
    fn tidy(&mut self) {
        match self.mirror.tidy() {
            Ok(false) => {}
            Ok(true) => tracing::debug!("the mirror was repacked"),
            Err(error) => tracing::warn!(%error, "the mirror cannot be repacked: it grows with each commit"),
        }
    }

    /// How long to wait at most. After failures the looks become rare, but the files for the server are looked at
    /// as often as ever: whoever mends one is not to wait for minutes.
    fn wait_until(&self, due: Instant) -> Duration {
        let left = due.saturating_duration_since(Instant::now());
        if self.schedule.failures() == 0 || self.mended_by.is_empty() {
            left
        } else {
            left.min(self.interval)
        }
    }

    fn may_be_mended(&self) -> bool {
        self.mirror.access_stamps() != self.mended_by
    }

    /// Looks once and says how long to wait for the next time.
    fn look(&mut self, answer: bool) -> Duration {
        self.guarded(|thread| thread.look_once(answer))
            .unwrap_or_else(|| self.schedule.failed())
    }

    fn look_once(&mut self, answer: bool) -> Duration {
        // Before the look: a file that is replaced meanwhile counts as new.
        self.mended_by = self.mirror.access_stamps();
        let base = self.base.borrow().clone();
        let seen = self.see(&base).or_else(|error| match error.next() {
            Next::Heal => {
                tracing::warn!(%error, "the mirror is damaged and is made anew");
                self.mirror.heal()?;
                self.see(&base)
            }
            Next::Retry | Next::Reject | Next::Stop => Err(error),
        });
        match seen {
            Ok(seen) => {
                let new = !matches!(seen, Seen::Unchanged);
                if new || answer || self.schedule.failures() > 0 {
                    let _ = self.seen.send(seen);
                }
                self.schedule.succeeded()
            }
            Err(error) => {
                let _ = self.seen.send(Seen::Failed {
                    reason: format!("{}: {error}", error.code()),
                });
                self.schedule.failed()
            }
        }
    }

    fn see(&mut self, base: &Base) -> Result<Seen, SourceError> {
        let at = Instant::now();
        let id = base.id();
        // The branch that is missing, or empty, is an error of the fetch, which says what is there instead.
        if let Head::Revision(head) = self.mirror.list_head()?
            && self.told == Some((head, id.clone()))
        {
            return Ok(Seen::Unchanged);
        }
        let began = Timestamp::now();
        let head = {
            let what = format!("fetching from {} (objects)", self.mirror.shown_url());
            let _told = progress::logged(what, Some(self.mirror.counts()));
            self.mirror.fetch()?
        };
        self.steps.note("fetch", &head, began);
        let began = Timestamp::now();
        let judged = {
            let what = format!("judging {} (files)", head.short());
            let _told = progress::logged(what, Some(self.mirror.counts()));
            judge(
                &self.mirror,
                &head,
                base.live.as_deref(),
                &base.before,
                &self.judges,
                Asked::ToPublish,
            )?
        };
        self.steps.note("judge", &head, began);
        let ancestry = ancestry(&self.mirror, base.settled.as_ref(), &head)?;
        self.told = Some((head, id.clone()));
        Ok(Seen::Head {
            judged,
            ancestry,
            base: id,
            at,
        })
    }

    fn take_up(&mut self, revision: &Revision) -> Option<Arc<Validated>> {
        if !self.mirror.has(revision) {
            return None;
        }
        match judge(
            &self.mirror,
            revision,
            None,
            &BTreeSet::new(),
            &self.judges,
            Asked::ToTakeUp,
        ) {
            Ok(Judged::Valid(validated)) => Some(validated),
            // It was valid when it went live; stricter settings do not take it back.
            Ok(Judged::Refused(refused)) => {
                tracing::warn!(%revision, reason = %refused.reason, "what is live would be refused today");
                None
            }
            Err(error) => {
                tracing::warn!(%revision, %error, "what is live cannot be read from the mirror");
                None
            }
        }
    }

    fn judge_text(&mut self, text: &str) -> Result<Judged, String> {
        let base = self.base.borrow().clone();
        let revision = self.mirror.resolve(text).map_err(|error| error.to_string())?;
        judge(
            &self.mirror,
            &revision,
            base.live.as_deref(),
            &base.before,
            &self.judges,
            Asked::Ahead,
        )
        .map_err(|error| error.to_string())
    }

    fn pin(&mut self, wanted: &BTreeSet<Revision>) {
        let pinned = match self.mirror.pinned() {
            Ok(pinned) => pinned,
            Err(error) => return tracing::warn!(%error, "kept revisions cannot be pinned"),
        };
        for old in pinned.iter().filter(|old| !wanted.contains(old)) {
            if let Err(error) = self.mirror.unpin(old) {
                tracing::warn!(%error, "a revision cannot be unpinned");
            }
        }
        for new in wanted
            .iter()
            .filter(|new| !pinned.contains(new) && self.mirror.has(new))
        {
            if let Err(error) = self.mirror.pin(new) {
                tracing::warn!(%error, "a revision cannot be pinned");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_told_and_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let spec = SourceSpec::new("/nowhere/at.git", "main");
        let (_base, base) = watch::channel(Base::default());
        let (seen_by, mut seen) = channel::unbounded_channel();
        let mirror = folder.path().join("mirror.git");
        let interval = Duration::from_secs(3600);
        let started = Worker::start(
            mirror,
            spec,
            interval,
            Judges::default(),
            base,
            seen_by,
            Steps::default(),
        );
        let (worker, _) = started.unwrap();
        worker.ask(Request::Commit(Box::new(|_| panic!("a test"))));
        worker.ask(Request::Look(7));
        let told = std::iter::from_fn(|| seen.blocking_recv());
        let mut told = told.take_while(|seen| !matches!(seen, Seen::Looked(7)));
        assert!(matches!(told.next(), Some(Seen::Failed { reason }) if reason == DEFECT));
        assert!(matches!(told.next(), Some(Seen::Committed)));
        assert!(told.all(|seen| matches!(seen, Seen::Failed { reason } if reason != DEFECT)));
    }
}
