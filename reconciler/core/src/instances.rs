//! What is known of the instances of all services between rollouts, and who is a participant.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_protocol::{Digest, InstanceToken, Status, StatusState};
use serde::{Deserialize, Serialize};

use crate::admission::Live;
use crate::ledger::back_off;
use crate::rollout::{Evidence, MemberId, Moment, ProbeResult, RUNNING_AFTER};
use crate::service::{ServiceName, Tier, Verify};

/// The digest over what a service reads, by release digest: how two releases are the same to a service.
#[derive(Debug, Clone, Default)]
pub struct ReadsTable {
    by_release: BTreeMap<Digest, BTreeMap<ServiceName, Digest>>,
}

impl ReadsTable {
    /// Notes what the services read of a release.
    pub fn insert(&mut self, release: Digest, reads: BTreeMap<ServiceName, Digest>) {
        self.by_release.insert(release, reads);
    }

    /// What the services read of a release, if it is known.
    #[must_use]
    pub fn of(&self, release: &Digest) -> Option<&BTreeMap<ServiceName, Digest>> {
        self.by_release.get(release)
    }

    /// Forgets releases that nobody needs any more.
    pub fn keep(&mut self, needed: impl Fn(&Digest) -> bool) {
        self.by_release.retain(|digest, _| needed(digest));
    }

    /// Whether two releases are the same to a service. Unknown releases are the same only to themselves.
    #[must_use]
    pub fn same(&self, service: &ServiceName, one: &Digest, other: &Digest) -> bool {
        one == other
            || match (self.by_release.get(one), self.by_release.get(other)) {
                (Some(one), Some(other)) => {
                    one.get(service).is_some() && one.get(service) == other.get(service)
                }
                (Some(_) | None, None) | (None, Some(_)) => false,
            }
    }
}

/// The state of an instance, as status prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// It lives and has not reached its tier since its start.
    Starting,
    /// It reached its tier, which is below `acknowledged`.
    Fit,
    /// It states that it runs what is live.
    Applied,
    /// It runs what is live; its last attempt, at another release, was refused.
    Rejected,
    /// It lives and did not reach its tier in its time.
    Silent,
    /// It does not live.
    Dead,
    /// It states that it runs something else than what is live.
    Diverged,
}

impl InstanceState {
    /// All of them, in the order of the type: for metrics that name each.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Fit,
        Self::Applied,
        Self::Rejected,
        Self::Silent,
        Self::Dead,
        Self::Diverged,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Fit => "fit",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Silent => "silent",
            Self::Dead => "dead",
            Self::Diverged => "diverged",
        }
    }

    /// Whether an instance in this state is a participant of a rollout that begins now.
    #[must_use]
    pub fn participates(self) -> bool {
        match self {
            Self::Fit | Self::Applied | Self::Rejected => true,
            Self::Starting | Self::Silent | Self::Dead | Self::Diverged => false,
        }
    }
}

/// A living instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// Its token.
    pub instance: InstanceToken,
    /// Its pid.
    pub pid: u32,
    /// When it started, or was first seen.
    pub since: Moment,
}

/// All that is known of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instance {
    /// The living process, if any.
    pub alive: Option<Alive>,
    /// Its last statement.
    pub statement: Option<Status>,
    /// Its last probe.
    pub probe: Option<ProbeResult>,
    /// How its last process ended.
    pub ended: Option<String>,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// The reload that it is owed, if it was told while it was still starting.
    pub owed: Option<Owed>,
}

/// A reload that is owed: to a service that states nothing, and may have read an earlier release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// When it is sent (again).
    pub again_at: Moment,
    /// How often it was sent.
    pub tries: u32,
    /// Why it could not be sent the last time.
    pub why: Option<String>,
}

impl Owed {
    /// What it means for who looks at the instance.
    #[must_use]
    pub fn phrase(&self) -> String {
        let why = self.why.as_deref().unwrap_or("it has not come up yet");
        format!(
            "it was told while it was starting and may run an earlier release; one more reload is due: {why}"
        )
    }
}

impl Instance {
    /// Notes that it was started, or found alive.
    pub fn note_started(&mut self, instance: InstanceToken, pid: u32, since: Moment) {
        if self
            .alive
            .as_ref()
            .is_some_and(|alive| alive.instance == instance)
        {
            return;
        }
        self.alive = Some(Alive { instance, pid, since });
        self.statement = None;
        self.probe = None;
        self.owed = None;
    }

    /// Notes that it is owed one more reload.
    pub fn owe(&mut self, now: Moment) {
        self.owed = Some(Owed {
            again_at: now,
            tries: 0,
            why: None,
        });
    }

    /// Whether a reload that it is owed is to be sent now.
    #[must_use]
    pub fn is_owed(&self, now: Moment) -> bool {
        self.owed.as_ref().is_some_and(|owed| owed.again_at <= now)
    }

