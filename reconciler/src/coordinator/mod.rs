//! The coordinator: drives one rollout at a time and is the only one that decides when.
//!
//! It decides nothing by itself: it gathers facts, calls core, executes the commands, in one loop.
//!
//! # The map
//!
//! | task or thread | owns | tells the loop | is told by |
//! |---|---|---|---|
//! | this loop | the rollout, the ledger, what is known of instances | | |
//! | [`agent`](crate::agent) task | the connection to the guard, probes, checks | [`Report`] | [`Order`](crate::agent::Order) |
//! | source thread ([`candidate::worker`](crate::candidate::worker)) | the mirror, judging | [`Seen`] | [`worker::Request`], a watch with the base |
//! | volume thread ([`volume`]) | the volume | [`Done`] | [`Job`] |
//! | web and control tasks ([`web`](crate::web)) | connections | [`Request`] | a watch that only wakes, the [`EventLog`] |
//!
//! All channels into the loop are unbounded, because each sender is either answered one by one or limited by
//! what it watches; none carries data that could pile up without the loop having asked for it.
//!
//! Who wakes whom: every input wakes this loop, which looks at everything anew; nothing is remembered about
//! which input it was.

mod adopt;
mod conclude;
mod consider;
mod drift;
mod drive;
mod execute;
mod failed;
mod members;
mod observe;
mod points;
mod reconnect;
pub mod request;
mod reread;
mod source;
mod spec;
mod start;
mod take_up;
pub mod volume;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_core::admission::{Aborted, Ancestry, Live, Verdict};
use lockstep_core::instances::{Instances, ReadsTable};
use lockstep_core::rollout::{self, MemberId, Moment};
use lockstep_core::service::{ServiceName, Verify};
use lockstep_core::status::{StatusFacts, StatusView, status};
use lockstep_protocol::{Digest, Release, Revision, SwitchNumber};
use lockstep_volume::{ReleaseName, StagedSwitch, Switched};
use tokio::sync::{mpsc, watch};

use crate::agent::{Orders, Report};
use crate::candidate::worker::{Base, BaseId, Seen};
use crate::candidate::{Judged, Reader, Validated};
use crate::cli::{Asked, Signals};
use crate::clock::Clock;
use crate::daytime::DayTimer;
use crate::events::{Event, EventLog};
use crate::history::History;
use crate::metrics::Metrics;
use crate::runs::Runs;
use crate::settings::Settings;
use crate::store::LedgerStore;

pub use request::{Handle, Request};
pub use reread::{read_again, refusal};
pub use start::{Lasting, Options, run};
use volume::{Done, VolumeThread};

/// What is live, with all that is needed to plan from it and to go back to it.
#[derive(Debug, Clone)]
struct LiveRelease {
    live: Live,
    release: ReleaseName,
    /// What the release says of itself: the commit that published these files, which others may have followed.
    document: Release,
    /// The commit that settled last.
    validated: Arc<Validated>,
}

/// The head of the branch.
#[derive(Debug)]
struct Head {
    judged: Judged,
    ancestry: Ancestry,
    /// What it was judged against.
    base: BaseId,
    seen: Instant,
}

impl Head {
    fn revision(&self) -> &Revision {
        self.judged.revision()
    }
}

/// The rollout under way.
struct Active {
    rollout: rollout::Rollout,
    /// What it rolls out; none when it was taken up after a crash and the mirror does not have it any more.
    candidate: Option<Arc<Validated>>,
    release_from: Option<ReleaseName>,
    release_to: Option<ReleaseName>,
    staged: Option<Box<StagedSwitch>>,
    /// Whether it was taken up after a crash.
    recovered: bool,
    /// By what it passed a closed window.
    passage: Option<String>,
    /// What `current` points to, as far as this rollout moved it.
    current: Option<SwitchNumber>,
    switched: Option<Box<Switched>>,
    began: Instant,
    seen: Instant,
    pause: Option<Duration>,
    /// While somebody may be paused, nothing is written: notices wait here.
    quiet: bool,
    waiting: Vec<Event>,
    phase_began: Instant,
}

