//! The guard answers, at the start and after each loss: who lives is known again, whoever should live is
//! started, and a rollout without an outcome is taken up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::ledger::SettledTree;
use lockstep_core::rollout::{self, Event, MemberId, Outcome};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Exit, RestartPolicy, Supervised};
use lockstep_protocol::InstanceToken;

use super::take_up::{Ended, Recovering};
use super::{Active, Coordinator, LiveRelease};
use crate::agent::Order;
use crate::candidate::Validated;
use crate::events::Event as Record;
use crate::history::Entry;
use crate::store::LedgerStore;

/// Started again so often, a service that is not up is not waited for before the first candidate is tried.
const LOOPS: u32 = 2;

impl Coordinator {
    /// What the journal knows and the ledger does not, because the program died between the two.
    pub(super) fn catch_up_ledger(&mut self, settled: Option<SettledTree>) {
        let known = |tree: &SettledTree, store: &LedgerStore| {
            store
                .ledger()
                .settled
                .iter()
                .any(|known| known.revision == tree.revision && known.digest == tree.digest)
        };
        if let Some(tree) = settled.filter(|tree| !known(tree, &self.store)) {
            let reads = self.reads.of(&tree.digest).cloned().unwrap_or_default();
            let noted = self.store.change(|ledger| ledger.note_settled(tree, &reads));
            self.remember(noted);
        }
        // The newest commit with the live files is what people call live.
        if let Some(live) = &mut self.live
            && let Some(last) = self.store.ledger().last_settled()
            && last.digest == live.live.digest
        {
            live.live.revision = last.revision.clone();
        }
    }

    /// Tells of an end that is in the journal and was not told any more, because the program died between the two.
    pub(super) fn tell_late(&mut self, ended: Option<Ended>) {
        let Some(Ended {
            rollout,
            revision,
            outcome,
        }) = ended
        else {
            return;
        };
        let message = match &outcome {
            Outcome::Settled { .. } => String::new(),
            Outcome::RolledBack { failures } => {
                let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
                failures.join("; ")
            }
            Outcome::Aborted { reason } => reason.clone(),
            // Nothing is told of these by a record of their own, or nothing is recorded.
            Outcome::Superseded | Outcome::Rejected { .. } | Outcome::Deposed => return,
        };
        let kind = outcome.as_str();
        if !self.history.ends_with(&rollout) {
            self.chronicle(Entry {
                rollout: Some(rollout.clone()),
                reason: message.clone(),
                ..Entry::new(&revision, kind)
            });
        }
        let told = self.events.since(0);
        let told = told
            .iter()
            .any(|event| event.kind == kind && event.rollout.as_ref() == Some(&rollout));
        if !told {
            self.events.append([Record {
                rollout: Some(rollout),
                revision: Some(revision),
                message,
                ..Record::new(kind)
            }]);
        }
    }

    /// The mirror knows a revision that was taken up from the volume, its policy included.
    pub(super) fn taken_up(&mut self, validated: Arc<Validated>) {
        self.reads.insert(validated.digest(), validated.reads().clone());
        if let Some(lost) = self.lost.take_if(|lost| lost.tree.digest == validated.digest()) {
            return self.put_back(&lost, validated);
        }
        let fits = |known: &Validated| {
            known.digest() == validated.digest() && known.revision() == validated.revision()
        };
        // Of what is live, the newest commit with its files is the base: its policy judges what comes next.
        let newest = |live: &LiveRelease| {
            live.live.digest == validated.digest()
                && (live.live.revision == *validated.revision()
                    || (live.live.published == *validated.revision()
                        && live.validated.revision() != &live.live.revision))
        };
        if let Some(live) = self.live.as_mut().filter(|live| newest(live)) {
            live.validated = Arc::clone(&validated);
            let settled = live.live.revision.clone();
            self.judge_against(Arc::clone(&validated), settled);
        }
        if let Some(candidate) = self
            .active
            .as_mut()
            .and_then(|active| active.candidate.as_mut())
            .filter(|known| fits(known))
        {
            *candidate = Arc::clone(&validated);
        }
        if let Some(candidate) = self
            .recovering
            .as_mut()
            .and_then(|recovering| recovering.candidate.as_mut())
            .filter(|known| fits(known))
        {
            *candidate = validated;
        }
    }

