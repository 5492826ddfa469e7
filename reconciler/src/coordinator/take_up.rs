//! Taking up what lies on the volume at the start: what is live, and a rollout that has no outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::admission::Live;
use lockstep_core::instances::ReadsTable;
use lockstep_core::ledger::{Ledger, SettledTree};
use lockstep_core::rollout;
use lockstep_core::service::ServiceName;
use lockstep_protocol::{Digest, Release, Revision, RolloutId, SwitchNumber};
use lockstep_volume::{Current, Found, Intent, JournalRecord, OutcomeKind, Side, Volume};
use serde::{Deserialize, Serialize};

use super::LiveRelease;
use super::drift::effect;
use super::failed::StartError;
use crate::candidate::{Reader, Validated};
use crate::settings::Settings;

/// A rollout without an outcome, and what `current` pointed to.
#[derive(Debug)]
pub(super) struct Recovering {
    pub(super) intent: Intent,
    pub(super) current: Option<SwitchNumber>,
    pub(super) candidate: Option<Arc<Validated>>,
}

/// What an outcome in the journal says beside its kind. The revision too, because the intent of a rollout that was
/// taken up lies in the journal of an earlier term.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Detail {
    pub(super) revision: Revision,
    pub(super) digest: Digest,
    pub(super) outcome: rollout::Outcome,
}

/// A rollout that came to its end.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) rollout: RolloutId,
    pub(super) revision: Revision,
    pub(super) outcome: rollout::Outcome,
}

/// What was taken up from the volume.
pub(super) struct Taken {
    pub(super) live: Option<LiveRelease>,
    pub(super) recovering: Option<Recovering>,
    /// A rollout that settled by the journal, for a ledger that was not flushed any more.
    pub(super) settled: Option<SettledTree>,
    /// The journal's last rollout, if it has its outcome.
    pub(super) ended: Option<Ended>,
    pub(super) alarms: BTreeMap<&'static str, String>,
    pub(super) healing: Option<BTreeMap<ServiceName, rollout::Effect>>,
    pub(super) lost: Option<Lost>,
}

/// What settled last, of which nothing that can be read is left on the volume. Services may still run it, so it is
/// put back under them as soon as the mirror gives it.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) tree: SettledTree,
    /// The highest switch known: what it is said to be live under until it is put back.
    pub(super) switch: SwitchNumber,
}

impl Taken {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Validated>> {
        let live = self.live.as_ref().map(|live| &live.validated);
        let candidate = self
            .recovering
            .as_ref()
            .and_then(|recovering| recovering.candidate.as_ref());
        live.into_iter().chain(candidate)
    }
}

pub(super) fn take_up(
    volume: &mut Volume,
    found: Found,
    ledger: &Ledger,
    settings: &Settings,
    readers: &[Reader],
) -> Result<Taken, StartError> {
    let mut taken = Taken {
        live: None,
        recovering: None,
        settled: None,
        ended: None,
        alarms: BTreeMap::new(),
        healing: None,
        lost: None,
    };
    let current = match &found.current {
        Current::Live { switch, .. } | Current::Dangling { switch, .. } => Some(*switch),
        Current::None | Current::Foreign { .. } => None,
    };
    let journal = found.journal;
    let open = journal
        .as_ref()
        .filter(|record| record.outcome().is_none())
        .and_then(|record| record.intent().cloned());
    // Of one that another version wrote it is known that it ended, and no more.
    if let Some(outcome) = journal.as_ref().and_then(JournalRecord::outcome)
        && let Ok(detail) = serde_json::from_value::<Detail>(outcome.detail.clone())
    {
        if outcome.kind == OutcomeKind::Settled {
            taken.settled = Some(SettledTree {
                revision: detail.revision.clone(),
                digest: detail.digest,
                at: outcome.ended,
            });
        }
        taken.ended = Some(Ended {
            rollout: outcome.rollout.clone(),
            revision: detail.revision,
            outcome: detail.outcome,
        });
    }
    if let Some(intent) = open {
        if let Some(from) = &intent.from {
            // Where the way back was made already, it leads to what is live: that may have been built anew.
            let release = match &found.current {
                Current::Live { switch, release, .. } if *switch == intent.back => release,
                Current::Live { .. } | Current::Dangling { .. } | Current::None | Current::Foreign { .. } => {
                    &from.release
                }
            };
            let side = Side {
                release: release.clone(),
                ..from.clone()
            };
            taken.live = readable(read_side(volume, &side, settings, readers));
        }
        // A side that cannot be read any more is no reason not to start: the way back needs no candidate, and what
        // was live before is built anew.
        let candidate = readable(read_side(volume, &intent.to, settings, readers)).map(|side| side.validated);
        taken.recovering = Some(Recovering {
            intent,
            current,
            candidate,
        });
        return Ok(taken);
    }
    let lost = match found.current {
        Current::None => None,
        Current::Live {
            switch,
            release,
            document,
            ..
        } => {
            let side = Side {
                switch,
                revision: document.revision,
                digest: document.digest,
                release,
            };
            taken.live = read_side(volume, &side, settings, readers)?;
            return Ok(taken);
        }
        Current::Dangling { target, .. } => Some(format!(
            "`current` points to {}, which is gone or does not say what it is",
            target.display()
        )),
        Current::Foreign { target } => {
            let target = target.map_or_else(
                || "no link".to_owned(),
                |to| format!("a link to {}", to.display()),
            );
            Some(format!("`current` is {target}, which is none of Lockstep's"))
        }
    };
    // Something settled before, so somebody else took `current` away: what settled last is live, and is healed
    // under the services that run it.
    let kept = ledger.last_settled().and_then(|last| {
        let mine = volume
            .kept()
            .into_iter()
            .filter(|kept| kept.digest == last.digest);
        mine.max_by_key(|kept| kept.last_switch)
    });
    let gone = || "`current` is gone".to_owned();
    match (kept, ledger.last_settled()) {
        (Some(kept), _) => {
            let what = lost.unwrap_or_else(gone);
            let side = Side {
                switch: kept.last_switch.unwrap_or(found.highest_switch),
                revision: kept.revision,
                digest: kept.digest,
                release: kept.name,
            };
            taken.live = read_side(volume, &side, settings, readers)?;
            let message = format!("{what}: somebody else changed the volume; what settled last is put back");
            tracing::error!("{message}");
            taken.alarms.insert("drift", message);
            taken.healing = Some(
                readers
                    .iter()
                    .map(|reader| (reader.name.clone(), effect(reader)))
                    .collect(),
            );
        }
        (None, Some(last)) => {
            let message = format!(
                "{}: somebody else changed the volume, and nothing of what settled last ({}) can be read there; it is \
                 put back from the repository",
                lost.unwrap_or_else(gone),
                last.revision.short()
            );
            tracing::error!("{message}");
            taken.alarms.insert("drift", message);
            taken.lost = Some(Lost {
                tree: last.clone(),
                switch: found.highest_switch,
            });
        }
        (None, None) => {
            if let Some(what) = lost {
                let message =
                    format!("{what}: the head of the branch is rolled out as if it were the first release");
                tracing::error!("{message}");
                taken.alarms.insert("drift", message);
            }
        }
    }
    Ok(taken)
}

