//! Starting: the order in which a coordinator comes to hold everything, and what it takes up again.
//!
//! 1. The state folder, its lock, the web port, and the numbers that the folder knows. Until here nothing is
//!    changed, so a start that fails leaves everything as it was.
//! 2. The volume is opened, which finds its numbers and takes its lock.
//! 3. A term above every one known is claimed from the guard (whose hello deposes an older coordinator and
//!    thaws what that had paused), and then fences the volume and the state folder: only then are its ledger and
//!    events read.
//! 4. What is live is taken up from the volume itself, so that services are started before any git server
//!    was asked; the mirror's better knowledge (the policy) replaces it when it comes.
//! 5. A rollout without an outcome in the journal is taken up by [`rollout::recover`], once the guard says
//!    who lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::instances::ReadsTable;
use lockstep_core::service::Pause;
use lockstep_protocol::SwitchNumber;
use lockstep_volume::{OpenOptions, Term, Unfenced, Volume};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use super::failed::StartError;
use super::source::Source;
use super::spec::{definition, outputs, surroundings};
use super::take_up::{note_stated, take_up};
use super::volume::VolumeThread;
use super::{Coordinator, End, Handle, LiveRelease, Request, adopt, drift, observe, reread};
use crate::agent::{self, Agent, AgentSpec, Folders, Orders, Terms};
use crate::candidate::worker::{self, Base, Worker};
use crate::candidate::{Judges, Reader};
use crate::cli::{Asked, Signals};
use crate::clock::Clock;
use crate::daytime::DayTimer;
use crate::events::{Event as Record, EventLog};
use crate::history::History;
use crate::metrics::Metrics;
use crate::runs::Runs;
use crate::settings::{SETTINGS, Settings};
use crate::store::{self, Desk, LedgerStore, StateLock};
use crate::telemetry::{self, Steps};
use crate::web::{self, Port, Web};

/// How to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Go on although another reconciler holds the volume: the term fences it.
    pub take_over: bool,
    /// Keep aside what lies in the volume's folder before it is one.
    pub adopt: bool,
    /// To begin anew in the place of itself.
    pub anew: bool,
    /// Why other settings than these are not used, if somebody wanted others.
    pub refused: Option<String>,
}

/// What lasts while the reconciler begins anew with other settings, in the same process.
#[derive(Default)]
pub struct Lasting {
    signals: Option<Signals>,
    /// Caught from the very first on: it may come at any time, and must not end a start.
    hangups: Option<Signal>,
    /// The state folder is this program's until it ends: nobody else takes over while it cannot begin anew.
    lock: Option<StateLock>,
    pub(super) doors: web::Kept,
    /// The terms that it held over volume and guard, as long as it did not only observe.
    pub(super) terms: Terms,
    /// The number under which the state folder was taken last: a higher one there is a successor's.
    pub(super) desk: Option<u64>,
}

impl Lasting {
    /// Whether the loop was reached before.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.signals.is_some()
    }

    /// Stands at the doors while nobody works behind them: tells everybody why, and ends for `down`. Gives what is asked
    /// for within this time, if anything is.
    pub async fn stand_in(&mut self, why: &str, time: Duration) -> Option<Asked> {
        let signals = self.signals.as_mut()?;
        tokio::select! {
            asked = signals.asked() => Some(asked),
            down = web::stand_in(&self.doors, why, time) => down.then_some(Asked::End),
        }
    }

    /// The signals, caught from the first time on that somebody asks for them.
    pub(super) fn signals(&mut self) -> Result<&mut Signals, StartError> {
        match &mut self.signals {
            Some(signals) => Ok(signals),
            none => {
                let signals = match self.hangups.take() {
                    Some(hangups) => Signals::catch_with(hangups),
                    None => Signals::catch(),
                };
                Ok(none.insert(signals.map_err(StartError::System)?))
            }
        }
    }
}

