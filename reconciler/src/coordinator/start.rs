//! Starting: the order in which a coordinator comes to hold everything, and what it takes up again.
//!
//! 1. The state folder, its ledger and its events.
//! 2. The volume is opened, which finds its numbers and takes its lock.
//! 3. A term above every one known is claimed from the guard (whose hello deposes an older coordinator and
//!    thaws what that had paused), and then fences the volume.
//! 4. What is live is taken up from the volume itself, so that services are started before any git server
//!    was asked; the mirror's better knowledge (the policy) replaces it when it comes.
//! 5. A rollout without an outcome in the journal is taken up by [`rollout::recover`], once the guard says
//!    who lives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::admission::Live;
use lockstep_core::ledger::SettledTree;
use lockstep_core::rollout::{self, Event, MemberId};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Definition, Supervised};
use lockstep_protocol::{InstanceToken, SwitchNumber, env};
use lockstep_volume::{
    Current, FenceError, Found, Intent, OpenError, OpenOptions, OutcomeKind, Side, Term, Volume,
};
use tokio::sync::{mpsc, watch};

use super::volume::VolumeThread;
use super::{Active, Coordinator, End, Handle, LiveRelease, Request, drift};
use crate::agent::{self, Agent, AgentFailed, AgentSpec, Folders, Order};
use crate::candidate::worker::{self, Base, Worker};
use crate::candidate::{Reader, Validated};
use crate::clock::Clock;
use crate::events::{Event as Record, EventLog};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::store::{LedgerStore, StoreError};

/// How long the first statements and probes of living instances are waited for before a candidate is tried.
const OBSERVE: Duration = Duration::from_secs(2);

/// How to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Go on although another reconciler holds the volume: the term fences it.
    pub take_over: bool,
}

