//! `observe = true`: each commit is fetched, judged and planned, and what would happen is told. Nobody is touched.
//!
//! No guard is started, no service, and nothing is written outside the state folder: the volume need not exist yet. It
//! has a loop of its own, because most of the coordinator's is about what is not there: a volume and instances.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::admission::{CandidateState, Verdict};
use lockstep_core::instances::{Instances, ReadsTable};
use lockstep_core::ledger::Ledger;
use lockstep_core::plan::{Plan, ServiceEffect, plan};
use lockstep_core::service::{ServiceName, Verify};
use lockstep_core::status::{StatusFacts, StatusView, status};
use lockstep_core::window::Gate;
use lockstep_protocol::Revision;
use tokio::sync::{mpsc, watch};

use super::failed::StartError;
use super::request::PlanView;
use super::reread::read_again;
use super::source::Source;
use super::start::Lasting;
use super::{End, Handle, Request};
use crate::agent;
use crate::candidate::worker::{Base, Seen, Worker};
use crate::candidate::{Judged, Judges, Reader, Validated};
use crate::cli::Asked;
use crate::clock::Clock;
use crate::events::{Event, EventLog};
use crate::metrics::Metrics;
use crate::settings::{SETTINGS, Settings};
use crate::store::{self, Desk};
use crate::telemetry::Steps;
use crate::web::{self, Port};

/// Why nothing that was asked for is done.
const OBSERVING: &str = "`[rollout] observe = true`: commits are judged and told, and nobody is touched; set it to false and \
                         send SIGHUP to `lockstep run`";

/// How often is looked whether the state folder is still this one's.
const IS_IT_OURS: Duration = Duration::from_secs(2);

/// What is known while observing.
struct Observer {
    settings: Arc<Settings>,
    readers: Arc<[Reader]>,
    services: Vec<(ServiceName, Verify)>,
    clock: Clock,
    events: Arc<EventLog>,
    metrics: Arc<Metrics>,
    source: Source,
    base: watch::Sender<Base>,
    changed: Arc<watch::Sender<u64>>,
    /// The newest revision that was valid, which the next one is planned from, and its own plan.
    valid: Option<(Arc<Validated>, Plan)>,
    head: Option<(Revision, Verdict)>,
    alarms: Vec<String>,
    /// The number under which it took the state folder.
    term: u64,
}

/// Observes until a signal ends it or brings other settings.
pub(super) async fn run(
    settings: Arc<Settings>,
    refused: Option<String>,
    port: Port,
    lasting: &mut Lasting,
) -> Result<End, StartError> {
    let state = &settings.state.clone();
    let term = store::numbers(state)?.0 + 1;
    // Neither the volume nor the guard is held any more: whoever comes to hold them meanwhile is not in the way.
    lasting.terms = agent::Terms::default();
    lasting.desk = Some(term);
    let desk = Desk::take(state, term)?;
    desk.write(SETTINGS, settings.file.as_os_str().as_encoded_bytes())?;
    let events = EventLog::open(state, &desk)?;
    let readers = Reader::all(&settings);
    let (base, base_of_worker) = watch::channel(Base::default());
    let (seen_by, mut seen) = mpsc::unbounded_channel();
    let (worker, _) = Worker::start(
        state.join("mirror.git"),
        settings.source.spec.clone(),
        settings.source.interval,
        Judges::all(&settings),
        base_of_worker,
        seen_by,
        Steps::default(),
    )?;
    let mut source = Source::new(worker, settings.source.spec.branch.clone());
    source.look();
    let metrics = Arc::new(Metrics::new());
    let changed = Arc::new(watch::Sender::new(0));
    let (requests_by, mut requests) = mpsc::unbounded_channel();
    let handle = Handle {
        requests: requests_by,
        changed: changed.subscribe(),
        events: Arc::clone(&events),
        metrics: Arc::clone(&metrics),
    };
    let web = web::start(&settings, handle, port, &mut lasting.doors)?;
    events.append([Event {
        message: "observing: nobody is touched".to_owned(),
        ..Event::new("Started")
    }]);
    let mut observer = Observer {
        services: settings
            .services
            .iter()
            .map(|service| (service.name.clone(), service.verify))
            .collect(),
        settings,
        readers,
        clock: Clock::start(),
        events,
        metrics,
        source,
        base,
        changed,
        valid: None,
        head: None,
        alarms: refused.into_iter().collect(),
        term,
    };
    let mut looks = tokio::time::interval(IS_IT_OURS);
    let signals = lasting.signals()?;
    let end = loop {
        tokio::select! {
            biased;
            asked = signals.asked() => match asked {
                Asked::End => break End::Signal,
                Asked::ReadSettings => if let Some(new) = observer.read_settings() {
                    break End::Anew(Box::new(new));
                },
            },
            // The repository was looked at.
            Some(seen) = seen.recv() => observer.saw(seen),
            // A person or a script wants something.
            Some(request) = requests.recv() => if let Some(end) = observer.answer(request) {
                break end;
            },
            // Nothing else tells that another one has taken over: this one holds nothing that could be fenced.
            _ = looks.tick() => if observer.is_deposed() {
                break End::Deposed;
            },
        }
    };
    web.stop().await;
    Ok(end)
}

impl Observer {
    /// Whether another reconciler has taken the state folder over.
    fn is_deposed(&self) -> bool {
        store::numbers(&self.settings.state).is_ok_and(|(term, _)| term > self.term)
    }

    fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Head { judged, .. } => {
                self.source.answered(&self.events);
                self.head(judged);
            }
            Seen::Unchanged => self.source.answered(&self.events),
            Seen::Failed { reason } => self.source.failed(reason, &self.events),
            Seen::Looked(number) => {
                let head = self.head.as_ref().map(|(revision, _)| revision);
                self.source.looked(number, head);
            }
            // Nothing is taken up from a volume, and nothing committed.
            Seen::TakenUp(_) | Seen::NotKnown(_) | Seen::Committed => {}
        }
        self.metrics.follow(&self.status());
        self.changed.send_modify(|version| *version += 1);
    }

    fn head(&mut self, judged: Judged) {
        // What was seen is the base of the next one, and for a new base the source judges its head anew.
        if self
            .head
            .as_ref()
            .is_some_and(|(head, _)| head == judged.revision())
        {
            return;
        }
        match judged {
            Judged::Refused(refused) => {
                self.tell("Rejected", Some(&refused.revision), refused.reason.clone());
                let verdict = Verdict::Final {
                    state: CandidateState::Rejected,
                    reason: refused.reason,
                };
                self.head = Some((refused.revision, verdict));
            }
            Judged::Valid(validated) => {
                let revision = validated.revision().clone();
                let plan = self.plan_of(&validated);
                self.tell("Observed", Some(&revision), self.would(&plan));
                self.base.send_replace(Base {
                    live: Some(Arc::clone(&validated)),
                    ..Base::default()
                });
                self.valid = Some((validated, plan));
                let verdict = Verdict::Held {
                    state: CandidateState::Held,
                    reason: OBSERVING.to_owned(),
                    until: None,
                };
                self.head = Some((revision, verdict));
            }
        }
    }

    fn plan_of(&self, validated: &Validated) -> Plan {
        let live = self.valid.as_ref().map(|(live, _)| live.snapshot());
        plan(live, validated.snapshot(), &Reader::plan_inputs(&self.readers))
    }

    /// What a plan would do to whom, and whether a window would hold it.
    fn would(&self, plan: &Plan) -> String {
        let windows = &self.settings.windows;
        match windows.at(Timestamp::now()) {
            // The first release passes.
            Gate::Closed(closed)
                if plan.from.is_some() && !plan.is_empty() && !windows.let_pass(&closed, plan) =>
            {
                let until = closed.until.map(|until| format!(" until {until}"));
                format!(
                    "it would be held{}: {}; then {}",
                    until.unwrap_or_default(),
                    closed.why,
                    would(plan)
                )
            }
            Gate::Closed(_) | Gate::Open { .. } => would(plan),
        }
    }

    fn answer(&mut self, request: Request) -> Option<End> {
        // Whoever asked may be gone by now: then nobody waits for the answer.
        match request {
            Request::Status(answer) => drop(answer.send(self.status())),
            Request::Sync(answer) => self.source.sync(answer),
            Request::Plan(None, answer) => {
                let view = self.valid.as_ref().map(|(validated, plan)| PlanView {
                    plan: Some(plan.clone()),
                    refused: None,
                    warnings: validated.warnings().map(str::to_owned),
                    goes_out: None,
                });
                let view =
                    view.ok_or_else(|| "no valid revision was seen yet: see `lockstep status`".to_owned());
                drop(answer.send(view));
            }
            Request::Plan(Some(_), answer) => drop(answer.send(refused())),
            Request::Reached(_, answer) => drop(answer.send(refused())),
            Request::Retry(answer) => drop(answer.send(refused())),
            Request::Pass(_, answer) => drop(answer.send(refused())),
            Request::Suspend(_, answer) => drop(answer.send(refused())),
            Request::Commit(_, answer) => drop(answer.send(refused())),
            Request::Down(answer) => {
                drop(answer.send(Ok(())));
                return Some(End::Down);
            }
        }
        None
    }

    fn read_settings(&mut self) -> Option<Settings> {
        match read_again(&self.settings) {
            Ok(new) => Some(new),
            Err(error) => {
                let message = super::refusal(&error);
                self.tell("Alarm", None, message.clone());
                self.alarms = vec![message];
                self.changed.send_modify(|version| *version += 1);
                None
            }
        }
    }

    fn tell(&self, kind: &str, revision: Option<&Revision>, message: String) {
        self.events.append([Event {
            revision: revision.cloned(),
            message,
            ..Event::new(kind)
        }]);
    }

    fn status(&self) -> StatusView {
        status(&StatusFacts {
            live: None,
            candidate: self.head.as_ref().map(|(revision, verdict)| (revision, verdict)),
            rollout: None,
            services: &self.services,
            instances: &Instances::new(),
            reads: &ReadsTable::default(),
            ledger: &Ledger::default(),
            source: self.source.view(),
            alarms: &self.alarms,
            now: self.clock.now(),
            time: Timestamp::now(),
        })
    }
}

/// What a plan would do to whom, in one line.
fn would(plan: &Plan) -> String {
    let touched: Vec<_> = plan
        .services
        .iter()
        .filter_map(|service| match &service.effect {
            ServiceEffect::Unaffected => None,
            ServiceEffect::Reload => Some(format!("reload {}", service.service)),
            ServiceEffect::Restart { because } => {
                Some(format!("restart {} ({})", service.service, because.join("; ")))
            }
        })
        .collect();
    match (&plan.from, touched.is_empty()) {
        (None, _) => "it would be the first release: all services would be started on it".to_owned(),
        (Some(_), true) => "it would touch nobody".to_owned(),
        (Some(_), false) => format!("it would {}", touched.join(", ")),
    }
}

/// The answer to whatever would touch somebody.
fn refused<T>() -> Result<T, String> {
    Err(OBSERVING.to_owned())
}
