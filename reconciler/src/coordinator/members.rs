//! Who takes part in a rollout, with what is known of each; and the reloads that are owed to those that were
//! told before they were fit.

use std::collections::BTreeMap;

use lockstep_core::instances::{Instance, InstanceState};
use lockstep_core::rollout::{self, Effect, Life, Member, MemberId, Outcome, Phase};
use lockstep_core::service::{Reload, ServiceName, Tier};

use lockstep_protocol::InstanceToken;

use super::Coordinator;
use crate::agent::{Order, Sought, Target};
use crate::events::Event as Record;

/// The alarm that somebody else's process cannot be found, or is not what is expected.
const FOREIGN: &str = "foreign";

impl Coordinator {
    /// The members of a rollout: everybody the plan touches, with what is known of them now.
    pub(super) fn members(
        &self,
        effects: &BTreeMap<ServiceName, Effect>,
        first: bool,
    ) -> BTreeMap<MemberId, Member> {
        let now = self.clock.now();
        let live = self.live.as_ref().map(|live| &live.live);
        effects
            .iter()
            .filter_map(|(name, effect)| {
                let service = self.settings.service(name)?;
                let id = MemberId::only(name);
                let unknown = Instance::default();
                let known = self.instances.get(&id).unwrap_or(&unknown);
                let state = known.state(name, &service.verify, live, &self.reads, now);
                // One that states to run what was given up has to leave it like everybody else.
                let left_behind =
                    state == InstanceState::Diverged && self.store.ledger().unheard.contains_key(name);
                // One that somebody else runs may live before the first release, and has taken none.
                let first = first && service.supervised().is_some();
                let part = if first || state.participates() || left_behind {
                    rollout::Part::Participant
                } else {
                    rollout::Part::Absent
                };
                let life = known
                    .alive
                    .as_ref()
                    .map_or(Life::Dead, |alive| Life::Alive(alive.instance.clone()));
                let member = Member {
                    part,
                    effect: *effect,
                    pause: service.pause,
                    reload: service.reload.clone(),
                    tier: service.verify.tier,
                    within: service.verify.within,
                    stop_within: service.stop_within(),
                    supervised: service.supervised().is_some(),
                    check: service.check.is_some(),
                    life,
                    progress: rollout::Progress::Waiting,
                    restarted: false,
                    statement: known.statement.clone(),
                    probe: known.probe.clone(),
                };
                Some((id, member))
            })
            .collect()
    }

    /// Whoever was told while it was still starting gets one more reload once it is fit.
    pub(super) fn pay_owed_reloads(&mut self) {
        let now = self.clock.now();
        let live = self.live.as_ref().map(|live| live.live.clone());
        let mut targets = Vec::new();
        for service in &self.settings.services {
            let id = MemberId::only(&service.name);
            let Some(instance) = self
                .instances
                .get_mut(&id)
                .filter(|instance| instance.is_owed(now))
            else {
                continue;
            };
            let state = instance.state(&service.name, &service.verify, live.as_ref(), &self.reads, now);
            if let (true, Some(alive), Reload::Signal(_) | Reload::Http(_)) =
                (state.participates(), &instance.alive, &service.reload)
            {
                targets.push(Target {
                    member: id,
                    instance: alive.instance.clone(),
                    reload: service.reload.clone(),
                    within: service.verify.within,
                });
                instance.note_sent(now);
            }
        }
        if !targets.is_empty() {
            self.order(Order::Remind(targets));
        }
    }

    /// A service that somebody else runs was found, or was not.
    pub(super) fn sought(&mut self, service: &ServiceName, found: Sought) {
        let now = self.clock.now();
        let known = self.settings.service(service);
        let Some((tier, reload)) = known.map(|known| (known.verify.tier, known.reload.clone())) else {
            return;
        };
        let instance = self.instances.entry(MemberId::only(service)).or_default();
        self.unusable.remove(service);
        match found {
            Sought::There => {
                // It may have read what was live before the process was noticed, and says nothing.
                let blind =
                    tier < Tier::Acknowledged && matches!(reload, Reload::Signal(_) | Reload::Http(_));
                // A rollout that it is a member of tells it, as long as that asks anybody.
                let told = self.active.as_ref().is_some_and(|active| {
                    active.rollout.members.contains_key(&MemberId::only(service))
                        && !matches!(active.rollout.phase, Phase::Closing { .. } | Phase::Done(_))
                });
                if blind && self.live.is_some() && !told {
                    instance.owe(now);
                }
            }
            Sought::Nobody(why) => instance.ended = Some(why),
            Sought::Unusable(why) => {
                instance.ended = Some(why.clone());
                let message = format!("{service}: {why}");
                self.unusable.insert(service.clone(), message.clone());
                self.tell_or_wait(Record {
                    service: Some(service.to_string()),
                    message,
                    ..Record::new("Alarm")
                });
            }
        }
        self.show_unusable();
    }

