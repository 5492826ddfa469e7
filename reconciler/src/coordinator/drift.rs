//! Drift: what lies on the volume otherwise than it was written is noticed and healed by a rollout.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::admission::Live;
use lockstep_core::rollout::{Effect, Kind, Moment};
use lockstep_core::service::{Reload, ServiceName};
use lockstep_core::tree::TreePath;
use lockstep_protocol::Revision;
use lockstep_volume::{Drift, ReleaseName};
use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::execute::document;
use super::take_up::Lost;
use super::volume::Job;
use super::{Coordinator, LiveRelease};
use crate::candidate::{Reader, Validated};
use crate::clock::Clock;
use crate::events::Event as Record;

/// How often everything is compared with what was written.
const EVERY: Duration = Duration::from_secs(60);

/// The watch on the volume's top level, and the slow timer.
pub(super) struct Watch {
    doorbell: Arc<Notify>,
    due: Moment,
    /// Held for its drop: it ends the watch. None where the volume cannot be watched: the timer remains.
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Watch {
    pub(super) fn start(volume: &Path, clock: &Clock) -> Self {
        let doorbell = Arc::new(Notify::new());
        let ring = Arc::clone(&doorbell);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Being read is no change, and our own look at the links would ring the bell for ever.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                ring.notify_one();
            }
        })
        .and_then(|mut watcher| {
            watcher.watch(volume, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "the volume cannot be watched: it is compared once a minute only");
                None
            }
        };
        Self {
            doorbell,
            due: clock.now(),
            _watcher: watcher,
        }
    }

    pub(super) async fn rung(&self) {
        self.doorbell.notified().await;
    }

    pub(super) fn due(&self) -> Moment {
        self.due
    }
}

impl Coordinator {
    /// The top level changed: by our own switch, most often, and then there is nothing to find.
    pub(super) fn look_at_links(&mut self) {
        if self.active.is_none() && self.live.is_some() {
            self.volume.ask(Job::CheckLinks);
        }
    }

    /// Compares everything, now and again a minute later.
    pub(super) fn look_for_drift(&mut self) {
        self.drift.due = self.clock.now().after(EVERY);
        if self.active.is_none() && self.live.is_some() {
            self.volume.ask(Job::CheckDrift);
        }
    }

    /// Something differs. While a rollout is under way it is our own doing; it is looked at again afterwards.
    pub(super) fn drifted(&mut self, drifts: &[Drift]) {
        if self.active.is_some() {
            self.drift.due = self.clock.now().after(Duration::from_secs(1));
            return;
        }
        // What is not ours is left alone; whatever else differs is healed.
        let ours: Vec<_> = drifts
            .iter()
            .filter(|drift| !matches!(drift, Drift::Foreign { .. }))
            .collect();
        if ours.is_empty() {
            return;
        }
        let found: Vec<_> = ours.iter().map(|drift| phrase(drift)).collect();
        let message = format!(
            "the volume was changed by somebody else and is healed: {}",
            found.join("; ")
        );
        self.events.append([Record {
            message: message.clone(),
            ..Record::new("Drift")
        }]);
        self.alarms.insert("drift", message);
        let effects = self
            .readers
            .iter()
            .filter(|reader| ours.iter().any(|drift| concerns(drift, reader)));
        self.healing = Some(
            effects
                .map(|reader| (reader.name.clone(), effect(reader)))
                .collect(),
        );
    }

    /// The mirror has what settled last and is gone from the volume: it is live, and healed under whoever runs it.
    pub(super) fn put_back(&mut self, lost: &Lost, validated: Arc<Validated>) {
        let revision = lost.tree.revision.clone();
        self.judge_against(Arc::clone(&validated), revision.clone());
        self.live = Some(LiveRelease {
            live: Live {
                revision: revision.clone(),
                digest: lost.tree.digest,
                switch: lost.switch,
                published: revision.clone(),
            },
            release: ReleaseName::new(&lost.tree.digest, &revision, 1),
            document: document(&validated),
            validated,
        });
        self.healing = Some(
            self.readers
                .iter()
                .map(|reader| (reader.name.clone(), effect(reader)))
                .collect(),
        );
    }

    /// Neither the volume nor the repository has what settled last any more.
    pub(super) fn give_up_lost(&mut self, revision: &Revision) {
        // Before the first look the mirror may only be behind.
        if self.head.is_none() {
            return;
        }
        if let Some(lost) = self.lost.take_if(|lost| lost.tree.revision == *revision) {
            let message = format!(
                "what settled last ({}) is gone from the volume and from the repository: the head of the branch is \
                 rolled out as if it were the first release",
                lost.tree.revision.short()
            );
            tracing::error!("{message}");
            self.alarms.insert("drift", message);
        }
    }

    /// Begins to heal, if there is something to heal.
    pub(super) fn drift_to_heal(&mut self) -> bool {
        if self.active.is_some() {
            return false;
        }
        let Some(live) = self.live.clone() else {
            return false;
        };
        let now = self.clock.now();
        let waits = self
            .unhealed
            .as_ref()
            .is_some_and(|aborted| aborted.revision == live.live.published && now < aborted.again_at);
        if waits {
            return false;
        }
        let Some(effects) = self.healing.take() else {
            return false;
        };
        let effects: BTreeMap<ServiceName, Effect> = effects;
        self.roll(live.validated, Kind::Healing, &effects, Instant::now());
        true
    }
}

/// What healing does to a service: what any change would.
pub(super) fn effect(reader: &Reader) -> Effect {
    match reader.reload {
        Reload::Restart => Effect::Restart,
        Reload::Signal(_) | Reload::Http(_) | Reload::Watch => Effect::Reload,
    }
}

/// Whether a service may have read what is damaged.
fn concerns(drift: &Drift, reader: &Reader) -> bool {
    let covers = |path: &str| TreePath::new(path).is_ok_and(|path| reader.reads.covers(&path, None));
    match drift {
        Drift::Current { .. } | Drift::Switch { .. } | Drift::Contents { .. } => true,
        Drift::Link { entry, .. } => {
            // A link that is gone leads nowhere; the entry's own files are what a service may have looked for.
            covers(entry) || entry.is_empty()
        }
        Drift::Foreign { .. } => false,
        Drift::File { path, .. } => path.to_str().is_some_and(covers),
    }
}

fn phrase(drift: &Drift) -> String {
    let target = |found: &Option<std::path::PathBuf>| {
        found.as_ref().map_or_else(
            || "is gone or no link".to_owned(),
            |to| format!("points to {}", to.display()),
        )
    };
    match drift {
        Drift::Current { found } => format!("`current` {}", target(found)),
        Drift::Switch { found } => format!("the link of the live switch {}", target(found)),
        Drift::Link { entry, found } => format!("the link {entry} {}", target(found)),
        Drift::Foreign { entry } => format!("{entry} is not Lockstep's"),
        Drift::File { path, change } => format!(
            "{} is {}",
            path.display(),
            match change {
                lockstep_volume::FileChange::Modified => "modified",
                lockstep_volume::FileChange::Missing => "missing",
                lockstep_volume::FileChange::Extra => "not part of the release",
                lockstep_volume::FileChange::Mode => "under other permissions",
            }
        ),
        Drift::Contents { release } => format!("the release {release} does not hold what its document says"),
    }
}