/// How far above the highest known number a stated switch is believed: a remade volume and state may be behind
/// what an instance runs, but no volume has made this many switches more.
pub(super) const BELIEVED: u64 = 1_000_000;

/// Runs the reconciler until a signal, `lockstep down` or a higher term ends it.
///
/// # Errors
/// When it cannot start: each error names the next step.
pub async fn run(settings: Settings, options: Options, lasting: &mut Lasting) -> Result<End, StartError> {
    if !lasting.has_run() && lasting.hangups.is_none() {
        lasting.hangups = Some(Signals::hangups().map_err(StartError::System)?);
    }
    let settings = Arc::new(settings);
    let clock = Clock::start();
    let state = &settings.state;
    std::fs::create_dir_all(state).map_err(|source| StartError::State {
        path: state.clone(),
        source,
    })?;
    if lasting.lock.is_none() {
        lasting.lock = StateLock::take(state)?;
    }
    // One that took over holds no lock: that one answers.
    if !options.take_over && !options.anew && (lasting.lock.is_none() || web::answers(state).await) {
        return Err(StartError::InUse { path: state.clone() });
    }
    let (term_known, switch_known) = store::numbers(state)?;
    // One that begins anew and was taken over from meanwhile changes nothing any more.
    if lasting.desk.is_some_and(|desk| term_known > desk) {
        return Ok(End::Deposed);
    }
    let port = Port::open(&settings, options.take_over, &lasting.doors)?;
    if settings.rollout.observe {
        return observe::run(Arc::clone(&settings), options.refused, port, lasting).await;
    }
    let folders = Folders::open(state)?.with_files_of(&settings.services);
    let program = std::env::current_exe().map_err(StartError::System)?;

    let highest_stated = settings
        .services
        .iter()
        .filter_map(|service| folders.status(&service.name).ok().flatten()?.switch)
        .filter(|switch| switch.0 <= switch_known.0.saturating_add(BELIEVED))
        .max()
        .unwrap_or(SwitchNumber(0));
    let switch_used = highest_stated.max(switch_known);
    let unfenced = Volume::open(
        &settings.volume.path,
        OpenOptions {
            keep: settings.volume.keep,
            take_over: options.take_over || (options.anew && lasting.terms.held.is_some()),
            adopt: options.adopt,
            term_at_least: Term(term_known),
            switch_at_least: switch_used,
            ..OpenOptions::default()
        },
    )
    .map_err(|error| adopt::explained(error, &settings))?;
    if options.adopt && !unfenced.adopts() {
        tracing::info!(
            "--adopt: the folder is empty or a volume of Lockstep's already, nothing is taken over"
        );
    }
    let mut spec = AgentSpec {
        state: state.clone(),
        program,
        term: unfenced.highest_term().next().0,
        definitions: settings
            .services
            .iter()
            .filter_map(|service| definition(service, &settings, &folders))
            .collect(),
        foreign: settings
            .services
            .iter()
            .filter_map(|service| Some((service.name.clone(), service.foreign()?.clone())))
            .collect(),
        outputs: outputs(&settings),
        surroundings: settings
            .services
            .iter()
            .map(|service| (service.name.clone(), surroundings(service, &settings, &folders)))
            .collect(),
        folders,
        paused: settings
            .services
            .iter()
            .filter(|service| service.pause == Pause::Freeze)
            .map(|service| (service.name.clone(), settings.rollout.pause_limit))
            .collect(),
        volume: settings.volume.path.clone(),
        probes: settings
            .services
            .iter()
            .filter_map(|service| Some((service.name.clone(), service.probe.clone()?)))
            .collect(),
    };
    let held = lasting.terms.held;
    if held.is_some_and(|held| unfenced.highest_term().0 > held) {
        return Ok(End::Deposed);
    }
    spec.term = match agent::claim(&spec, &mut lasting.terms).await {
        Err(agent::LinkError::Deposed { .. }) if held.is_some() => return Ok(End::Deposed),
        claimed => claimed?,
    };
    lasting.terms.held = Some(spec.term);
    lasting.desk = Some(spec.term);
    let claimed = spec.clone();
    let run = begin(
        settings,
        clock,
        unfenced,
        spec,
        switch_used,
        port,
        &mut lasting.doors,
    )
    .await;
    match run {
        Ok((mut coordinator, doors)) => {
            // Caught from here on: before, an end by a signal is the system's own.
            let signals = lasting.signals()?;
            if let Some(reason) = options.refused {
                coordinator.alarms.insert(reread::ALARM, reason);
            }
            Ok(doors.hold(coordinator, signals).await)
        }
        Err(error) => {
            // A guard that was started for this start, and has nobody to guard.
            agent::end_unused(&claimed).await;
            Err(error)
        }
    }
}

