//! The agent's task: one loop over orders, the guard, the instances' folders, probes and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::ledger::back_off;
use lockstep_core::rollout::{CheckVerdict, Event, Evidence, MemberId, ProbeResult};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{
    Answer, Body, Event as GuardEvent, Exit, InstanceRef, Message, Process, Refusal, SignalFault,
};
use lockstep_protocol::InstanceToken;
use notify::{RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::evidence::Heard;
use super::link::{Link, LinkError};
use super::{AgentSpec, Order, Report, Target, checks, mounts, probes};
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
    spec: AgentSpec,
    clock: Clock,
    orders: mpsc::UnboundedReceiver<Order>,
    reports: mpsc::UnboundedSender<Report>,
    pending: BTreeMap<u64, Pending>,
    heard: Heard,
    work: JoinSet<Finished>,
    probing: BTreeSet<ServiceName>,
    probe_due: BTreeMap<ServiceName, Instant>,
    offered: BTreeSet<ServiceName>,
    pids: BTreeMap<ServiceName, u32>,
    doorbell: Arc<Notify>,
    /// Held for its drop: it ends the watch.
    _watcher: notify::RecommendedWatcher,
}

/// What an answer of the guard means.
enum Pending {
    Examine {
        targets: Vec<Target>,
        unfit: BTreeMap<MemberId, String>,
    },
    Pause,
    Unpause,
    Tell,
    Start(ServiceName),
    StopToStart(ServiceName),
    Stop {
        service: ServiceName,
    },
    Shutdown,
    Nothing,
}

/// What a task of the agent's came to.
enum Finished {
    Probe {
        service: ServiceName,
        result: ProbeResult,
    },
    Check {
        service: ServiceName,
        verdict: CheckVerdict,
    },
}

/// How the conversation with the guard ended.
enum Ended {
    Orders,
    Down,
    Deposed,
    Lost,
}