/// How the loop ends.
#[derive(Debug, Clone)]
pub enum End {
    /// To begin anew with these settings: services and guard go on, and nobody notices.
    Anew(Box<Settings>),
    /// By a signal: services and guard go on.
    Signal,
    /// By `lockstep down`: all is down.
    Down,
    /// A coordinator of a higher term has taken over.
    Deposed,
}

struct Coordinator {
    settings: Arc<Settings>,
    readers: Arc<[Reader]>,
    services: Vec<(ServiceName, Verify)>,
    clock: Clock,
    term: u64,
    store: LedgerStore,
    events: Arc<EventLog>,
    history: History,
    runs: Runs,
    metrics: Arc<Metrics>,
    orders: Orders,
    reports: mpsc::UnboundedReceiver<Report>,
    volume: VolumeThread,
    done: mpsc::UnboundedReceiver<Done>,
    source: source::Source,
    seen: mpsc::UnboundedReceiver<Seen>,
    base: watch::Sender<Base>,
    requests: mpsc::UnboundedReceiver<Request>,
    changed: Arc<watch::Sender<u64>>,
    live: Option<LiveRelease>,
    head: Option<Head>,
    verdict: Option<(Revision, Verdict)>,
    windows: windows::Known,
    /// Rings when the time of day changes something.
    day_timer: DayTimer,
    aborted: Option<Aborted>,
    /// The same of healing. Kept apart, or a candidate and a healing that are both given up would each forget the
    /// other's back-off.
    unhealed: Option<Aborted>,
    active: Option<Active>,
    recovering: Option<take_up::Recovering>,
    instances: Instances,
    /// What the services stated to run when this coordinator started: as good as heard, until they are.
    stated: BTreeMap<ServiceName, Digest>,
    reads: ReadsTable,
    alarms: BTreeMap<&'static str, String>,
    /// Why services that somebody else runs cannot be paused and told.
    unusable: BTreeMap<ServiceName, String>,
    highest_switch: SwitchNumber,
    connected: bool,
    /// The first statements and probes were waited for: only then who counts is known.
    observed_at: Option<Moment>,
    drift: drift::Watch,
    /// The volume was tidied since the start.
    tidied: bool,
    /// Whom a damaged release touches: healing begins when nothing else is under way.
    healing: Option<BTreeMap<ServiceName, rollout::Effect>>,
    /// What settled last and is gone from the volume: nothing is tried before it is put back.
    lost: Option<take_up::Lost>,
    pids: BTreeMap<MemberId, u32>,
    /// Services whose last process ended for good, by their restart policy.
    ended: std::collections::BTreeSet<ServiceName>,
    /// Services that the guard was about to start again when it was connected to.
    backing_off: std::collections::BTreeSet<ServiceName>,
    /// Services that had been started again and again when it was connected to: nobody waits for them.
    looping: std::collections::BTreeSet<ServiceName>,
    /// The base against which a fresh look was asked for.
    looked_for: Option<BaseId>,
    /// Tasks that only carry something from here to somebody: an answer, traces.
    aside: tokio::task::JoinSet<()>,
    down: Option<tokio::sync::oneshot::Sender<Result<(), String>>>,
    /// All is being stopped because of it.
    stopping: bool,
    shown: Option<StatusView>,
    /// The settings are to be read again.
    reread: bool,
    /// Settings that were read anew: used as soon as no rollout is under way.
    settings_next: Option<Box<Settings>>,
    end: Option<End>,
}

impl Coordinator {
    /// The loop.
    async fn work(&mut self, signals: &mut Signals) -> End {
        loop {
            // Nothing is read or written while somebody is paused.
            if self.reread && !self.active.as_ref().is_some_and(|active| active.quiet) {
                self.read_settings();
            }
            self.consider();
            self.tidy_once();
            self.show();
            if let Some(end) = self.end.take() {
                return end;
            }
            let wake = self.next_wake();
            self.day_timer.set(self.next_time());
            // While somebody is paused, only what ends the pause is listened to: no request, no news of the source.
            let quiet = self.active.as_ref().is_some_and(|active| active.quiet);
            tokio::select! {
                biased;
                asked = signals.asked() => match asked {
                    // The program is asked to end: services and guard go on.
                    Asked::End => return End::Signal,
                    // The settings file has changed.
                    Asked::ReadSettings => self.reread = true,
                },
                // An instance, or the guard. First, because a rollout waits for it.
                Some(report) = self.reports.recv() => self.heard(report),
                // A write on the volume came to its end.
                Some(done) = self.done.recv() => self.volume_did(done),
                // The repository was looked at.
                Some(seen) = self.seen.recv(), if !quiet => self.source_saw(seen),
                // A person or a script wants something.
                Some(request) = self.requests.recv(), if !quiet => self.answer(request),
                // The volume's top level changed, by us or by somebody else.
                () = self.drift.rung(), if !quiet => self.look_at_links(),
                // The time of day has come that something waits for, or the clock was set.
                () = self.day_timer.rung() => {}
                // Time passed that means something to a rollout, a back-off or an instance.
                () = tokio::time::sleep_until(wake) => self.tick(),
            }
        }
    }

