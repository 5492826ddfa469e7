//! The volume's thread: everything that writes and flushes, so that the coordinator's loop never waits for a disk.
//!
//! Jobs are done in order. The one exception is the switch itself: a staged switch is handed to the
//! coordinator, whose commit of it is a single rename inside the pause.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread::JoinHandle;

use jiff::Timestamp;
use lockstep_core::tree::{BlobId, Tree};
use lockstep_protocol::{Digest, Release, SwitchNumber};
use lockstep_source::Blobs;
use lockstep_volume::{
    BlobsError, BuildError, ChangeError, Drift, Intent, Outcome, PrepareError, Prepared, ReleaseName,
    StageError, StagedSwitch, Switched, Volume,
};
use tokio::sync::mpsc as channel;

use crate::progress;
use crate::telemetry::Steps;

/// What is to be done.
#[derive(Debug)]
pub enum Job {
    /// Build a release, or find the kept one, and stage the switch to it.
    Build {
        document: Box<Release>,
        tree: Tree,
        number: SwitchNumber,
    },
    /// Stage a switch to a kept release.
    StageKept {
        release: ReleaseName,
        number: SwitchNumber,
        /// Whether it is what `current` leads to already.
        live: bool,
        /// What it is built from again, where it is not kept any more.
        again: Option<(Box<Release>, Tree)>,
    },
    /// Write an intent to the journal.
    RecordIntent(Box<Intent>),
    /// Write an outcome to the journal.
    RecordOutcome(Box<Outcome>),
    /// Complete a switch after the unpause; none: the one that was found at the start.
    Complete(Option<Box<Switched>>),
    /// Give up a switch that was staged and not made.
    Abandon(Box<StagedSwitch>),
    /// Take `current` away.
    Withdraw,
    /// Retention, and the spare for the next build.
    Tidy(BTreeSet<Digest>),
    /// Compare everything with what was written.
    CheckDrift,
    /// Compare `current` and the top-level links, and the rest only if one of them was changed.
    CheckLinks,
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// A release is built and its switch staged.
    Built(Result<(Box<Prepared>, Box<StagedSwitch>), (SwitchNumber, Fault)>),
    /// A switch back is staged.
    StagedKept(Result<Box<StagedSwitch>, Fault>),
    /// The intent is written.
    IntentRecorded(Result<(), Fault>),
    /// The outcome is written.
    OutcomeRecorded(Result<(), Fault>),
    /// The switch is complete, the directory flushed.
    Completed(Result<(), Fault>),
    /// `current` is taken away.
    Withdrawn(Result<(), Fault>),
    /// Retention ran: these revisions are kept.
    Tidied(BTreeSet<lockstep_protocol::Revision>),
    /// What differs from what was written.
    Drifted(Vec<Drift>),
    /// A higher term has taken the volume over.
    Deposed,
}

/// Why a job was not done.
#[derive(Debug)]
pub struct Fault {
    /// For people, with the next step.
    pub message: String,
    /// Whether a coordinator of a higher term has taken over.
    pub deposed: bool,
}

impl From<ChangeError> for Fault {
    fn from(error: ChangeError) -> Self {
        Self {
            message: error.to_string(),
            deposed: matches!(error, ChangeError::Deposed { .. }),
        }
    }
}

impl From<PrepareError> for Fault {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Build(BuildError::Change(error)) => error.into(),
            PrepareError::Build(other) => Self {
                message: other.to_string(),
                deposed: false,
            },
            PrepareError::Stage(error) => error.into(),
        }
    }
}

impl From<StageError> for Fault {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Change(error) => error.into(),
            other => Self {
                message: other.to_string(),
                deposed: false,
            },
        }
    }
}