impl Agent {
    /// Sets up the agent.
    ///
    /// # Errors
    /// When the instances' folders cannot be watched.
    pub fn new(
        spec: AgentSpec,
        clock: Clock,
        orders: mpsc::UnboundedReceiver<Order>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<Self, AgentFailed> {
        let doorbell = Arc::new(Notify::new());
        let ring = Arc::clone(&doorbell);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no news, and our own reading would ring the bell for ever.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                ring.notify_one();
            }
        })?;
        watcher.watch(spec.folders.base(), RecursiveMode::Recursive)?;
        Ok(Self {
            spec,
            clock,
            orders,
            reports,
            pending: BTreeMap::new(),
            heard: Heard::default(),
            work: JoinSet::new(),
            probing: BTreeSet::new(),
            probe_due: BTreeMap::new(),
            offered: BTreeSet::new(),
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
                            self.pending.clear();
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
                            Some(Order::Shutdown) => {
                                self.tell(Report::Down);
                                break;
                            }
                            // Nothing can be done now; the coordinator hears of it when the guard is back.
                            Some(order) => self.refuse(order, "the guard cannot be reached"),
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
                    Some(order) => self.carry_out(order, &mut link).await,
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

    fn tell(&self, report: Report) {
        // The coordinator is gone only while the program ends.
        let _ = self.reports.send(report);
    }

    fn look(&mut self, again: bool) {
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
        self.tell(Report::Event(match finished {
            Finished::Probe { service, result } => Event::Evidence {
                member: MemberId::only(&service),
                evidence: Evidence::Probed(result),
            },
            Finished::Check { service, verdict } => Event::Checked { service, verdict },
        }));
    }

    async fn carry_out(&mut self, order: Order, link: &mut Link) -> Result<Option<Ended>, LinkError> {
        match order {
            Order::Hold(services) => {
                let services = services.iter().map(ToString::to_string).collect();
                self.ask(link, Body::Hold { services }, Pending::Nothing).await?;
            }
            Order::Release => {
                self.probing.clear();
                for service in std::mem::take(&mut self.offered) {
                    self.spec.folders.withdraw_offer(&service);
                }
                self.ask(link, Body::Release, Pending::Nothing).await?;
            }
            Order::Examine(targets) => {
                let unfit = targets
                    .iter()
                    .filter_map(|target| {
                        let pid = self.pids.get(&target.member.service)?;
                        Some((target.member.clone(), mounts::pinned_to_a_release(*pid)?))
                    })
                    .collect();
                let signals = signals_of(&targets);
                self.ask(
                    link,
                    Body::Examine { signals },
                    Pending::Examine { targets, unfit },
                )
                .await?;
            }
            Order::Pause {
                targets,
                within,
                limit,
            } => {
                let body = Body::Freeze {
                    instances: targets.iter().map(reference).collect(),
                    within_ms: millis(within),
                    limit_ms: millis(limit),
                    signals: by_service(&targets),
                };
                self.ask(link, body, Pending::Pause).await?;
            }
            Order::Unpause(targets) => {
                let body = Body::Thaw {
                    signals: by_service(&targets),
                };
                self.ask(link, body, Pending::Unpause).await?;
            }
            Order::Tell(targets) => {
                let body = Body::Signal {
                    signals: signals_of(&targets),
                };
                self.ask(link, body, Pending::Tell).await?;
            }
            Order::Restart(services) => {
                for service in services {
                    let body = Body::Stop {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::StopToStart(service)).await?;
                }
            }
            Order::Start(services) => {
                for service in services {
                    let body = Body::Start {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::Start(service)).await?;
                }
            }
            Order::Stop(services) => {
                if services.is_empty() {
                    self.tell(Report::Stopped(Ok(())));
                }
                for service in services {
                    let body = Body::Stop {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::Stop { service }).await?;
                }
            }
            Order::Dismiss(services) => {
                for service in services {
                    let body = Body::Stop {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::Nothing).await?;
                }
            }
            Order::Offer(services, offer) => {
                for service in services {
                    if let Err(error) = self.spec.folders.offer(&service, &offer) {
                        // Without an offer there is no vote, and the time limit says so.
                        tracing::error!(%service, %error, "an offer cannot be made");
                    }
                    self.offered.insert(service);
                }
            }
            Order::Probe(services) => {
                let now = Instant::now();
                for service in &services {
                    self.probe_due.insert(service.clone(), now);
                }
                self.probing = services;
            }
            Order::Look => self.look(true),
            Order::Check {
                service,
                command,
                within,
            } => {
                self.work.spawn(async move {
                    let verdict = checks::run(&command, within).await;
                    Finished::Check { service, verdict }
                });
            }
            Order::Shutdown => {
                self.ask(link, Body::Shutdown, Pending::Shutdown).await?;
            }
        }
        Ok(None)
    }

    async fn ask(&mut self, link: &mut Link, body: Body, pending: Pending) -> Result<(), LinkError> {
        let id = link.send(body).await?;
        self.pending.insert(id, pending);
        Ok(())
    }

    /// Answers an order that cannot be carried out.
    fn refuse(&self, order: Order, why: &str) {
        let event = match order {
            Order::Pause { .. } => Event::PauseFailed {
                reason: why.to_owned(),
            },
            Order::Check { service, .. } => Event::Checked {
                service,
                verdict: CheckVerdict::Unknown(why.to_owned()),
            },
            Order::Stop(_) => return self.tell(Report::Stopped(Err(why.to_owned()))),
            // The loss of the agent was told, and what it means for these is decided by it.
            Order::Hold(_)
            | Order::Release
            | Order::Examine(_)
            | Order::Unpause(_)
            | Order::Tell(_)
            | Order::Restart(_)
            | Order::Start(_)
            | Order::Dismiss(_)
            | Order::Offer(_, _)
            | Order::Probe(_)
            | Order::Look
            | Order::Shutdown => return,
        };
        self.tell(Report::Event(event));
    }

    async fn heard_guard(&mut self, message: Message, link: &mut Link) -> Result<Option<Ended>, LinkError> {
        match message {
            Message::Event { event } => {
                self.guard_event(event);
                Ok(None)
            }
            Message::Answer { id, result } => {
                let Some(pending) = self.pending.remove(&id) else {
                    return Ok(None);
                };
                if let Err(Refusal::Deposed { .. }) = result {
                    return Ok(Some(Ended::Deposed));
                }
                self.answered(pending, result, link).await
            }
        }
    }

    fn guard_event(&mut self, event: GuardEvent) {
        match event {
            GuardEvent::Ended {
                instance,
                exit,
                back_off_ms,
            } => {
                let service = ServiceName::new(&instance.service);
                self.pids.remove(&service);
                let mut how = phrase(&exit);
                if let Some(back_off) = back_off_ms {
                    how = format!("{how} (started again in {back_off} ms)");
                }
                self.tell(Report::Event(Event::Ended {
                    member: MemberId::only(&service),
                    instance: InstanceToken(instance.instance),
                    how,
                }));
            }
            GuardEvent::Started { service, process } => {
                let service = ServiceName::new(&service);
                self.tell(Report::Restarted(service.clone()));
                self.started(&service, &process);
            }
            GuardEvent::FreezeExpired => self.tell(Report::Event(Event::PauseExpired)),
        }
    }

    fn started(&mut self, service: &ServiceName, process: &Process) {
        self.pids.insert(service.clone(), process.pid);
        let member = MemberId::only(service);
        self.tell(Report::Process {
            member: member.clone(),
            pid: process.pid,
        });
        self.tell(Report::Event(Event::Started {
            member,
            instance: InstanceToken(process.instance.clone()),
        }));
        self.look(true);
    }

    async fn answered(
        &mut self,
        pending: Pending,
        result: Result<Answer, Refusal>,
        link: &mut Link,
    ) -> Result<Option<Ended>, LinkError> {
        match (pending, result) {
            (Pending::Examine { targets, mut unfit }, result) => {
                match result {
                    Ok(Answer::Signalled { faults }) => {
                        for target in &targets {
                            if let Some(fault) = faults.get(target.member.service.as_str()) {
                                unfit.insert(target.member.clone(), fault_phrase(fault, target));
                            }
                        }
                    }
                    Ok(_) => {}
                    Err(refusal) => {
                        for target in &targets {
                            unfit.insert(target.member.clone(), refusal_phrase(&refusal));
                        }
                    }
                }
                self.tell(Report::Event(Event::Examined { unfit }));
            }
            (Pending::Pause, Ok(_)) => self.tell(Report::Event(Event::Paused)),
            (Pending::Pause, Err(refusal)) => {
                self.tell(Report::Event(Event::PauseFailed {
                    reason: refusal_phrase(&refusal),
                }));
            }
            (
                Pending::Unpause,
                Ok(Answer::Thawed {
                    pause_us,
                    expired,
                    unsent,
                }),
            ) => {
                self.tell(Report::Event(Event::Unpaused {
                    pause: Duration::from_micros(pause_us),
                    expired,
                    unsent: members(unsent),
                }));
            }
            (Pending::Unpause, result) => {
                // Nothing was frozen any more: the limit had passed before.
                tracing::error!(answer = ?result, "the guard could not unpause what was no longer paused");
                return Ok(Some(Ended::Lost));
            }
            (Pending::Tell, Ok(Answer::Signalled { faults })) => {
                self.tell(Report::Event(Event::Told {
                    unsent: members(faults),
                }));
            }
            (Pending::Tell, result) => {
                tracing::error!(answer = ?result, "the guard could not send reloads");
                self.tell(Report::Event(Event::Told {
                    unsent: BTreeMap::new(),
                }));
            }
            (Pending::Start(service), Ok(Answer::Started { process })) => self.started(&service, &process),
            (Pending::Start(service), result) => {
                let reason = match result {
                    Err(refusal) => refusal_phrase(&refusal),
                    Ok(answer) => format!("the guard answered {answer:?}"),
                };
                self.tell(Report::Event(Event::StartFailed {
                    member: MemberId::only(&service),
                    reason,
                }));
            }
            (Pending::StopToStart(service), Ok(_)) => {
                let body = Body::Start {
                    service: service.to_string(),
                };
                self.ask(link, body, Pending::Start(service)).await?;
            }
            (Pending::StopToStart(service), Err(refusal)) => {
                let reason = refusal_phrase(&refusal);
                self.tell(Report::Event(Event::StartFailed {
                    member: MemberId::only(&service),
                    reason,
                }));
            }
            (Pending::Stop { service }, result) => {
                let more = self
                    .pending
                    .values()
                    .any(|pending| matches!(pending, Pending::Stop { .. }));
                match result {
                    Err(refusal) => {
                        let why = format!("{service}: {}", refusal_phrase(&refusal));
                        self.tell(Report::Stopped(Err(why)));
                    }
                    Ok(_) if more => {}
                    Ok(_) => self.tell(Report::Stopped(Ok(()))),
                }
            }
            (Pending::Shutdown, _) => {
                self.tell(Report::Down);
                return Ok(Some(Ended::Down));
            }
            (Pending::Nothing, Ok(_)) => {}
            (Pending::Nothing, Err(refusal)) => {
                tracing::error!(refusal = ?refusal, "the guard refused an order");
            }
        }
        Ok(None)
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn reference(target: &Target) -> InstanceRef {
    InstanceRef {
        service: target.member.service.to_string(),
        instance: target.instance.0.clone(),
    }
}

fn signals_of(targets: &[Target]) -> Vec<(InstanceRef, String)> {
    targets
        .iter()
        .filter_map(|target| Some((reference(target), target.signal.clone()?)))
        .collect()
}

fn by_service(targets: &[Target]) -> BTreeMap<String, String> {
    targets
        .iter()
        .filter_map(|target| Some((target.member.service.to_string(), target.signal.clone()?)))
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn members(faults: BTreeMap<String, SignalFault>) -> BTreeMap<MemberId, String> {
    faults
        .into_iter()
        .map(|(service, fault)| {
            let phrase = match fault {
                SignalFault::Gone => "the process is gone".to_owned(),
                SignalFault::WouldKill => "the signal would kill it: no handler is set up".to_owned(),
                SignalFault::Refused { error } => error,
            };
            (MemberId::only(&ServiceName::new(&service)), phrase)
        })
        .collect()
}

fn fault_phrase(fault: &SignalFault, target: &Target) -> String {
    let signal = target.signal.as_deref().unwrap_or("the signal");
    match fault {
        SignalFault::Gone => "the process is gone".to_owned(),
        SignalFault::WouldKill => format!(
            "{signal} would kill it: it is neither caught, ignored nor blocked. Set the handler up first thing \
             at start (Python: signal.signal({signal}, …) before slow imports; Go: signal.Notify; Rust: \
             lockstep_client's Trigger::Signal), or set `reload` to another signal"
        ),
        SignalFault::Refused { error } => format!("{signal} cannot be sent: {error}"),
    }
}

fn refusal_phrase(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Deposed { highest_term } => format!("a coordinator of term {highest_term} has taken over"),
        Refusal::NoHello => "the conversation was not opened".to_owned(),
        Refusal::UnknownService { service } => format!("{service} is not known to the guard"),
        Refusal::NotThatInstance { service } => {
            format!("{service} is not the process any more that was meant")
        }
        Refusal::FreezeTimedOut {
            unconfirmed,
            services,
        } => format!(
            "{} did not stop in time ({}): a process in uninterruptible sleep cannot be paused",
            services.join(", "),
            unconfirmed.join(", ")
        ),
        Refusal::SignalWouldKill { service, signal } => {
            format!(
                "{service}: {signal} would kill it now: its handler is gone (it may have executed another program)"
            )
        }
        Refusal::NoHolder => "the holder did not answer, and without it nobody is paused".to_owned(),
        Refusal::AlreadyFrozen => "somebody is paused already".to_owned(),
        Refusal::CannotStart { service, error } => format!("{service} could not be started: {error}"),
        Refusal::Failed { error } => error.clone(),
    }
}

fn phrase(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal(signal) => format!("was killed by {signal}"),
        Exit::Unknown => "ended (how is unknown: an earlier guard was its parent)".to_owned(),
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
