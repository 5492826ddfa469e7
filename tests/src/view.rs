//! The status as `lockstep status --json` prints it: the fields that scripts may rely on.

use lockstep_protocol::{Digest, Revision};
use serde::Deserialize;

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Status {
    /// What is live.
    pub live: Option<Live>,
    /// The newest revision, if it is not live.
    pub candidate: Option<Candidate>,
    /// The rollout under way, or stuck.
    pub rollout: Option<Rollout>,
    /// The services.
    pub services: Vec<Service>,
    /// Revisions whose rollout failed.
    pub quarantined: Vec<Quarantined>,
    /// Why the candidate is not tried now.
    pub held: Option<Held>,
    /// Whether reconciling is suspended.
    pub suspended: Option<Suspended>,
    /// Whether the source answers.
    pub source: Source,
    /// What somebody has to look at.
    pub alarms: Vec<String>,
}

/// What is live.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Live {
    /// The commit that settled last.
    pub revision: Revision,
    /// The digest of its files.
    pub digest: Digest,
    /// The switch.
    pub switch: u64,
    /// The revision in the release itself.
    pub published: Revision,
}

/// The candidate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Candidate {
    /// The revision.
    pub revision: Revision,
    /// Its state.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
}

/// The rollout.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Rollout {
    /// Its name.
    pub id: String,
    /// Its state.
    pub state: String,
    /// From where.
    pub from: Option<Revision>,
    /// To where.
    pub to: Revision,
    /// Why it goes back, or is stuck.
    pub reason: Option<String>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its tier.
    pub tier: String,
    /// Whether all its instances run what is live.
    pub current: bool,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Instance {
    /// Its token.
    pub id: Option<String>,
    /// Its pid.
    pub pid: Option<i32>,
    /// Its state.
    pub state: String,
    /// The revision it states to run.
    pub revision: Option<Revision>,
    /// The digest it states to run.
    pub digest: Option<Digest>,
    /// The switch it states to run.
    pub switch: Option<u64>,
    /// Whether that is what is live, to it.
    pub current: bool,
    /// What is wrong.
    pub error: Option<String>,
    /// How often it was started again by itself.
    pub restarts: u32,
}

/// A revision in quarantine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Quarantined {
    /// Which.
    pub revision: Revision,
    /// Why.
    pub reason: String,
}

/// Why the candidate is held.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Held {
    /// Which.
    pub revision: Revision,
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Option<jiff::Timestamp>,
}

/// Reconciling is suspended.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Suspended {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Option<jiff::Timestamp>,
}

/// The source.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Source {
    /// Why it does not answer.
    pub error: Option<String>,
}

impl Status {
    /// A service.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> &Service {
        self.services
            .iter()
            .find(|service| service.name == name)
            .expect("the service is in the settings")
    }

    /// The only instance of a service.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn instance(&self, name: &str) -> &Instance {
        self.service(name)
            .instances
            .first()
            .expect("a supervised service has one instance")
    }
}
