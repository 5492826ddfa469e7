//! The status of a whole Lockstep: one function, and the shape that the CLI, the API and every view print.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_protocol::{Digest, Revision, RolloutId, StatusState, SwitchNumber};
use serde::{Deserialize, Serialize};

use crate::admission::{CandidateState, Live, Until, Verdict};
use crate::instances::{Instance, InstanceState, Instances, Owed, ReadsTable};
use crate::ledger::Ledger;
use crate::rollout::{Leg, MemberId, Moment, Phase, Progress, Rollout};
use crate::service::{ServiceName, Tier, Verify};

/// What `lockstep status --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// What is live; none before the first release.
    pub live: Option<Live>,
    /// The newest revision, if it is not live.
    pub candidate: Option<CandidateView>,
    /// The rollout under way, or stuck.
    pub rollout: Option<RolloutView>,
    /// The services, in the order of the settings.
    pub services: Vec<ServiceView>,
    /// Revisions whose rollout failed.
    pub quarantined: Vec<QuarantinedView>,
    /// Why the candidate is not tried now.
    pub held: Option<HeldView>,
    /// Whether reconciling is suspended.
    pub suspended: Option<SuspendedView>,
    /// Whether the source answered the last time, and if not, why.
    pub source: SourceView,
    /// What somebody has to look at.
    pub alarms: Vec<String>,
}

/// The candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    /// The revision.
    pub revision: Revision,
    /// Its state.
    pub state: CandidateState,
    /// Why.
    pub reason: Option<String>,
}

/// The rollout under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutView {
    /// Its name.
    pub id: RolloutId,
    /// The state, in the words of the design.
    pub state: String,
    /// What was live before it.
    pub from: Option<Revision>,
    /// What is to be live.
    pub to: Revision,
    /// Why it goes back, or is stuck.
    pub reason: Option<String>,
    /// The members that are still waited for, or failed.
    pub waiting: Vec<String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// The tier it is verified by.
    pub tier: Tier,
    /// Whether all its instances run what is live.
    pub current: bool,
    /// Its instances.
    pub instances: Vec<InstanceView>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its token; none while it is dead.
    pub id: Option<String>,
    /// Its pid; none while it is dead.
    pub pid: Option<u32>,
    /// Its state.
    pub state: InstanceState,
    /// The revision it states to run.
    pub revision: Option<Revision>,
    /// The digest it states to run.
    pub digest: Option<Digest>,
    /// The switch it states to run.
    pub switch: Option<SwitchNumber>,
    /// Whether what it runs is, to its service, what is live.
    pub current: bool,
    /// What is wrong.
    pub error: Option<String>,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// For how long its process has lived, in seconds.
    pub uptime: Option<f64>,
}

impl InstanceView {
    /// Why it is diverged, as far as it said.
    #[must_use]
    pub fn divergence(&self) -> &str {
        self.error
            .as_deref()
            .unwrap_or("it runs something else than what is live")
    }
}

/// One revision in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedView {
    /// The revision.
    pub revision: Revision,
    /// Why.
    pub reason: String,
}

/// Why the candidate is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldView {
    /// The revision.
    pub revision: Revision,
    /// Why.
    pub reason: String,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
}

/// Reconciling is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedView {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// The source's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// When it last answered.
    pub last_success: Option<Timestamp>,
    /// Why it does not answer now.
    pub error: Option<String>,
}

/// The facts that a status is made of.
#[derive(Debug, Clone)]
pub struct StatusFacts<'a> {
    /// What is live.
    pub live: Option<&'a Live>,
    /// The head and what was decided about it.
    pub candidate: Option<(&'a Revision, &'a Verdict)>,
    /// The rollout under way, or stuck.
    pub rollout: Option<&'a Rollout>,
    /// The services of the settings, in their order.
    pub services: &'a [(ServiceName, Verify)],
    /// The instances.
    pub instances: &'a Instances,
    /// What services read of releases.
    pub reads: &'a ReadsTable,
    /// What is remembered.
    pub ledger: &'a Ledger,
    /// The source's state.
    pub source: &'a SourceView,
    /// Alarms that stand besides what is seen from the rest.
    pub alarms: &'a [String],
    /// The moment.
    pub now: Moment,
    /// The time of day.
    pub time: Timestamp,
}