    /// Until the guard answers nobody can be told anything, and a candidate waits.
    pub(super) fn unreachable(&mut self, why: String) {
        let known = self.alarms.insert("guard", why.clone());
        if known.is_some() {
            return;
        }
        let record = Record {
            rollout: self.active.as_ref().map(|active| active.rollout.id.clone()),
            message: why,
            ..Record::new("Alarm")
        };
        match self.active.as_mut().filter(|active| active.quiet) {
            // While somebody may be paused, nothing is written.
            Some(active) => active.waiting.push(record),
            None => self.events.append([record]),
        }
    }

    /// The guard answers: who lives is known, and whoever should live and does not is started.
    pub(super) fn connected(
        &mut self,
        services: &[Supervised],
        ages: &BTreeMap<ServiceName, Duration>,
        heard: Vec<Event>,
    ) {
        let now = self.clock.now();
        self.alarms.remove("guard");
        let mut alive = BTreeMap::new();
        for known in services {
            let name = ServiceName::new(&known.service);
            let id = MemberId::only(&name);
            let instance = self.instances.entry(id.clone()).or_default();
            instance.restarts = known.restarts;
            // One that was taken out and put back meanwhile is about to end: it is started once it has.
            match known.process.as_ref().filter(|_| !known.stopping) {
                Some(process) => {
                    let age = ages.get(&name).copied().unwrap_or_default();
                    let since = rollout::Moment(now.0.saturating_sub(age));
                    let token = InstanceToken(process.instance.clone());
                    let known_before = instance
                        .alive
                        .as_ref()
                        .is_some_and(|alive| alive.instance == token);
                    instance.note_started(token.clone(), process.pid, since);
                    if !known_before && self.store.ledger().owed.get(&name) == Some(&token) {
                        instance.owe(now);
                    }
                    alive.insert(id, token);
                }
                None => instance.alive = None,
            }
            // What ended for good stays ended; what waits for its back-off is the guard's to start.
            let policy = self
                .settings
                .service(&name)
                .and_then(|service| Some(service.supervised()?.restart));
            let for_good = matches!(
                (&known.last_exit, policy),
                (Some(Exit::Code(_) | Exit::Signal(_)), Some(RestartPolicy::Never))
                    | (Some(Exit::Code(0)), Some(RestartPolicy::OnFailure))
            );
            self.ended.remove(&name);
            self.backing_off.remove(&name);
            self.looping.remove(&name);
            let old = ages.get(&name).is_some_and(|age| {
                let within = self.settings.service(&name).map(|service| service.verify.within);
                within.is_some_and(|within| *age >= within)
            });
            if known.restarts >= LOOPS && !old {
                self.looping.insert(name.clone());
            }
            match (&known.process, known.back_off_ms) {
                (None, Some(_)) => drop(self.backing_off.insert(name)),
                (None, None) if for_good => drop(self.ended.insert(name)),
                (_, _) => {}
            }
        }
        for (name, _) in &self.services {
            let instance = self.instances.entry(MemberId::only(name)).or_default();
            // One that is not ours may have ended while nobody could be asked: then the guard knows nothing of it.
            if !services.iter().any(|known| known.service == name.as_str()) {
                instance.alive = None;
            }
        }
        for event in &heard {
            self.note(event);
        }
        // Those that wait for their next start as well.
        let unwanted: Vec<_> = services
            .iter()
            .filter(|known| known.process.is_some() || known.back_off_ms.is_some())
            .map(|known| ServiceName::new(&known.service))
            .filter(|name| self.settings.service(name).is_none())
            .collect();
        alive.retain(|id, _| self.settings.service(&id.service).is_some());
        if !unwanted.is_empty() {
            let names: Vec<_> = unwanted.iter().map(ServiceName::as_str).collect();
            tracing::warn!(
                services = names.join(", "),
                "not in the settings any more: stopped"
            );
            self.instances.retain(|id, _| !unwanted.contains(&id.service));
            self.orders.give(Order::Dismiss(unwanted));
        }
        if !self.connected {
            self.connected = true;
            let longest = self.services.iter().map(|(_, verify)| verify.within).max();
            self.observed_at = Some(now.after(longest.unwrap_or_default()));
        }
        if let Some(recovering) = self.recovering.take() {
            self.recover(recovering, alive);
        } else if let Some(active) = &self.active {
            // What was held belonged to the connection that is gone.
            let services = active
                .rollout
                .members
                .keys()
                .map(|id| id.service.clone())
                .collect();
            self.orders.give(Order::Hold(services));
            self.event(Event::AgentBack { alive });
        }
        if self.active.is_some() {
            heard.into_iter().for_each(|event| self.event(event));
        }
        self.start_the_dead(|_| true);
    }