/// The handle of the thread. Dropping it ends the thread after the jobs it has.
pub struct VolumeThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl VolumeThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        volume: Volume,
        blobs: Blobs,
        done: channel::UnboundedSender<Done>,
        steps: Steps,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("volume".to_owned())
            .spawn(move || {
                let mut worker = Worker {
                    volume,
                    blobs: MirrorBlobs(blobs),
                    steps,
                };
                for job in inbox {
                    if let Some(result) = worker.work(job)
                        && done.send(result).is_err()
                    {
                        break;
                    }
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Gives it a job.
    pub fn ask(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread is gone only while the program ends.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for VolumeThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Compares the links, and all the rest where one of them was changed: whoever did that may have changed files too, and
/// a release with damaged files is not switched to again, nor its readers left out.
fn links_then_all(volume: &mut Volume) -> Result<Vec<Drift>, ChangeError> {
    let found = volume.check_links()?;
    if found.iter().all(|drift| matches!(drift, Drift::Foreign { .. })) {
        return Ok(found);
    }
    volume.check_drift()
}

/// The mirror as the volume wants it.
struct MirrorBlobs(Blobs);

impl lockstep_volume::Blobs for MirrorBlobs {
    fn read(&self, blob: BlobId) -> Result<Vec<u8>, BlobsError> {
        self.0.read(blob).map_err(|error| BlobsError {
            message: error.to_string(),
            source: Some(Box::new(error)),
        })
    }
}

struct Worker {
    volume: Volume,
    blobs: MirrorBlobs,
    /// For traces.
    steps: Steps,
}

impl Worker {
    fn work(&mut self, job: Job) -> Option<Done> {
        match job {
            Job::Build {
                document,
                tree,
                number,
            } => Some(Done::Built(
                self.build(&document, &tree, number)
                    .map_err(|fault| (number, fault)),
            )),
            Job::StageKept {
                release,
                number,
                live,
                again,
            } => {
                let staged = self.stage_kept(&release, number, live, again);
                Some(Done::StagedKept(staged))
            }
            Job::RecordIntent(intent) => Some(Done::IntentRecorded(
                self.volume.journal_intent(&intent).map_err(Into::into),
            )),
            Job::RecordOutcome(outcome) => Some(Done::OutcomeRecorded(
                self.volume.journal_outcome(&outcome).map_err(Into::into),
            )),
            Job::Complete(switched) => {
                let completed = match switched {
                    Some(switched) => self.volume.after_unpause(&switched),
                    None => self.volume.complete_found(),
                };
                Some(Done::Completed(completed.map_err(Into::into)))
            }
            Job::Abandon(staged) => {
                self.quietly(|volume| volume.abandon(*staged), "a staged switch is left over")
            }
            Job::Withdraw => Some(Done::Withdrawn(self.volume.withdraw().map_err(Into::into))),
            Job::Tidy(reported) => {
                match self.volume.tidy(&reported) {
                    Ok(_) => {}
                    Err(ChangeError::Deposed { .. }) => return Some(Done::Deposed),
                    // Without a spare the next build is slower and just as right.
                    Err(error) => tracing::warn!(%error, "old releases cannot be tidied"),
                }
                let kept = self.volume.kept().into_iter().map(|kept| kept.revision).collect();
                Some(Done::Tidied(kept))
            }
            Job::CheckDrift => self.drift(Volume::check_drift),
            Job::CheckLinks => self.drift(links_then_all),
        }
    }

    fn build(
        &mut self,
        document: &Release,
        tree: &Tree,
        number: SwitchNumber,
    ) -> Result<(Box<Prepared>, Box<StagedSwitch>), Fault> {
        let began = Timestamp::now();
        let what = format!("building the release of {} (files)", document.revision.short());
        let told = progress::logged(what, Some(self.volume.counts()));
        let (prepared, staged) = self.volume.prepare_switch(document, tree, &self.blobs, number)?;
        drop(told);
        self.steps.note("build", &document.revision, began);
        Ok((Box::new(prepared), Box::new(staged)))
    }

    fn stage_kept(
        &mut self,
        release: &ReleaseName,
        number: SwitchNumber,
        live: bool,
        again: Option<(Box<Release>, Tree)>,
    ) -> Result<Box<StagedSwitch>, Fault> {
        if live {
            // Before a switch the volume looks at what differs from what is live, and here nothing does. What is
            // found makes the release count as damaged.
            self.volume.check_drift()?;
        }
        if let Some(prepared) = self.volume.prepare_kept(release)? {
            return Ok(Box::new(self.volume.stage_switch(&prepared, number)?));
        }
        // Damaged or gone: the mirror still has every file of it.
        let Some((document, tree)) = again else {
            let message = format!("the previous release {release} is not on the volume any more");
            return Err(Fault {
                message,
                deposed: false,
            });
        };
        self.build(&document, &tree, number).map(|(_, staged)| staged)
    }

    fn drift(&mut self, check: fn(&mut Volume) -> Result<Vec<Drift>, ChangeError>) -> Option<Done> {
        match check(&mut self.volume) {
            Ok(drifts) if drifts.is_empty() => None,
            Ok(drifts) => Some(Done::Drifted(drifts)),
            Err(ChangeError::Deposed { .. }) => Some(Done::Deposed),
            Err(error) => {
                tracing::error!(%error, "the volume cannot be compared with what was written");
                None
            }
        }
    }

    fn quietly(
        &mut self,
        work: impl FnOnce(&mut Volume) -> Result<(), ChangeError>,
        what: &'static str,
    ) -> Option<Done> {
        match work(&mut self.volume) {
            Ok(()) => None,
            Err(ChangeError::Deposed { .. }) => Some(Done::Deposed),
            Err(error) => {
                tracing::warn!(%error, "{what}");
                None
            }
        }
    }
}