/// Makes the status.
#[must_use]
pub fn status(facts: &StatusFacts<'_>) -> StatusView {
    let services: Vec<_> = facts
        .services
        .iter()
        .map(|(name, verify)| service(name, verify, facts))
        .collect();
    let mut alarms = facts.alarms.to_vec();
    if let Some(rollout) = facts.rollout
        && let Phase::Stuck { why, .. } = &rollout.phase
    {
        let view = view_of_rollout(rollout);
        let what = if view.waiting.is_empty() {
            why.clone()
        } else {
            view.waiting.join("; ")
        };
        alarms.push(format!(
            "the rollout {} is stuck on its way back: {what}",
            rollout.id
        ));
    }
    if let Some(rollout) = facts.rollout
        && let Phase::Closing {
            retry_at: Some(_), ..
        } = rollout.phase
    {
        alarms.push(format!(
            "the outcome of the rollout {} cannot be written to the volume's journal; it is tried again",
            rollout.id
        ));
    }
    for view in &services {
        for (index, instance) in (0..).zip(&view.instances) {
            let id = MemberId {
                service: view.name.clone(),
                index,
            };
            if instance.state == InstanceState::Diverged {
                alarms.push(format!("{id} is diverged: {}", instance.divergence()));
            }
            let owed = facts.instances.get(&id).and_then(|known| known.owed.as_ref());
            if let Some(owed) = owed.filter(|owed| owed.why.is_some()) {
                alarms.push(format!("{id}: {}", owed.phrase()));
            }
        }
    }
    let rollout = facts.rollout.filter(|rollout| rollout.outcome().is_none());
    let rolling = rollout.map(|rollout| rollout.to.revision.clone());
    let candidate = facts.candidate.and_then(|(revision, verdict)| {
        let (state, reason) = match verdict {
            Verdict::Live | Verdict::SettleAtOnce => return None,
            Verdict::Final { state, reason } | Verdict::Held { state, reason, .. } => {
                (*state, Some(reason.clone()))
            }
            Verdict::Try if rolling.as_ref() == Some(revision) => (CandidateState::Rolling, None),
            Verdict::Try => (CandidateState::Judging, None),
        };
        Some(CandidateView {
            revision: revision.clone(),
            state,
            reason,
        })
    });
    let held = facts.candidate.and_then(|(revision, verdict)| match verdict {
        Verdict::Held { reason, until, .. } => Some(HeldView {
            revision: revision.clone(),
            reason: reason.clone(),
            until: until.as_ref().map(|until| match until {
                Until::At(time) => *time,
                Until::In(span) => facts.time + *span,
            }),
        }),
        Verdict::Live | Verdict::SettleAtOnce | Verdict::Final { .. } | Verdict::Try => None,
    });
    StatusView {
        live: facts.live.cloned(),
        candidate,
        rollout: rollout.map(view_of_rollout),
        services,
        quarantined: facts
            .ledger
            .quarantined
            .iter()
            .map(|entry| QuarantinedView {
                revision: entry.revision.clone(),
                reason: entry.reason.clone(),
            })
            .collect(),
        held,
        suspended: facts
            .ledger
            .suspended
            .as_ref()
            .filter(|suspension| suspension.until.is_none_or(|until| facts.time < until))
            .map(|suspension| SuspendedView {
                reason: suspension.reason.clone(),
                until: suspension.until,
            }),
        source: facts.source.clone(),
        alarms,
    }
}