    /// With a release that settled, supervised services are started before any git server was asked.
    pub(super) fn start_the_dead(&self, meant: impl Fn(&ServiceName) -> bool) {
        if self.live.is_none() {
            return;
        }
        let rolling = |name: &ServiceName| {
            self.active
                .as_ref()
                .is_some_and(|active| active.rollout.members.contains_key(&MemberId::only(name)))
        };
        let dead: Vec<_> = self
            .services
            .iter()
            .map(|(name, _)| name)
            .filter(|name| {
                let instance = self.instances.get(&MemberId::only(name));
                let dead = instance.is_none_or(|instance| instance.alive.is_none());
                let service = self.settings.service(name);
                let ours = service.is_some_and(|service| service.supervised().is_some());
                dead && ours
                    && meant(name)
                    && !rolling(name)
                    && !self.ended.contains(name)
                    && !self.backing_off.contains(name)
            })
            .cloned()
            .collect();
        if !dead.is_empty() {
            self.orders.give(Order::Start(dead));
        }
    }

    /// Takes up a rollout that has no outcome.
    fn recover(&mut self, recovering: Recovering, alive: BTreeMap<MemberId, InstanceToken>) {
        let Recovering {
            intent,
            current,
            candidate,
        } = recovering;
        let mut rollout: rollout::Rollout = match serde_json::from_value(intent.detail.clone()) {
            Ok(rollout) => rollout,
            Err(error) => {
                // Written by a version that is not understood: what is known without it is enough to go on.
                tracing::error!(%error, "the intent in the journal is not understood; the head is judged anew");
                return;
            }
        };
        // Whoever was taken out of the settings since is stopped, and nobody waits for it.
        rollout
            .members
            .retain(|id, _| self.settings.service(&id.service).is_some());
        let found = rollout::Found {
            current,
            quarantined: self
                .store
                .ledger()
                .quarantine_of(&intent.to.revision)
                .map(|entry| entry.reason.clone()),
            alive,
        };
        tracing::warn!(rollout = %rollout.id, ?current, "taking up a rollout that has no outcome");
        let (rollout, commands) = rollout::recover(rollout, &found, self.clock.now());
        self.active = Some(Active {
            rollout,
            candidate,
            // What is live may have been built anew since, for a way back that was made.
            release_from: match &self.live {
                Some(live) => Some(live.release.clone()),
                None => intent.from.map(|from| from.release),
            },
            release_to: Some(intent.to.release),
            staged: None,
            recovered: true,
            passage: None,
            current,
            switched: None,
            began: Instant::now(),
            seen: Instant::now(),
            pause: None,
            quiet: false,
            waiting: Vec::new(),
            phase_began: Instant::now(),
        });
        self.follow("", commands);
    }
}