    /// When the time of day changes something.
    fn next_time(&self) -> Option<Timestamp> {
        let time = Timestamp::now();
        let ledger = self.store.ledger();
        let again = ledger.quarantined.iter().filter_map(|entry| entry.again_at);
        let suspended = ledger.suspended.as_ref().and_then(|suspension| suspension.until);
        again
            .chain(suspended)
            .chain(self.windows.opens())
            .filter(|at| *at > time)
            .min()
    }

    /// When time that passes changes something.
    fn next_wake(&self) -> tokio::time::Instant {
        let now = self.clock.now();
        let rollout = self.active.as_ref().and_then(|active| active.rollout.deadline());
        let aborted = [&self.aborted, &self.unhealed]
            .into_iter()
            .flatten()
            .map(|aborted| aborted.again_at)
            .filter(|at| *at > now)
            .min();
        let observed = self.observed_at.filter(|at| *at > now);
        let instances = self.services.iter().filter_map(|(name, verify)| {
            self.instances
                .get(&MemberId::only(name))?
                .next_moment(verify, now)
        });
        let moments = [rollout, aborted, observed, Some(self.drift.due())];
        let next = moments.into_iter().flatten().chain(instances).min();
        let next = next.unwrap_or_else(|| now.after(Duration::from_secs(3600)));
        tokio::time::Instant::from_std(self.clock.instant(next))
    }

    fn tick(&mut self) {
        if self.active.is_some() {
            self.event(rollout::Event::Tick);
        }
        if self.drift.due() <= self.clock.now() {
            self.look_for_drift();
        }
    }

    /// The status as it is now.
    fn status(&self) -> StatusView {
        let alarms: Vec<_> = self.alarms.values().cloned().collect();
        status(&StatusFacts {
            live: self.live.as_ref().map(|live| &live.live),
            candidate: self
                .verdict
                .as_ref()
                .map(|(revision, verdict)| (revision, verdict)),
            rollout: self.active.as_ref().map(|active| &active.rollout),
            services: &self.services,
            instances: &self.instances,
            reads: &self.reads,
            ledger: self.store.ledger(),
            source: self.source.view(),
            alarms: &alarms,
            now: self.clock.now(),
            time: Timestamp::now(),
        })
    }

    /// Wakes whoever watches the status, if it changed; tells what changed about candidates and instances.
    fn show(&mut self) {
        // Inside the pause nothing is made that is not the pause's own.
        if self.active.as_ref().is_some_and(|active| active.quiet) {
            return;
        }
        let status = self.status();
        if self.shown.as_ref().is_some_and(|shown| same(shown, &status)) {
            return;
        }
        self.metrics.follow(&status);
        self.tell_news(&status);
        // Only a record for people, which stops nothing.
        match self.runs.note(&status, Timestamp::now()) {
            Ok(()) => drop(self.alarms.remove("runs")),
            Err(error) => drop(self.alarms.insert("runs", error.to_string())),
        }
        self.shown = Some(status);
        self.changed.send_modify(|version| *version += 1);
    }
}

/// Whether two statuses differ in nothing but what time alone changes.
fn same(one: &StatusView, other: &StatusView) -> bool {
    let still = |status: &StatusView| {
        let mut status = status.clone();
        status.source.last_success = None;
        for instance in status
            .services
            .iter_mut()
            .flat_map(|service| &mut service.instances)
        {
            instance.uptime = None;
        }
        if let Some(held) = &mut status.held {
            held.until = None;
        }
        status
    };
    still(one) == still(other)
}
