//! Traces of rollouts, for whoever asked for them.
//!
//! They are made of what is told anyway, the events of a rollout, and of the times that the source's and the volume's
//! threads note besides. So nothing is added to a rollout, least of all to its pause, and whoever receives the traces
//! can neither delay nor fail one. What is not sent when the program ends is lost.

#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod follow;
#[cfg(feature = "otlp")]
mod spans;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lockstep_protocol::Revision;

/// As many steps wait to be asked for: those of a few candidates.
const WAITING: usize = 64;

/// A step towards a rollout, with its beginning and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: &'static str,
    revision: Revision,
    began: Timestamp,
    ended: Timestamp,
}

/// What the threads note that no event tells.
#[derive(Debug, Clone, Default)]
pub struct Steps(Arc<Mutex<VecDeque<Step>>>);

impl Steps {
    /// A step has just ended.
    pub fn note(&self, name: &'static str, revision: &Revision, began: Timestamp) {
        let step = Step {
            name,
            revision: revision.clone(),
            began,
            ended: Timestamp::now(),
        };
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() == WAITING {
            steps.pop_front();
        }
        steps.push_back(step);
    }

    /// Those of a revision. They stay: an aborted rollout is tried again.
    #[cfg(feature = "otlp")]
    fn of(&self, revision: &Revision) -> Vec<Step> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps
            .iter()
            .filter(|step| step.revision == *revision)
            .cloned()
            .collect()
    }
}

/// Sends the trace of each rollout that ends, if the settings or the environment name a collector; else, or where that
/// cannot be set up, it ends at once.
#[cfg(feature = "otlp")]
pub async fn run(
    settings: Option<crate::settings::Telemetry>,
    events: Arc<crate::events::EventLog>,
    steps: Steps,
) {
    match export::Collector::of(settings) {
        Ok(None) => {}
        Ok(Some(collector)) => follow::follow(&events, &steps, collector).await,
        Err(error) => {
            tracing::error!(%error, "no traces are sent: correct [telemetry] or the OTEL_ variables");
        }
    }
}

/// Nothing, in a build without it; settings that ask for traces are refused.
#[cfg(not(feature = "otlp"))]
pub async fn run(_: Option<crate::settings::Telemetry>, _: Arc<crate::events::EventLog>, _: Steps) {}