/// What goes on beside the coordinator's loop, and ends after it.
struct Doors {
    web: Web,
    agent: tokio::task::JoinHandle<()>,
}

impl Doors {
    /// Runs the loop to its end.
    async fn hold(self, mut coordinator: Coordinator, signals: &mut Signals) -> End {
        let end = coordinator.work(signals).await;
        // In this order: no more requests, then the agent's orders end, then the threads are joined.
        self.web.stop().await;
        coordinator.aside.shutdown().await;
        drop(coordinator);
        // The agent ends by itself when its orders do.
        let _ = self.agent.await;
        end
    }
}

/// Takes up everything under the claimed term.
async fn begin(
    settings: Arc<Settings>,
    clock: Clock,
    unfenced: Unfenced,
    spec: AgentSpec,
    switch_used: SwitchNumber,
    port: Port,
    kept: &mut web::Kept,
) -> Result<(Coordinator, Doors), StartError> {
    let state = &settings.state.clone();
    let term = spec.term;
    let (mut volume, mut found) = unfenced.fence(Term(term))?;
    let adopted = found.adopted.take().map(adopt::told);
    // Only now: a coordinator that is deposed by this may have written until here.
    let desk = Desk::take(state, term)?;
    desk.write(SETTINGS, settings.file.as_os_str().as_encoded_bytes())?;
    let events = EventLog::open(state, &desk)?;
    let history = History::open(state, &desk)?;
    let runs = Runs::open(state, &desk)?;
    let store = LedgerStore::open(desk)?;

    let readers = Reader::all(&settings);
    let mut taken = take_up(&mut volume, found, store.ledger(), &settings, &readers)?;
    // The newest commit with the live files is what people call live, and what the head has to descend from.
    let newest = |live: &LiveRelease| match store.ledger().last_settled() {
        Some(last) if last.digest == live.live.digest => last.revision.clone(),
        Some(_) | None => live.live.revision.clone(),
    };
    let newest = taken.live.as_ref().map(newest);
    let (base, base_of_worker) = watch::channel(Base {
        live: taken.live.as_ref().map(|live| Arc::clone(&live.validated)),
        settled: newest.clone(),
        before: store.ledger().settled_digests(),
    });
    let (seen_by, seen) = mpsc::unbounded_channel();
    let steps = Steps::default();
    let (worker, blobs) = Worker::start(
        state.join("mirror.git"),
        settings.source.spec.clone(),
        settings.source.interval,
        Judges::all(&settings),
        base_of_worker,
        seen_by,
        steps.clone(),
    )?;
    let mut source = Source::new(worker, settings.source.spec.branch.clone());
    let mut reads = ReadsTable::default();
    for validated in taken.all() {
        reads.insert(validated.digest(), validated.reads().clone());
    }
    let stated: Vec<_> = settings
        .services
        .iter()
        .filter_map(|service| {
            let status = spec.folders.status(&service.name).ok().flatten()?;
            Some((service.name.clone(), status.digest?, status.revision?))
        })
        .collect();
    let digests = stated.iter().map(|(_, digest, _)| *digest);
    note_stated(&mut volume, digests, &settings, &readers, &mut reads);
    // What is not kept any more may still be known by the mirror.
    let unknown = stated
        .iter()
        .filter(|(_, digest, _)| reads.of(digest).is_none())
        .map(|(_, _, revision)| revision.clone());
    let revisions = [
        taken.live.as_ref().map(|live| live.live.published.clone()),
        newest,
        taken.lost.as_ref().map(|lost| lost.tree.revision.clone()),
        taken
            .recovering
            .as_ref()
            .map(|recovering| recovering.intent.to.revision.clone()),
    ];
    for revision in revisions.into_iter().flatten().chain(unknown) {
        source.ask(worker::Request::TakeUp(revision));
    }
    source.look();

    let drift = drift::Watch::start(volume.path(), &clock);
    let highest_switch = volume.highest_switch();
    let (done_by, done) = mpsc::unbounded_channel();
    let volume = VolumeThread::start(volume, blobs, done_by, steps.clone()).map_err(StartError::System)?;
    let (orders, orders_of_agent) = Orders::channel();
    let (reports_by, reports) = mpsc::unbounded_channel();
    let agent = tokio::spawn(Agent::new(spec, clock, orders_of_agent, reports_by)?.run());

    let metrics = Arc::new(Metrics::new());
    let changed = Arc::new(watch::Sender::new(0));
    let (requests_by, requests) = mpsc::unbounded_channel::<Request>();
    let handle = Handle {
        requests: requests_by,
        changed: changed.subscribe(),
        events: Arc::clone(&events),
        metrics: Arc::clone(&metrics),
    };
    let web = web::start(&settings, handle, port, kept)?;
    let started = Record {
        message: format!("term {term}"),
        ..Record::new("Started")
    };
    events.append([started].into_iter().chain(adopted));

    let day_timer = DayTimer::new().map_err(StartError::System)?;
    let mut coordinator = Coordinator {
        services: settings
            .services
            .iter()
            .map(|service| (service.name.clone(), service.verify))
            .collect(),
        settings,
        readers,
        clock,
        term,
        store,
        events,
        history,
        runs,
        metrics,
        orders,
        reports,
        volume,
        done,
        source,
        seen,
        base,
        requests,
        changed,
        live: taken.live.take(),
        head: None,
        verdict: None,
        windows: super::windows::Known::default(),
        day_timer,
        aborted: None,
        unhealed: None,
        active: None,
        recovering: taken.recovering.take(),
        instances: lockstep_core::instances::Instances::new(),
        stated: stated
            .into_iter()
            .map(|(name, digest, _)| (name, digest))
            .collect(),
        reads,
        alarms: taken.alarms,
        unusable: BTreeMap::new(),
        highest_switch,
        connected: false,
        observed_at: None,
        drift,
        tidied: false,
        healing: taken.healing,
        lost: taken.lost,
        pids: BTreeMap::new(),
        ended: std::collections::BTreeSet::new(),
        backing_off: std::collections::BTreeSet::new(),
        looping: std::collections::BTreeSet::new(),
        looked_for: None,
        aside: tokio::task::JoinSet::new(),
        down: None,
        stopping: false,
        shown: None,
        reread: false,
        settings_next: None,
        end: None,
    };
    // Not what the journal only promised: the way back of a rollout that is taken up still needs its number.
    coordinator.store.note_numbers(term, switch_used);
    coordinator.catch_up_ledger(taken.settled);
    // The spare of the process before was thrown away; the first change should not wait for one.
    coordinator.tidy();
    coordinator.tell_late(taken.ended);
    let (collector, events) = (
        coordinator.settings.telemetry.clone(),
        Arc::clone(&coordinator.events),
    );
    coordinator.aside.spawn(telemetry::run(collector, events, steps));
    let doors = Doors { web, agent };
    Ok((coordinator, doors))
}