    /// Notes that what it is owed was sent. Only the answer pays it; without one it is sent again.
    pub fn note_sent(&mut self, now: Moment) {
        if let Some(owed) = &mut self.owed {
            owed.tries = owed.tries.saturating_add(1);
            owed.again_at = now.after(back_off(owed.tries));
        }
    }

    /// Notes that what it is owed reached it, or why not. True when that is news to somebody.
    pub fn note_paid(&mut self, instance: &InstanceToken, unsent: Option<String>) -> bool {
        let mine = self
            .alive
            .as_ref()
            .is_some_and(|alive| alive.instance == *instance);
        let Some(owed) = self.owed.as_mut().filter(|_| mine) else {
            return false;
        };
        let Some(why) = unsent else {
            self.owed = None;
            return false;
        };
        owed.why.replace(why).is_none()
    }

    /// Notes that it ended.
    pub fn note_ended(&mut self, instance: &InstanceToken, how: String) {
        if self
            .alive
            .as_ref()
            .is_some_and(|alive| alive.instance == *instance)
        {
            self.alive = None;
            self.statement = None;
            self.probe = None;
            self.ended = Some(how);
        }
    }

    /// Notes evidence. A statement counts only with the token of the instance that lives.
    pub fn note_evidence(&mut self, evidence: &Evidence) {
        match evidence {
            Evidence::Stated(status) => {
                if self
                    .alive
                    .as_ref()
                    .is_some_and(|alive| alive.instance == status.instance)
                {
                    self.statement = Some((**status).clone());
                }
            }
            Evidence::Probed(result) => self.probe = Some(result.clone()),
        }
    }

    /// Whether what it runs is the same, to its service, as what is live.
    #[must_use]
    pub fn current(
        &self,
        service: &ServiceName,
        verify: &Verify,
        live: Option<&Live>,
        reads: &ReadsTable,
    ) -> bool {
        let (Some(live), Some(_)) = (live, &self.alive) else {
            return false;
        };
        match verify.tier {
            Tier::Running | Tier::Probed => self.owed.is_none(),
            Tier::Acknowledged | Tier::Voting => self
                .statement
                .as_ref()
                .and_then(|status| status.digest)
                .is_some_and(|digest| reads.same(service, &digest, &live.digest)),
        }
    }

    /// Its state.
    #[must_use]
    pub fn state(
        &self,
        service: &ServiceName,
        verify: &Verify,
        live: Option<&Live>,
        reads: &ReadsTable,
        now: Moment,
    ) -> InstanceState {
        let Some(alive) = &self.alive else {
            return InstanceState::Dead;
        };
        let in_time = now < alive.since.after(verify.within);
        let late = if in_time {
            InstanceState::Starting
        } else {
            InstanceState::Silent
        };
        match verify.tier {
            Tier::Running if now >= alive.since.after(RUNNING_AFTER) => InstanceState::Fit,
            Tier::Running => InstanceState::Starting,
            Tier::Probed => match &self.probe {
                Some(ProbeResult { failure: None, .. }) => InstanceState::Fit,
                Some(ProbeResult { failure: Some(_), .. }) | None => late,
            },
            Tier::Acknowledged | Tier::Voting => match &self.statement {
                None => late,
                Some(status) if self.current(service, verify, live, reads) => match status.state {
                    StatusState::Applied => InstanceState::Applied,
                    // What it runs is right by its digest, yet it refuses the very switch that is live.
                    StatusState::Rejected
                        if live.is_some_and(|live| status.attempted.switch == Some(live.switch)) =>
                    {
                        InstanceState::Diverged
                    }
                    StatusState::Rejected => InstanceState::Rejected,
                },
                // Before the first release there is nothing to differ from.
                Some(status) if live.is_none() && status.digest.is_none() => late,
                Some(_) => InstanceState::Diverged,
            },
        }
    }

    /// When its state changes by time alone.
    #[must_use]
    pub fn next_moment(&self, verify: &Verify, now: Moment) -> Option<Moment> {
        let since = self.alive.as_ref()?.since;
        let moments = [since.after(RUNNING_AFTER), since.after(verify.within)];
        let owed = self.owed.as_ref().map(|owed| owed.again_at);
        moments
            .into_iter()
            .chain(owed)
            .filter(|moment| *moment > now)
            .min()
    }

    /// For how long its process has lived.
    #[must_use]
    pub fn uptime(&self, now: Moment) -> Option<Duration> {
        self.alive
            .as_ref()
            .map(|alive| now.0.saturating_sub(alive.since.0))
    }
}

/// All instances.
pub type Instances = BTreeMap<MemberId, Instance>;

#[cfg(test)]
mod tests;