    /// Who can be found and who cannot, as it is known when the guard answers: what became of one meanwhile need not be
    /// news to whoever searched.
    pub(super) fn note_unusable(&mut self, unusable: BTreeMap<ServiceName, String>) {
        self.unusable = unusable
            .into_iter()
            .map(|(service, why)| (service.clone(), format!("{service}: {why}")))
            .collect();
        self.show_unusable();
    }

    fn show_unusable(&mut self) {
        if self.unusable.is_empty() {
            self.alarms.remove(FOREIGN);
        } else {
            let all: Vec<_> = self.unusable.values().cloned().collect();
            self.alarms.insert(FOREIGN, all.join("; "));
        }
    }

    /// Tells something; while somebody may be paused nothing is written, and it is told later.
    fn tell_or_wait(&mut self, record: Record) {
        match self.active.as_mut().filter(|active| active.quiet) {
            Some(active) => active.waiting.push(record),
            None => self.events.append([record]),
        }
    }

    /// Reloads that were owed were sent, or could not be: then they still are.
    pub(super) fn reminded(
        &mut self,
        whom: Vec<(MemberId, InstanceToken)>,
        mut unsent: BTreeMap<MemberId, String>,
    ) {
        let mut news = Vec::new();
        for (id, token) in whom {
            let why = unsent.remove(&id);
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            if instance.note_paid(&token, why)
                && let Some(owed) = &instance.owed
            {
                news.push(Record {
                    service: Some(id.service.to_string()),
                    instance: Some(token.0),
                    message: owed.phrase(),
                    ..Record::new("Alarm")
                });
            }
        }
        self.keep_owed();
        if news.is_empty() {
            return;
        }
        match self.active.as_mut().filter(|active| active.quiet) {
            // While somebody may be paused, nothing is written.
            Some(active) => active.waiting.extend(news),
            None => self.events.append(news),
        }
    }

    /// Marks those that were told without being fit yet, whichever way it ended: a service that states nothing may
    /// have read either release at its start.
    ///
    /// Before the journal says that it is over: a successor of this program must know them as well.
    pub(super) fn owe_reloads(&mut self, rollout: &rollout::Rollout, outcome: &Outcome) {
        match outcome {
            Outcome::Settled { .. } | Outcome::RolledBack { .. } | Outcome::Superseded => {}
            // Nothing was switched, or all else is another's business.
            Outcome::Aborted { .. } | Outcome::Rejected { .. } | Outcome::Deposed => return,
        }
        let now = self.clock.now();
        for (id, member) in &rollout.members {
            let blind = member.tier < Tier::Acknowledged && member.part == rollout::Part::Absent;
            let told = matches!(member.reload, Reload::Signal(_) | Reload::Http(_));
            if let (true, true, Some(instance)) = (blind, told, self.instances.get_mut(id)) {
                instance.owe(now);
            }
        }
        self.keep_owed();
    }

    /// Remembers across a restart who is owed a reload. In a pause nothing is written: what is paid once more does no
    /// harm.
    fn keep_owed(&mut self) {
        let owed: BTreeMap<_, _> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.owed.is_some())
            .filter_map(|(id, instance)| {
                Some((id.service.clone(), instance.alive.as_ref()?.instance.clone()))
            })
            .collect();
        let quiet = self.active.as_ref().is_some_and(|active| active.quiet);
        if !quiet && self.store.ledger().owed != owed {
            let noted = self.store.change(|ledger| ledger.owed = owed);
            self.remember(noted);
        }
    }
}