/// Why the reconciler does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be used.
    #[error(
        "the state folder {path} cannot be used: {source}; set [state] path to a folder this user may write"
    )]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The ledger cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The instances' folders cannot be used.
    #[error(transparent)]
    Folders(#[from] agent::FolderError),
    /// The agent cannot be set up.
    #[error(transparent)]
    Agent(#[from] AgentFailed),
    /// The guard cannot be reached.
    #[error(transparent)]
    Guard(#[from] agent::LinkError),
    /// The volume cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The volume cannot be taken over.
    #[error(transparent)]
    Fence(#[from] FenceError),
    /// A release on the volume cannot be read.
    #[error("the release {release} on the volume cannot be read: {reason}")]
    Release {
        /// Its name.
        release: String,
        /// Why.
        reason: String,
    },
    /// The source's settings cannot be used.
    #[error(transparent)]
    Source(#[from] worker::WorkerError),
    /// The web port or the control socket cannot be opened.
    #[error(transparent)]
    Web(#[from] crate::web::WebError),
    /// The system gives no thread or no program path.
    #[error("{0}")]
    System(std::io::Error),
}

/// A rollout without an outcome, and what `current` pointed to.
#[derive(Debug)]
pub(super) struct Recovering {
    intent: Intent,
    current: Option<SwitchNumber>,
    candidate: Option<Arc<Validated>>,
}

/// Runs the reconciler until a signal, `lockstep down` or a higher term ends it.
///
/// # Errors
/// When it cannot start: each error names the next step.
pub async fn run(settings: Settings, options: Options) -> Result<End, StartError> {
    let settings = Arc::new(settings);
    let clock = Clock::start();
    let state = &settings.state;
    std::fs::create_dir_all(state).map_err(|source| StartError::State {
        path: state.clone(),
        source,
    })?;
    let store = LedgerStore::open(state)?;
    let events = EventLog::open(state).map_err(|source| StartError::State {
        path: state.clone(),
        source,
    })?;
    let folders = Folders::open(state)?;
    let program = std::env::current_exe().map_err(StartError::System)?;

    let highest_stated = settings
        .services
        .iter()
        .filter_map(|service| folders.status(&service.name).ok().flatten()?.switch)
        .max()
        .unwrap_or(SwitchNumber(0));
    let unfenced = Volume::open(
        &settings.volume.path,
        OpenOptions {
            keep: settings.volume.keep,
            take_over: options.take_over,
            term_at_least: Term(store.term()),
            switch_at_least: highest_stated.max(store.switch()),
            ..OpenOptions::default()
        },
    )?;
    let mut spec = AgentSpec {
        state: state.clone(),
        program,
        term: unfenced.highest_term().next().0,
        definitions: settings
            .services
            .iter()
            .map(|service| definition(service, &settings, &folders))
            .collect(),
        folders,
        probes: settings
            .services
            .iter()
            .filter_map(|service| Some((service.name.clone(), service.probe.clone()?)))
            .collect(),
    };
    spec.term = agent::claim(&spec).await?;
    let (mut volume, found) = unfenced.fence(Term(spec.term))?;
    let term = spec.term;

    let readers = Reader::all(&settings);
    let mut taken = take_up(&mut volume, found, &settings, &readers)?;
    let base = Base {
        settled: taken.live.as_ref().map(|live| Arc::clone(&live.validated)),
    };
    let (base, base_of_worker) = watch::channel(base);
    let (seen_by, seen) = mpsc::unbounded_channel();
    let (source, blobs) = Worker::start(
        state.join("mirror.git"),
        settings.source.spec.clone(),
        settings.source.interval,
        Arc::clone(&readers),
        base_of_worker,
        seen_by,
    )?;
    let revisions = [
        taken.live.as_ref().map(|live| live.live.published.clone()),
        taken
            .recovering
            .as_ref()
            .map(|recovering| recovering.intent.to.revision.clone()),
    ];
    for revision in revisions.into_iter().flatten() {
        source.ask(worker::Request::TakeUp(revision));
    }
    source.ask(worker::Request::Look);

    let drift = drift::Watch::start(volume.path(), &clock);
    let highest_switch = volume.highest_switch();
    let (done_by, done) = mpsc::unbounded_channel();
    let volume = VolumeThread::start(volume, blobs, done_by).map_err(StartError::System)?;
    let (orders, orders_of_agent) = mpsc::unbounded_channel();
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
    let web = crate::web::start(&settings, handle, options.take_over).await?;
    // Signals are caught from here on: before, an end by a signal is the system's own.
    let signals = crate::cli::Signals::catch().map_err(StartError::System)?;
    events.append([Record {
        message: format!("term {term}"),
        ..Record::new("Started")
    }]);

    let mut reads = lockstep_core::instances::ReadsTable::default();
    for validated in taken.all() {
        reads.insert(validated.digest(), validated.reads().clone());
    }
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
        aborted: None,
        active: None,
        recovering: taken.recovering.take(),
        instances: lockstep_core::instances::Instances::new(),
        reads,
        source_view: lockstep_core::status::SourceView::default(),
        alarms: taken.alarms,
        highest_switch,
        syncs: Vec::new(),
        connected: false,
        observed_at: None,
        drift,
        healing: taken.healing,
        pids: BTreeMap::new(),
        aside: tokio::task::JoinSet::new(),
        down: None,
        shown: None,
        end: None,
    };
    coordinator.store.note_numbers(term, highest_switch);
    coordinator.catch_up_ledger(taken.settled);
    let end = coordinator.work(signals).await;
    // In this order: no more requests, then the agent's orders end, then the threads are joined.
    web.stop().await;
    coordinator.aside.shutdown().await;
    drop(coordinator);
    // The agent ends by itself when its orders do.
    let _ = agent.await;
    Ok(end)
}

/// What was taken up from the volume.
struct Taken {
    live: Option<LiveRelease>,
    recovering: Option<Recovering>,
    /// A rollout that settled by the journal, for a ledger that was not flushed any more.
    settled: Option<SettledTree>,
    alarms: BTreeMap<&'static str, String>,
    healing: Option<BTreeMap<ServiceName, rollout::Effect>>,
}

impl Taken {
    fn all(&self) -> impl Iterator<Item = &Arc<Validated>> {
        let live = self.live.as_ref().map(|live| &live.validated);
        let candidate = self
            .recovering
            .as_ref()
            .and_then(|recovering| recovering.candidate.as_ref());
        live.into_iter().chain(candidate)
    }
}

fn take_up(
    volume: &mut Volume,
    found: Found,
    settings: &Settings,
    readers: &[Reader],
) -> Result<Taken, StartError> {
    let mut taken = Taken {
        live: None,
        recovering: None,
        settled: None,
        alarms: BTreeMap::new(),
        healing: None,
    };
    let current = match &found.current {
        Current::Live { switch, .. } | Current::Dangling { switch, .. } => Some(*switch),
        Current::None | Current::Foreign { .. } => None,
    };
    let journal = found.journal;
    let open = journal
        .as_ref()
        .filter(|record| record.outcome().is_none())
        .and_then(|record| record.intent().cloned());
    if let Some(record) = &journal
        && let (Some(intent), Some(outcome)) = (record.intent(), record.outcome())
        && outcome.kind == OutcomeKind::Settled
    {
        taken.settled = Some(SettledTree {
            revision: intent.to.revision.clone(),
            digest: intent.to.digest,
            at: outcome.ended,
        });
    }
    if let Some(intent) = open {
        if let Some(from) = &intent.from {
            taken.live = read_side(volume, from, settings, readers)?;
        }
        let candidate = read_side(volume, &intent.to, settings, readers)?.map(|side| side.validated);
        taken.recovering = Some(Recovering {
            intent,
            current,
            candidate,
        });
        return Ok(taken);
    }
    match found.current {
        Current::None => {}
        Current::Live {
            switch,
            release,
            document,
            ..
        } => {
            let side = Side {
                switch,
                revision: document.revision,
                digest: document.digest,
                release,
            };
            taken.live = read_side(volume, &side, settings, readers)?;
        }
        Current::Dangling { target, .. } => {
            taken.lost(format!("`current` points to {}, which is gone", target.display()));
        }
        Current::Foreign { target } => {
            let target = target.map_or_else(
                || "no link".to_owned(),
                |to| format!("a link to {}", to.display()),
            );
            taken.lost(format!("`current` is {target}, which is none of Lockstep's"));
        }
    }
    Ok(taken)
}

impl Taken {
    fn lost(&mut self, what: String) {
        let message = format!("{what}: the head of the branch is rolled out as if it were the first release");
        tracing::error!("{message}");
        self.alarms.insert("drift", message);
    }
}

/// A release on the volume, with what can be known of it without git.
fn read_side(
    volume: &mut Volume,
    side: &Side,
    settings: &Settings,
    readers: &[Reader],
) -> Result<Option<LiveRelease>, StartError> {
    let unreadable = |reason: String| StartError::Release {
        release: side.release.to_string(),
        reason,
    };
    let Some(tree) = volume
        .tree_of(&side.release)
        .map_err(|error| unreadable(error.to_string()))?
    else {
        return Ok(None);
    };
    let folder = volume
        .path()
        .join(".lockstep/releases")
        .join(side.release.as_str());
    let document = std::fs::read(folder.join(lockstep_protocol::RELEASE_FILE))
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
        .map_err(unreadable)?;
    let prefix = &settings.source.spec.path;
    let validated = Validated::from_release(&document, tree, &folder, prefix, readers)
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Some(LiveRelease {
        live: Live {
            revision: side.revision.clone(),
            digest: side.digest,
            switch: side.switch,
            published: side.revision.clone(),
        },
        release: side.release.clone(),
        validated: Arc::new(validated),
    }))
}

impl Coordinator {
    /// What the journal knows and the ledger does not, because the program died between the two.
    fn catch_up_ledger(&mut self, settled: Option<SettledTree>) {
        let known = |tree: &SettledTree, store: &LedgerStore| {
            store
                .ledger()
                .settled
                .iter()
                .any(|known| known.revision == tree.revision && known.digest == tree.digest)
        };
        if let Some(tree) = settled.filter(|tree| !known(tree, &self.store)) {
            let reads = self.reads.of(&tree.digest).cloned().unwrap_or_default();
            let noted = self.store.change(|ledger| ledger.note_settled(tree, &reads));
            self.remember(noted);
        }
        // The newest commit with the live files is what people call live.
        if let Some(live) = &mut self.live
            && let Some(last) = self.store.ledger().last_settled()
            && last.digest == live.live.digest
        {
            live.live.revision = last.revision.clone();
        }
    }

    /// The mirror knows a revision that was taken up from the volume, its policy included.
    pub(super) fn taken_up(&mut self, validated: Arc<Validated>) {
        self.reads.insert(validated.digest(), validated.reads().clone());
        let fits = |known: &Validated| {
            known.digest() == validated.digest() && known.revision() == validated.revision()
        };
        if let Some(live) = self.live.as_mut().filter(|live| fits(&live.validated)) {
            live.validated = Arc::clone(&validated);
            self.base.send_replace(Base {
                settled: Some(Arc::clone(&validated)),
            });
        }
        if let Some(candidate) = self
            .active
            .as_mut()
            .and_then(|active| active.candidate.as_mut())
            .filter(|known| fits(known))
        {
            *candidate = Arc::clone(&validated);
        }
        if let Some(candidate) = self
            .recovering
            .as_mut()
            .and_then(|recovering| recovering.candidate.as_mut())
            .filter(|known| fits(known))
        {
            *candidate = validated;
        }
    }

    /// The guard answers: who lives is known, and whoever should live and does not is started.
    pub(super) fn connected(&mut self, services: &[Supervised], ages: &BTreeMap<ServiceName, Duration>) {
        let now = self.clock.now();
        let mut alive = BTreeMap::new();
        for known in services {
            let name = ServiceName::new(&known.service);
            let id = MemberId::only(&name);
            let instance = self.instances.entry(id.clone()).or_default();
            instance.restarts = known.restarts;
            match &known.process {
                Some(process) => {
                    let age = ages.get(&name).copied().unwrap_or_default();
                    let since = rollout::Moment(now.0.saturating_sub(age));
                    let token = InstanceToken(process.instance.clone());
                    instance.note_started(token.clone(), process.pid, since);
                    alive.insert(id, token);
                }
                None => instance.alive = None,
            }
        }
        for (name, _) in &self.services {
            self.instances.entry(MemberId::only(name)).or_default();
        }
        let unwanted: Vec<_> = alive
            .keys()
            .map(|id| id.service.clone())
            .filter(|name| self.settings.service(name).is_none())
            .collect();
        if !unwanted.is_empty() {
            tracing::warn!(services = ?unwanted, "not in the settings any more: stopped");
            self.instances.retain(|id, _| !unwanted.contains(&id.service));
            let _ = self.orders.send(Order::Dismiss(unwanted));
        }
        if !self.connected {
            self.connected = true;
            self.observed_at = Some(now.after(OBSERVE));
        }
        if let Some(recovering) = self.recovering.take() {
            self.recover(recovering, alive);
        } else if let Some(active) = &self.active {
            // What was held belonged to the connection that is gone.
            let services = active
                .rollout
                .members
                .keys()
                .map(|id| id.service.clone())
                .collect();
            let _ = self.orders.send(Order::Hold(services));
            self.event(Event::AgentBack { alive });
        }
        self.start_the_dead();
    }

    /// With a release that settled, supervised services are started before any git server was asked.
    fn start_the_dead(&self) {
        if self.live.is_none() {
            return;
        }
        let rolling = |name: &ServiceName| {
            self.active
                .as_ref()
                .is_some_and(|active| active.rollout.members.contains_key(&MemberId::only(name)))
        };
        let dead: Vec<_> = self
            .services
            .iter()
            .map(|(name, _)| name)
            .filter(|name| {
                let instance = self.instances.get(&MemberId::only(name));
                instance.is_none_or(|instance| instance.alive.is_none()) && !rolling(name)
            })
            .cloned()
            .collect();
        if !dead.is_empty() {
            let _ = self.orders.send(Order::Start(dead));
        }
    }

    /// Takes up a rollout that has no outcome.
    fn recover(&mut self, recovering: Recovering, alive: BTreeMap<MemberId, InstanceToken>) {
        let Recovering {
            intent,
            current,
            candidate,
        } = recovering;
        let rollout: rollout::Rollout = match serde_json::from_value(intent.detail.clone()) {
            Ok(rollout) => rollout,
            Err(error) => {
                // Written by a version that is not understood: what is known without it is enough to go on.
                tracing::error!(%error, "the intent in the journal is not understood; the head is judged anew");
                return;
            }
        };
        let found = rollout::Found {
            current,
            quarantined: self.store.ledger().quarantine_of(&intent.to.revision).is_some(),
            alive,
        };
        tracing::warn!(rollout = %rollout.id, ?current, "taking up a rollout that has no outcome");
        let (rollout, commands) = rollout::recover(rollout, &found, self.clock.now());
        self.active = Some(Active {
            rollout,
            candidate,
            release_from: intent.from.map(|from| from.release),
            release_to: Some(intent.to.release),
            staged: None,
            current,
            switched: None,
            began: Instant::now(),
            seen: Instant::now(),
            pause: None,
            quiet: false,
            waiting: Vec::new(),
            phase_began: Instant::now(),
        });
        self.follow("", commands);
    }
}

fn definition(service: &crate::settings::Service, settings: &Settings, folders: &Folders) -> Definition {
    let run_dir = folders.of(&service.name);
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut environment = service.process.env.clone();
    environment.insert(env::CONFIG.to_owned(), path(&settings.volume.path));
    environment.insert(env::STATUS_FILE.to_owned(), path(&run_dir.join(agent::STATUS)));
    environment.insert(env::OFFER_FILE.to_owned(), path(&run_dir.join(agent::OFFER)));
    Definition {
        service: service.name.to_string(),
        command: service.process.command.clone(),
        cwd: service.process.cwd.clone(),
        env: environment,
        user: service.process.user.clone(),
        output: settings.state.join("log").join(format!("{}.log", service.name)),
        run_dir,
        stop_signal: service.process.stop_signal.clone(),
        stop_within_ms: u64::try_from(service.process.stop_within.as_millis()).unwrap_or(u64::MAX),
        restart: service.process.restart,
    }
}
