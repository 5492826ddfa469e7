//! The agent's task: one loop over orders, the guard, the instances' folders, probes and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::ledger::back_off;
use lockstep_core::rollout::{CheckVerdict, Event, Evidence, MemberId, ProbeResult};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::Process;
use lockstep_protocol::RolloutId;
use notify::{RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::evidence::Heard;
use super::link::{Link, LinkError};
use super::{AgentSpec, Order, Report, Target, probes};
use crate::clock::Clock;

/// Statement files are looked at this often although nothing was heard: inotify is a doorbell, no evidence.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While a rollout waits for probes, they are not slower than this.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Why the agent could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the agent cannot watch the instances' folders: {0}")]
pub struct AgentFailed(#[from] notify::Error);

/// The agent. [`Agent::run`] ends when its orders' sender is gone, and joins all it started.
pub struct Agent {
    pub(super) spec: AgentSpec,
    clock: Clock,
    orders: mpsc::UnboundedReceiver<(u64, Order)>,
    /// How often the guard was lost.
    losses: u64,
    reports: mpsc::UnboundedSender<Report>,
    pub(super) pending: BTreeMap<u64, Pending>,
    heard: Heard,
    pub(super) work: JoinSet<Finished>,
    pub(super) probing: BTreeSet<ServiceName>,
    pub(super) probe_due: BTreeMap<ServiceName, Instant>,
    pub(super) offered: BTreeMap<ServiceName, RolloutId>,
    pub(super) pids: BTreeMap<ServiceName, u32>,
    doorbell: Arc<Notify>,
    /// Held for its drop: it ends the watch.
    _watcher: notify::RecommendedWatcher,
}

/// What an answer of the guard means.
pub(super) enum Pending {
    Examine {
        targets: Vec<Target>,
        unfit: BTreeMap<MemberId, String>,
    },
    Pause,
    Unpause,
    /// A signal to these.
    Tell(Vec<MemberId>),
    Start(ServiceName),
    StopToStart(ServiceName),
    Stop {
        service: ServiceName,
    },
    Shutdown,
    Release,
    Nothing,
}

/// What a task of the agent's came to.
pub(super) enum Finished {
    Probe {
        service: ServiceName,
        result: ProbeResult,
    },
    Check {
        rollout: RolloutId,
        service: ServiceName,
        verdict: CheckVerdict,
    },
}

/// How the conversation with the guard ended.
pub(super) enum Ended {
    Orders,
    Down,
    Deposed,
    Lost,
}

impl Agent {
    /// Sets up the agent.
    ///
    /// # Errors
    /// When nothing can be watched at all.
    pub fn new(
        spec: AgentSpec,
        clock: Clock,
        orders: mpsc::UnboundedReceiver<(u64, Order)>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<Self, AgentFailed> {
        let doorbell = Arc::new(Notify::new());
        let ring = Arc::clone(&doorbell);
        let heard = move |event: notify::Result<notify::Event>| {
            // Reading is no news, and our own reading would ring the bell for ever.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                ring.notify_one();
            }
        };
        // A link that a service put there leads to whatever it likes.
        let stay = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = notify::RecommendedWatcher::new(heard, stay)?;
        if let Err(error) = watcher.watch(spec.folders.base(), RecursiveMode::Recursive) {
            // Services can use up what the system has of watches, and they must not keep us from starting by it.
            tracing::warn!(%error, "the instances' folders are looked at every {LOOK_EVERY:?} alone");
        }
        Ok(Self {
            spec,
            clock,
            orders,
            losses: 0,
            reports,
            pending: BTreeMap::new(),
            heard: Heard::default(),
            work: JoinSet::new(),
            probing: BTreeSet::new(),
            probe_due: BTreeMap::new(),
            offered: BTreeMap::new(),
            pids: BTreeMap::new(),
            doorbell,
            _watcher: watcher,
        })
    }

    /// Works until there are no more orders, all is down, or a higher term has spoken.
    pub async fn run(mut self) {
        let mut tries = 0;
        loop {
            match Link::open(&self.spec).await {
                Ok((link, services)) => {
                    tries = 0;
                    let ages = services
                        .iter()
                        .filter_map(|known| {
                            let age = age(known.process.as_ref()?)?;
                            Some((ServiceName::new(&known.service), age))
                        })
                        .collect();
                    for known in &services {
                        if let Some(process) = &known.process {
                            self.pids.insert(ServiceName::new(&known.service), process.pid);
                        }
                    }
                    self.tell(Report::Connected { services, ages });
                    self.look(true);
                    match self.converse(link).await {
                        Ended::Orders | Ended::Down => break,
                        Ended::Deposed => {
                            self.tell(Report::Event(Event::Deposed));
                            break;
                        }
                        Ended::Lost => {
                            let pending = std::mem::take(&mut self.pending);
                            let asked = |what: fn(&Pending) -> bool| pending.values().any(what);
                            if asked(|asked| matches!(asked, Pending::Stop { .. })) {
                                self.tell(Report::Stopped(Err("the guard was lost".to_owned())));
                            }
                            if asked(|asked| matches!(asked, Pending::Shutdown)) {
                                let why = "the guard was lost while it ended everything, and whoever it had started \
                                           may live: try `lockstep down` again";
                                self.tell(Report::Down(Err(why.to_owned())));
                            }
                            self.losses += 1;
                            self.tell(Report::Event(Event::AgentLost));
                        }
                    }
                }
                Err(LinkError::Deposed { .. }) => {
                    self.tell(Report::Event(Event::Deposed));
                    break;
                }
                Err(error) => {
                    tries += 1;
                    tracing::error!(%error, "no guard");
                    // Trying again at once would only burn the processor: starting a guard has just failed.
                    tokio::select! {
                        () = tokio::time::sleep(back_off(tries)) => {}
                        order = self.orders.recv() => match order {
                            None => break,
                            Some((_, Order::Shutdown)) => {
                                let why = format!("the guard cannot be reached, and whoever it had started may live: {error}");
                                self.tell(Report::Down(Err(why)));
                            }
                            Some((losses, order)) if self.is_stale(losses, &order) => self.drop_stale(order),
                            // Nothing can be done now; the coordinator hears of it when the guard is back.
                            Some((_, order)) => self.refuse(order, "the guard cannot be reached"),
                        },
                    }
                }
            }
        }
        self.work.shutdown().await;
    }

    /// One conversation with the guard.
    async fn converse(&mut self, mut link: Link) -> Ended {
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            let probe_at = self.next_probe();
            let ended = tokio::select! {
                // The coordinator wants something. Receiving is cancel-safe.
                order = self.orders.recv() => match order {
                    None => return Ended::Orders,
                    Some((losses, order)) if self.is_stale(losses, &order) => {
                        self.drop_stale(order);
                        Ok(None)
                    }
                    Some((_, order)) => self.carry_out(order, &mut link).await,
                },
                // The guard answers, or tells something by itself. What was read is kept in the link.
                message = link.receive() => match message {
                    Ok(message) => self.heard_guard(message, &mut link).await,
                    Err(error) => Err(error),
                },
                // Something changed in an instance's folder.
                () = self.doorbell.notified() => {
                    self.look(false);
                    Ok(None)
                }
                // A doorbell may be missed.
                () = tokio::time::sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.look(false);
                    Ok(None)
                }
                // A probe is due.
                () = sleep_until(probe_at) => {
                    self.begin_probes();
                    Ok(None)
                }
                // A probe or a check came to its end.
                Some(finished) = self.work.join_next() => {
                    if let Ok(finished) = finished {
                        self.finish(finished);
                    }
                    Ok(None)
                }
            };
            match ended {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) => {
                    tracing::error!(%error, "the guard is lost");
                    return Ended::Lost;
                }
            }
        }
    }

    /// Whether an order was given before the loss of the guard was known. What ends something is carried out all the
    /// same.
    fn is_stale(&self, losses: u64, order: &Order) -> bool {
        losses < self.losses && !matches!(order, Order::Shutdown | Order::Release)
    }

    /// Whoever gave it hears of the loss, which answers everything but a stop.
    fn drop_stale(&self, order: Order) {
        if let Order::Stop(_) = order {
            self.refuse(order, "the guard was lost");
        }
    }

    pub(super) fn tell(&self, report: Report) {
        // The coordinator is gone only while the program ends.
        let _ = self.reports.send(report);
    }

    pub(super) fn look(&mut self, again: bool) {
        let names: Vec<_> = self
            .spec
            .definitions
            .iter()
            .map(|definition| ServiceName::new(&definition.service))
            .collect();
        for event in self.heard.look(&self.spec.folders, names.iter(), again) {
            self.tell(Report::Event(event));
        }
    }

    fn next_probe(&mut self) -> Option<Instant> {
        for service in self.spec.probes.keys() {
            self.probe_due.entry(service.clone()).or_insert_with(Instant::now);
        }
        self.probe_due.values().min().copied()
    }

    fn begin_probes(&mut self) {
        let now = Instant::now();
        for (service, probe) in &self.spec.probes {
            let Some(due) = self.probe_due.get_mut(service).filter(|due| **due <= now) else {
                continue;
            };
            let every = if self.probing.contains(service) {
                probe.every.min(PROBE_EVERY)
            } else {
                probe.every
            };
            *due = now + every;
            let (kind, service, began) = (probe.kind.clone(), service.clone(), self.clock.now());
            self.work.spawn(async move {
                let failure = probes::look(&kind).await;
                Finished::Probe {
                    service,
                    result: ProbeResult { began, failure },
                }
            });
        }
    }

    fn finish(&mut self, finished: Finished) {
        self.tell(match finished {
            Finished::Probe { service, result } => Report::Event(Event::Evidence {
                member: MemberId::only(&service),
                evidence: Evidence::Probed(result),
            }),
            Finished::Check {
                rollout,
                service,
                verdict,
            } => Report::Checked {
                rollout,
                service,
                verdict,
            },
        });
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// For how long a process has lived.
fn age(process: &Process) -> Option<Duration> {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(since_boot.tv_sec).ok()?,
        u32::try_from(since_boot.tv_nsec).ok()?,
    );
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Some(now.saturating_sub(Duration::from_millis(
        process.start_ticks.saturating_mul(1000) / ticks,
    )))
}
