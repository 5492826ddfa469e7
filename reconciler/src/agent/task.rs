//! The agent's task: one loop over orders, the guard, the instances' folders, probes and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lockstep_core::rollout::{Answer, CheckVerdict, Event, Evidence, MemberId, ProbeResult};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Body, Process};
use lockstep_protocol::{RolloutId, SwitchNumber};
use notify::{RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::evidence::Heard;
use super::foreign::Followed;
use super::link::{ANSWER_WITHIN, Link, LinkError};
use super::pending::{Asked, Pending};
use super::requests::answered;
use super::{AgentSpec, Order, Report, Target, foreign};
use crate::clock::Clock;

/// Statement files are looked at this often although nothing was heard: inotify is a doorbell, no evidence.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While a rollout is under way, the files of services that somebody else runs: they lie anywhere, and no bell is there.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(20);
/// A guard that has said nothing for this long is asked whether it is there: what it has been asked may take as long
/// as a service takes to end, and with nothing asked of it nobody would notice that it hangs.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// Why the agent could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the agent cannot watch the instances' folders: {0}")]
pub struct AgentFailed(#[from] notify::Error);

/// The agent. [`Agent::run`] ends when its orders' sender is gone, and joins all it started.
pub struct Agent {
    pub(super) spec: AgentSpec,
    pub(super) clock: Clock,
    pub(super) orders: mpsc::UnboundedReceiver<(u64, Order)>,
    /// How often the guard was lost.
    pub(super) losses: u64,
    /// How many examinations were ordered: only the newest is waited for.
    pub(super) examinations: u64,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) pending: BTreeMap<u64, Asked>,
    pub(super) heard: Heard,
    pub(super) work: JoinSet<Finished>,
    pub(super) probing: BTreeSet<ServiceName>,
    pub(super) probe_due: BTreeMap<ServiceName, Instant>,
    /// Whose probe is a command that has not ended: never two at once.
    pub(super) commands: BTreeMap<ServiceName, AbortHandle>,
    /// Reloads over HTTP that are not answered: one a service.
    pub(super) requests: BTreeMap<ServiceName, AbortHandle>,
    pub(super) offered: BTreeMap<ServiceName, RolloutId>,
    pub(super) pids: BTreeMap<ServiceName, u32>,
    /// Services that somebody else runs.
    pub(super) followed: BTreeMap<ServiceName, Followed>,
    /// A rollout is under way.
    pub(super) rolling: bool,
    /// Output files are being moved aside: set it to have quiet.
    pub(super) rotating: Option<Arc<AtomicBool>>,
    doorbell: Arc<Notify>,
    /// Held for its drop: it ends the watch.
    _watcher: notify::RecommendedWatcher,
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
    /// Whether these listen where they are to be told, as an examination begins.
    Listened {
        targets: Vec<Target>,
        unfit: BTreeMap<MemberId, String>,
        /// Which examination it was.
        examination: u64,
    },
    /// A reload over HTTP was answered.
    Answered {
        target: Target,
        /// The switch that it is about; none: it was owed.
        switch: Option<SwitchNumber>,
        answer: Answer,
    },
    /// Output files were moved aside.
    Rotated,
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
            examinations: 0,
            reports,
            pending: BTreeMap::new(),
            heard: Heard::default(),
            work: JoinSet::new(),
            probing: BTreeSet::new(),
            probe_due: BTreeMap::new(),
            commands: BTreeMap::new(),
            requests: BTreeMap::new(),
            offered: BTreeMap::new(),
            pids: BTreeMap::new(),
            followed: BTreeMap::new(),
            rolling: false,
            rotating: None,
            doorbell,
            _watcher: watcher,
        })
    }

    /// Asks a guard that was quiet for long whether it is there.
    async fn ask_whether_there(&mut self, link: &mut Link) -> Result<(), LinkError> {
        if self.pending.values().any(|asked| asked.due.is_some()) {
            return Ok(());
        }
        let body = Body::Examine { signals: Vec::new() };
        self.ask(link, body, Pending::Nothing).await
    }

    /// One conversation with the guard.
    pub(super) async fn converse(&mut self, mut link: Link) -> Ended {
        let mut looked_at = Instant::now();
        let mut heard_at = Instant::now();
        loop {
            let probe_at = self.next_probe();
            let look_at = looked_at + self.look_every();
            let answer_by = self.pending.values().filter_map(|asked| asked.due).min();
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
                    Ok(message) => {
                        heard_at = Instant::now();
                        self.heard_guard(message, &mut link).await
                    }
                    Err(error) => Err(error),
                },
                // It should have answered. Whatever it still makes of what it was asked ends with this connection.
                () = sleep_until(answer_by) => Err(link.silent()),
                // Something changed in an instance's folder.
                () = self.doorbell.notified() => {
                    self.look(false);
                    Ok(None)
                }
                // A doorbell may be missed.
                () = tokio::time::sleep_until(look_at) => {
                    looked_at = Instant::now();
                    self.rotate_outputs();
                    if let Err(error) = self.follow(&mut link).await {
                        return self.lost(&error);
                    }
                    self.look(false);
                    if heard_at.elapsed() < QUIET_FOR {
                        Ok(None)
                    } else {
                        self.ask_whether_there(&mut link).await.map(|()| None)
                    }
                }
                // A probe is due.
                () = sleep_until(probe_at) => {
                    self.begin_probes();
                    Ok(None)
                }
                // A probe, a check or a request came to its end.
                Some(finished) = self.work.join_next_with_id() => {
                    match finished {
                        Ok((id, finished)) => {
                            self.forget(id);
                            self.finish(finished, &mut link).await.map(|()| None)
                        }
                        // One that was given up.
                        Err(error) => {
                            self.forget(error.id());
                            Ok(None)
                        }
                    }
                }
            };
            match ended {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) => {
                    return match self.last_words(&mut link).await {
                        Some(ended) => ended,
                        None => self.lost(&error),
                    };
                }
            }
        }
    }

    /// What the guard had said before it ended, if it was told to end: whoever speaks to it in that moment hears that
    /// it is gone before they hear that all is down.
    async fn last_words(&mut self, link: &mut Link) -> Option<Ended> {
        let ending = |asked: &Asked| matches!(asked.what, Pending::Shutdown);
        while self.pending.values().any(ending) {
            let Ok(Ok(message)) = timeout(ANSWER_WITHIN, link.receive()).await else {
                return None;
            };
            if let Ok(Some(ended)) = self.heard_guard(message, link).await {
                return Some(ended);
            }
        }
        None
    }

    fn lost(&self, error: &LinkError) -> Ended {
        tracing::error!(%error, "the guard is lost");
        // One that has ended is replaced at once, and if not that is told.
        if let LinkError::Silent { .. } = error {
            self.tell(Report::Unreachable(error.to_string()));
        }
        Ended::Lost
    }

    fn look_every(&self) -> Duration {
        if self.rolling && !self.followed.is_empty() {
            LOOK_CLOSELY_EVERY
        } else {
            LOOK_EVERY
        }
    }

    /// Whether an order was given before the loss of the guard was known. What ends something is carried out all the
    /// same.
    pub(super) fn is_stale(&self, losses: u64, order: &Order) -> bool {
        losses < self.losses && !matches!(order, Order::Shutdown | Order::Release)
    }

    /// Whoever gave it hears of the loss, which answers everything but a stop.
    pub(super) fn drop_stale(&self, order: Order) {
        if let Order::Stop(_) = order {
            self.refuse(order, "the guard was lost");
        }
    }

    pub(super) fn tell(&self, report: Report) {
        // The coordinator is gone only while the program ends.
        let _ = self.reports.send(report);
    }

    pub(super) fn look(&mut self, again: bool) {
        for event in self.heard_now(again) {
            self.tell(Report::Event(event));
        }
    }

    /// What the instances state that is new; with `again`, all that they state.
    pub(super) fn heard_now(&mut self, again: bool) -> Vec<Event> {
        let supervised = self.spec.definitions.iter();
        let names: Vec<_> = supervised
            .map(|definition| ServiceName::new(&definition.service))
            .collect();
        let folders = &self.spec.folders;
        let mut news = self.heard.look(names.iter(), again, |service| {
            folders.status(service).map_err(|error| error.to_string())
        });
        let attached = self.attached();
        news.extend(self.heard.look(attached.keys(), again, |service| {
            foreign::statement(folders, service, &attached[service])
        }));
        news
    }

    fn forget(&mut self, task: tokio::task::Id) {
        self.commands.retain(|_, command| command.id() != task);
        self.requests.retain(|_, request| request.id() != task);
    }

    async fn finish(&mut self, finished: Finished, link: &mut Link) -> Result<(), LinkError> {
        let report = match finished {
            Finished::Listened {
                targets,
                unfit,
                examination,
            } => {
                // Whoever ordered an earlier one is over, and one from before a loss was answered by it.
                if examination == self.examinations {
                    self.examine(targets, unfit, link).await?;
                }
                return Ok(());
            }
            Finished::Answered {
                target,
                switch,
                answer,
            } => answered(target, switch, answer),
            Finished::Rotated => {
                self.rotating = None;
                return Ok(());
            }
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
        };
        self.tell(report);
        Ok(())
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// For how long a process has lived.
pub(super) fn age(process: &Process) -> Option<Duration> {
    age_of(process.start_ticks)
}

/// For how long a process has lived that began then.
pub(super) fn age_of(start_ticks: u64) -> Option<Duration> {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(since_boot.tv_sec).ok()?,
        u32::try_from(since_boot.tv_nsec).ok()?,
    );
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Some(now.saturating_sub(Duration::from_millis(start_ticks.saturating_mul(1000) / ticks)))
}
