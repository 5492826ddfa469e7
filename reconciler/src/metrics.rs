//! The metrics: what a dashboard and an alert look at. Seconds, and labels from closed sets.

use std::sync::atomic::{AtomicI64, AtomicU64};

use lockstep_core::instances::InstanceState;
use lockstep_core::status::StatusView;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LiveLabels {
    revision: String,
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceLabels {
    service: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The metrics of one reconciler.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    live: Family<LiveLabels, Gauge>,
    rollouts: Family<OutcomeLabels, Counter>,
    rollout_duration: Histogram,
    pause: Histogram,
    commit_to_settled: Histogram,
    source_success: Gauge<f64, AtomicU64>,
    source_failing: Family<ReasonLabels, Gauge>,
    instances: Family<InstanceLabels, Gauge>,
    stuck: Gauge<i64, AtomicI64>,
    diverged: Gauge<i64, AtomicI64>,
    held: Gauge<i64, AtomicI64>,
    held_until: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let seconds = [
            0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        let pauses = [
            0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
        ];
        let mut metrics = Self {
            registry: Registry::with_prefix("lockstep"),
            live: Family::default(),
            rollouts: Family::default(),
            rollout_duration: Histogram::new(seconds),
            pause: Histogram::new(pauses),
            commit_to_settled: Histogram::new(seconds),
            source_success: Gauge::default(),
            source_failing: Family::default(),
            instances: Family::default(),
            stuck: Gauge::default(),
            diverged: Gauge::default(),
            held: Gauge::default(),
            held_until: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "live_info",
            "The revision and digest that are live; always 1",
            metrics.live.clone(),
        );
        // The crate appends _total to a counter's name by itself.
        registry.register("rollouts", "Rollouts by how they ended", metrics.rollouts.clone());
        registry.register_with_unit(
            "rollout_duration",
            "From the beginning of a rollout to its outcome",
            Unit::Seconds,
            metrics.rollout_duration.clone(),
        );
        registry.register_with_unit(
            "pause",
            "From the first pause sent to the last unpause confirmed",
            Unit::Seconds,
            metrics.pause.clone(),
        );
        registry.register_with_unit(
            "commit_to_settled",
            "From a commit seen to settled",
            Unit::Seconds,
            metrics.commit_to_settled.clone(),
        );
        registry.register_with_unit(
            "source_last_success_timestamp",
            "When the source last answered, in seconds since 1970",
            Unit::Seconds,
            metrics.source_success.clone(),
        );
        registry.register(
            "source_failing",
            "1 with the reason while the source does not answer",
            metrics.source_failing.clone(),
        );
        registry.register(
            "instances",
            "Instances by service and state",
            metrics.instances.clone(),
        );
        registry.register("stuck", "1 while a rollout is stuck", metrics.stuck.clone());
        registry.register(
            "diverged",
            "Instances that run something else than what is live",
            metrics.diverged.clone(),
        );
        registry.register("held", "1 while a candidate is held", metrics.held.clone());
        registry.register(
            "held_until_timestamp_seconds",
            "Until when a candidate is held, by a window for example; 0 where none is, or nobody knows",
            metrics.held_until.clone(),
        );
        metrics
    }

    /// Notes the outcome of a rollout.
    pub fn rollout_ended(&self, outcome: &'static str, took: std::time::Duration) {
        self.decided(outcome);
        self.rollout_duration.observe(took.as_secs_f64());
    }

    /// Notes a candidate that came to its outcome without a rollout: judged bad, or no change at all.
    pub fn decided(&self, outcome: &'static str) {
        self.rollouts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Notes a pause.
    pub fn paused(&self, took: std::time::Duration) {
        self.pause.observe(took.as_secs_f64());
    }

    /// Notes how long a commit took to settle.
    pub fn settled(&self, took: std::time::Duration) {
        self.commit_to_settled.observe(took.as_secs_f64());
    }

    /// Sets whatever the status says.
    pub fn follow(&self, status: &StatusView) {
        self.live.clear();
        if let Some(live) = &status.live {
            let labels = LiveLabels {
                revision: live.revision.to_string(),
                digest: live.digest.to_string(),
            };
            self.live.get_or_create(&labels).set(1);
        }
        self.source_failing.clear();
        if let Some(error) = &status.source.error {
            let reason = lockstep_source::code_in(error).unwrap_or("Other");
            self.source_failing.get_or_create(&ReasonLabels { reason }).set(1);
        }
        if let Some(at) = status.source.last_success {
            self.source_success.set(at.as_duration().as_secs_f64());
        }
        let mut diverged = 0;
        for service in &status.services {
            for state in InstanceState::ALL {
                let count = service
                    .instances
                    .iter()
                    .filter(|instance| instance.state == state)
                    .count();
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                if state == InstanceState::Diverged {
                    diverged += count;
                }
                let labels = InstanceLabels {
                    service: service.name.to_string(),
                    state: state.as_str(),
                };
                self.instances.get_or_create(&labels).set(count);
            }
        }
        self.diverged.set(diverged);
        self.stuck.set(i64::from(
            status
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.state == "Stuck"),
        ));
        self.held.set(i64::from(status.held.is_some()));
        let until = status.held.as_ref().and_then(|held| held.until);
        self.held_until.set(until.map_or(0, jiff::Timestamp::as_second));
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// Never in practice: writing to a text does not fail.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