/// A side of the rollout that was under way, if it can be read.
fn readable(side: Result<Option<LiveRelease>, StartError>) -> Option<LiveRelease> {
    side.unwrap_or_else(|error| {
        tracing::error!(%error, "a release of the rollout that was under way is damaged");
        None
    })
}

/// Notes what the services read of releases that instances state to run: without it nobody knows whether those are,
/// to a service, what is live.
pub(super) fn note_stated(
    volume: &mut Volume,
    stated: impl Iterator<Item = Digest>,
    settings: &Settings,
    readers: &[Reader],
    reads: &mut ReadsTable,
) {
    for digest in stated {
        if reads.of(&digest).is_some() {
            continue;
        }
        let Some(kept) = volume.kept().into_iter().find(|kept| kept.digest == digest) else {
            continue;
        };
        let side = Side {
            switch: kept.last_switch.unwrap_or(SwitchNumber(0)),
            revision: kept.revision,
            digest,
            release: kept.name,
        };
        match read_side(volume, &side, settings, readers) {
            Ok(Some(known)) => reads.insert(digest, known.validated.reads().clone()),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "an instance runs a release that cannot be read"),
        }
    }
}

/// A release on the volume, with what can be known of it without git.
fn read_side(
    volume: &mut Volume,
    side: &Side,
    settings: &Settings,
    readers: &[Reader],
) -> Result<Option<LiveRelease>, StartError> {
    let unreadable = |reason: String| StartError::Release {
        release: side.release.to_string(),
        reason,
    };
    let Some(tree) = volume
        .tree_of(&side.release)
        .map_err(|error| unreadable(error.to_string()))?
    else {
        return Ok(None);
    };
    let folder = volume
        .path()
        .join(".lockstep/releases")
        .join(side.release.as_str());
    let document: Release = std::fs::read(folder.join(lockstep_protocol::RELEASE_FILE))
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()))
        .map_err(unreadable)?;
    let prefix = &settings.source.spec.path;
    let validated = Validated::from_release(&document, tree.clone(), &folder, prefix, readers)
        .or_else(|error| {
            // Somebody took a document away: the services are started all the same, and drift is healed. Until the
            // mirror has said it, nobody knows who reads what of it.
            tracing::error!(release = %side.release, %error, "a document of a release on the volume is missing");
            Validated::from_release(&document, tree, &folder, prefix, &[])
        })
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Some(LiveRelease {
        live: Live {
            revision: side.revision.clone(),
            digest: side.digest,
            switch: side.switch,
            published: side.revision.clone(),
        },
        release: side.release.clone(),
        document,
        validated: Arc::new(validated),
    }))
}
