//! Windows: when changes may go out. Each is a schedule that says when it is active, and whether that keeps changes
//! out (`deny`) or is the only time that lets them in (`allow`).
//!
//! With any allow window, changes go out only while one of them is active; an active deny window keeps them out all the
//! same. Pure: the moment is an argument, a time zone is a value. What passes a closed window is said in
//! [`admission`](crate::admission), but for its emergency keys.

mod emergency;
mod runs;
mod schedule;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use emergency::{Emergency, EmergencyError};
pub use schedule::{Schedule, ScheduleError};

use crate::plan::Plan;
use runs::Union;

/// No moment further away than this is looked for. A 29 February comes within 8 years.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 366 * 9);

/// What an active window means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Changes go out only while such a window is active.
    Allow,
    /// No change goes out while it is active.
    Deny,
}

/// One window.
#[derive(Debug, Clone)]
pub struct Window {
    /// What people call it.
    pub name: String,
    /// What it means while it is active.
    pub kind: Kind,
    /// When it is active.
    pub schedule: Schedule,
    /// The keys whose change it does not hold back.
    pub emergency: Vec<Emergency>,
}

/// All windows of the settings.
#[derive(Debug, Clone, Default)]
pub struct Windows(Vec<Window>);

/// Whether changes may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open {
        /// Until when; none: until nothing that is known.
        until: Option<Timestamp>,
    },
    /// They may not.
    Closed(Closed),
}

/// Why changes may not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The deny windows that are active.
    pub denied_by: Vec<String>,
    /// There are allow windows, and none is active.
    pub outside: bool,
    /// The next moment at which changes may go out.
    pub until: Option<Timestamp>,
    /// The windows, as people read them.
    pub why: String,
}

/// When a change would go out, as a plan shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoesOut {
    /// Now, or not now.
    pub when: When,
    /// Until when that is so, if it is known.
    pub until: Option<Timestamp>,
    /// What holds it, or by what it passes.
    pub reason: Option<String>,
}

/// Whether a change would go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// It would.
    Now,
    /// A window holds it.
    Held,
}

impl GoesOut {
    /// What a gate means for a change, and by what that passes it if it is closed.
    #[must_use]
    pub fn of(gate: &Gate, passage: Option<String>) -> Self {
        match (gate, passage) {
            (Gate::Open { until }, _) => Self {
                when: When::Now,
                until: *until,
                reason: None,
            },
            (Gate::Closed(_), Some(passage)) => Self {
                when: When::Now,
                until: None,
                reason: Some(format!("it passes a closed window: {passage}")),
            },
            (Gate::Closed(closed), None) => Self {
                when: When::Held,
                until: closed.until,
                reason: Some(closed.reason()),
            },
        }
    }
}

impl std::fmt::Display for GoesOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.when {
            When::Now => "Goes out: now",
            When::Held => "Goes out: held",
        })?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl Closed {
    /// The windows, and the way through.
    #[must_use]
    pub fn reason(&self) -> String {
        format!(
            "{}; `lockstep sync --now --reason WHY` lets this one through",
            self.why
        )
    }
}

impl Windows {
    /// Whether there are none: then changes go out at any time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes windows, if changes can ever go out with them.
    ///
    /// # Errors
    /// One line for each window that never becomes active or has another one's name; or that all together never let
    /// a change out.
    pub fn new(windows: Vec<Window>, now: Timestamp) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for window in &windows {
            if !names.insert(window.name.as_str()) {
                problems.push(format!(
                    "{:?} is used twice; each window has a name of its own",
                    window.name
                ));
            }
            if window.schedule.runs(now, far(now)).next().is_none() {
                problems.push(format!(
                    "{:?} never begins: no day that is to come fits {:?}",
                    window.name,
                    window.schedule.cron()
                ));
            }
        }
        let all = Self(windows);
        if problems.is_empty()
            && let Gate::Closed(Closed { until: None, .. }) = all.at(now)
        {
            problems.push(
                "no change could ever go out: deny windows cover all the time that is left; shorten one of them"
                    .to_owned(),
            );
        }
        if problems.is_empty() {
            Ok(all)
        } else {
            Err(problems)
        }
    }

    /// Whether changes may go out at a moment, and when that changes.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Gate {
        let end = far(now);
        let mut denied = self.union(Kind::Deny, now, end);
        let mut allowed = self.union(Kind::Allow, now, end);
        let any_allows = self.0.iter().any(|window| window.kind == Kind::Allow);
        let denies = denied.after(now);
        let allows = allowed.after(now);
        let is_denied = denies.is_some_and(|run| run.start <= now);
        let is_allowed = !any_allows || allows.is_some_and(|run| run.start <= now);
        if is_allowed && !is_denied {
            let allowed_until = allows.filter(|_| any_allows).map(|run| run.end);
            let changes = [denies.map(|run| run.start), allowed_until];
            let until = changes.into_iter().flatten().min();
            return Gate::Open {
                until: until.filter(|until| *until < end),
            };
        }
        let mut at = now;
        let until = loop {
            if at >= end {
                break None;
            }
            if let Some(run) = denied.after(at).filter(|run| run.start <= at) {
                at = run.end;
                continue;
            }
            if !any_allows {
                break Some(at);
            }
            match allowed.after(at) {
                None => break None,
                Some(run) if run.start > at => at = run.start,
                Some(_) => break Some(at),
            }
        };
        Gate::Closed(self.closed(now, !is_allowed, until))
    }

    /// Whether a closed gate lets a change pass because it touches emergency keys alone: each window that is in its
    /// way has to say so. Of several allow windows that are not active, one is enough.
    #[must_use]
    pub fn let_pass(&self, closed: &Closed, plan: &Plan) -> bool {
        let passes = |window: &Window| emergency::covered(&window.emergency, plan);
        let denying = |window: &&Window| closed.denied_by.contains(&window.name);
        let mut allowing = self.0.iter().filter(|window| window.kind == Kind::Allow);
        self.0.iter().filter(denying).all(passes) && (!closed.outside || allowing.any(passes))
    }

    fn union(&self, kind: Kind, from: Timestamp, end: Timestamp) -> Union<'_> {
        let windows = self.0.iter().filter(|window| window.kind == kind);
        Union::of(windows.map(|window| window.schedule.runs(from, end)))
    }

    fn closed(&self, now: Timestamp, outside: bool, until: Option<Timestamp>) -> Closed {
        let active = |window: &&Window| {
            let run = window.schedule.runs(now, far(now)).find(|run| run.end > now);
            window.kind == Kind::Deny && run.is_some_and(|run| run.start <= now)
        };
        let denying: Vec<_> = self.0.iter().filter(active).collect();
        let mut why: Vec<_> = denying
            .iter()
            .map(|window| {
                format!(
                    "the window {:?} keeps changes out ({})",
                    window.name, window.schedule
                )
            })
            .collect();
        if outside {
            let allowing = self.0.iter().filter(|window| window.kind == Kind::Allow);
            let names: Vec<_> = allowing
                .map(|window| format!("{:?} ({})", window.name, window.schedule))
                .collect();
            why.push(format!(
                "changes go out only in the window {}",
                names.join(" or ")
            ));
        }
        Closed {
            denied_by: denying.iter().map(|window| window.name.clone()).collect(),
            outside,
            until,
            why: why.join("; "),
        }
    }
}

fn far(now: Timestamp) -> Timestamp {
    now.checked_add(HORIZON).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
