//! Windows: whether changes may go out now, and by what a candidate passes when they may not.

use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::admission::{self, Passage};
use lockstep_core::ledger::{Ledger, LetThrough};
use lockstep_core::plan::{Plan, plan};
use lockstep_core::rollout::Moment;
use lockstep_core::window::{Closed, Gate, GoesOut};
use lockstep_protocol::Revision;

use super::drive::Candidate;
use super::request::{Passed, PlanView};
use super::{Coordinator, LiveRelease};
use crate::candidate::{Judged, Reader, Validated};
use crate::events::Event as Record;
use crate::settings::Settings;

/// What is known of the windows, until the time of day says otherwise.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What they say, and at which time they were asked.
    gate: Option<(Timestamp, Gate)>,
    /// Whether they let a change pass as an emergency: from which live revision to which other.
    emergency: Option<(Option<Revision>, Revision, bool)>,
}

impl Known {
    /// When what they say changes, if nothing may go out.
    pub(super) fn opens(&self) -> Option<Timestamp> {
        match &self.gate {
            Some((_, Gate::Closed(closed))) => closed.until,
            Some((_, Gate::Open { .. })) | None => None,
        }
    }
}

impl Coordinator {
    /// What keeps changes out at this time. Asked anew when that may have changed, and when the clock went back.
    pub(super) fn closed(&mut self, time: Timestamp) -> Option<Closed> {
        let still = |(asked, gate): &(Timestamp, Gate)| {
            let until = match gate {
                Gate::Open { until } => *until,
                Gate::Closed(closed) => closed.until,
            };
            *asked <= time && until.is_none_or(|until| time < until)
        };
        if !self.windows.gate.as_ref().is_some_and(still) {
            self.windows = Known {
                gate: Some((time, self.settings.windows.at(time))),
                emergency: None,
            };
        }
        match &self.windows.gate {
            Some((_, Gate::Closed(closed))) => Some(closed.clone()),
            Some((_, Gate::Open { .. })) | None => None,
        }
    }

    /// Whether closed windows let the candidate pass as an emergency.
    pub(super) fn is_emergency(&mut self, candidate: &Candidate, closed: &Closed) -> bool {
        let live = self.live.as_ref().map(|live| live.live.revision.clone());
        if let Some((from, to, emergency)) = &self.windows.emergency
            && *from == live
            && to == candidate.revision()
        {
            return *emergency;
        }
        let emergency = self.settings.windows.let_pass(closed, &self.plan_of(candidate));
        self.windows.emergency = Some((live, candidate.revision().clone(), emergency));
        emergency
    }

    /// What a candidate would change of what is live.
    pub(super) fn plan_of(&self, candidate: &Validated) -> Plan {
        let live = self.live.as_ref().map(|live| live.validated.snapshot());
        plan(live, candidate.snapshot(), &Reader::plan_inputs(&self.readers))
    }

    /// Tells by what a candidate passes closed windows.
    pub(super) fn tell_passage(&mut self, revision: &Revision, passage: &str) {
        self.events.append([Record {
            revision: Some(revision.clone()),
            message: format!("it passes a closed window: {passage}"),
            ..Record::new("Passed")
        }]);
    }

    /// A person lets the head through, whatever the windows say.
    pub(super) fn let_through(&mut self, wanted: LetThrough) -> Result<Passed, String> {
        let Some(head) = self
            .head
            .as_ref()
            .filter(|head| *head.revision() == wanted.revision)
        else {
            let head = self.head.as_ref().map_or("none", |head| head.revision().short());
            return Err(format!(
                "the head of the branch is {head}, not {}: look at it first (`lockstep plan`)",
                wanted.revision.short()
            ));
        };
        if let Judged::Refused(refused) = &head.judged {
            return Err(refused.reason.clone());
        }
        let time = Timestamp::now();
        let live = self
            .live
            .as_ref()
            .is_some_and(|live| live.live.revision == wanted.revision);
        let closed = self.closed(time).filter(|_| !live);
        if closed.is_some() {
            let revision = wanted.revision.clone();
            let message = format!("{}: {}", wanted.by, wanted.reason);
            self.store
                .change(|ledger| ledger.let_through = Some(wanted))
                .map_err(|error| error.to_string())?;
            self.events.append([Record {
                revision: Some(revision),
                message,
                ..Record::new("LetThrough")
            }]);
        }
        self.consider();
        let held = self.status().held.map(|held| held.reason);
        Ok(Passed {
            passed: closed.is_some(),
            held,
        })
    }

    /// What a plan is made of, as it is now.
    pub(super) fn outlook(&self) -> Outlook {
        Outlook {
            settings: Arc::clone(&self.settings),
            readers: Arc::clone(&self.readers),
            live: self.live.clone(),
            ledger: self.store.ledger().clone(),
            now: self.clock.now(),
        }
    }
}

/// What a plan is made of: a value, because the revision may have to be judged first, by another thread.
pub(super) struct Outlook {
    settings: Arc<Settings>,
    readers: Arc<[Reader]>,
    live: Option<LiveRelease>,
    ledger: Ledger,
    now: Moment,
}

impl Outlook {
    /// The plan of a revision, and when it would go out.
    pub(super) fn view(&self, judged: &Judged) -> PlanView {
        match judged {
            Judged::Refused(refused) => PlanView::refused(refused.reason.clone()),
            Judged::Valid(validated) => {
                let live = self.live.as_ref().map(|live| live.validated.snapshot());
                let plan = plan(live, validated.snapshot(), &Reader::plan_inputs(&self.readers));
                PlanView {
                    goes_out: self.goes_out(validated, &plan),
                    plan: Some(plan),
                    refused: None,
                    warnings: validated.warnings().map(str::to_owned),
                }
            }
        }
    }

    /// When a revision would go out; nothing where the settings have no windows, or nobody would notice.
    fn goes_out(&self, validated: &Validated, plan: &Plan) -> Option<GoesOut> {
        let windows = &self.settings.windows;
        if windows.is_empty() || plan.is_empty() {
            return None;
        }
        let time = Timestamp::now();
        let gate = windows.at(time);
        let Gate::Closed(closed) = &gate else {
            return Some(GoesOut::of(&gate, None));
        };
        let head = admission::Head {
            revision: validated.revision(),
            digest: validated.digest(),
            reads: validated.reads(),
            ancestry: admission::Ancestry::Descends,
        };
        let facts = admission::Facts {
            live: self.live.as_ref().map(|live| &live.live),
            ledger: &self.ledger,
            aborted: None,
            stuck: false,
            rewind: self.settings.source.rewind,
            closed: Some(closed),
            emergency: windows.let_pass(closed, plan),
            now: self.now,
            time,
        };
        let passage = admission::passage(&head, &facts).as_ref().map(Passage::to_string);
        Some(GoesOut::of(&gate, passage))
    }
}