fn service(name: &ServiceName, verify: &Verify, facts: &StatusFacts<'_>) -> ServiceView {
    let mine: BTreeMap<_, _> = facts
        .instances
        .iter()
        .filter(|(id, _)| id.service == *name)
        .collect();
    let instances: Vec<_> = mine
        .values()
        .map(|instance| {
            let state = match instance.state(name, verify, facts.live, facts.reads, facts.now) {
                InstanceState::Diverged => {
                    under_way(name, instance, facts).unwrap_or(InstanceState::Diverged)
                }
                state => state,
            };
            let statement = instance.statement.as_ref();
            let error = statement
                .and_then(|status| status.error.as_ref().map(ToString::to_string))
                .or_else(|| instance.probe.as_ref().and_then(|probe| probe.failure.clone()))
                .or_else(|| {
                    if state == InstanceState::Dead {
                        instance.ended.clone()
                    } else {
                        None
                    }
                })
                .or_else(|| instance.owed.as_ref().map(Owed::phrase));
            InstanceView {
                id: instance.alive.as_ref().map(|alive| alive.instance.0.clone()),
                pid: instance.alive.as_ref().map(|alive| alive.pid),
                state,
                revision: statement.and_then(|status| status.revision.clone()),
                digest: statement.and_then(|status| status.digest),
                switch: statement.and_then(|status| status.switch),
                current: instance.current(name, verify, facts.live, facts.reads),
                error,
                restarts: instance.restarts,
                uptime: instance.uptime(facts.now).as_ref().map(Duration::as_secs_f64),
            }
        })
        .collect();
    ServiceView {
        name: name.clone(),
        tier: verify.tier,
        current: !instances.is_empty() && instances.iter().all(|instance| instance.current),
        instances,
    }
}

/// The state of an instance that does not run what is live because a rollout is taking it elsewhere: a mix is
/// expected until the rollout's end, and is no divergence.
fn under_way(name: &ServiceName, instance: &Instance, facts: &StatusFacts<'_>) -> Option<InstanceState> {
    let rollout = facts.rollout.filter(|rollout| match rollout.phase {
        Phase::Stuck { .. } | Phase::Done(_) => false,
        Phase::Preparing(_)
        | Phase::Recording
        | Phase::Pausing
        | Phase::Publishing { .. }
        | Phase::Unpausing { .. }
        | Phase::Verifying { .. }
        | Phase::Baking { .. }
        | Phase::Closing { .. } => true,
    })?;
    rollout.members.keys().find(|id| id.service == *name)?;
    let status = instance.statement.as_ref()?;
    Some(match status.state {
        StatusState::Applied => InstanceState::Applied,
        StatusState::Rejected => InstanceState::Rejected,
    })
}

/// The state of a rollout, in the words of the design.
#[must_use]
pub fn state_of(rollout: &Rollout) -> &'static str {
    match (&rollout.phase, &rollout.leg) {
        (Phase::Done(outcome) | Phase::Closing { outcome, .. }, _) => outcome.as_str(),
        (Phase::Stuck { .. }, _) => "Stuck",
        (
            Phase::Preparing(_)
            | Phase::Recording
            | Phase::Pausing
            | Phase::Publishing { .. }
            | Phase::Unpausing { .. }
            | Phase::Verifying { .. }
            | Phase::Baking { .. },
            Leg::Back(_),
        ) => "Restoring",
        (Phase::Preparing(_) | Phase::Recording, Leg::There) => "Preparing",
        (Phase::Pausing, Leg::There) => "Pausing",
        (Phase::Publishing { .. }, Leg::There) => "Publishing",
        (Phase::Unpausing { .. }, Leg::There) => "Unpausing",
        (Phase::Verifying { .. }, Leg::There) => "Verifying",
        (Phase::Baking { .. }, Leg::There) => "Baking",
    }
}

fn view_of_rollout(rollout: &Rollout) -> RolloutView {
    let reason = match &rollout.leg {
        Leg::There => None,
        Leg::Back(failures) => Some(
            failures
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        ),
    };
    let waiting = rollout
        .members
        .iter()
        .filter_map(|(id, member)| match &member.progress {
            Progress::Telling { .. } => Some(format!("{id}: is being told")),
            Progress::Told { .. } => Some(format!("{id}: told, no evidence yet")),
            Progress::Coming { .. } | Progress::Starting { .. } => Some(format!("{id}: is being started")),
            Progress::Down { .. } => Some(format!("{id}: ended, is started again")),
            Progress::Failed(failure) => Some(failure.to_string()),
            Progress::Waiting | Progress::Reached | Progress::Unproven => None,
        })
        .collect();
    RolloutView {
        id: rollout.id.clone(),
        state: state_of(rollout).to_owned(),
        from: rollout.from.as_ref().map(|from| from.revision.clone()),
        to: rollout.to.revision.clone(),
        reason,
        waiting,
    }
}

#[cfg(test)]
mod tests;
