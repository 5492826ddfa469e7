//! What the guard says, as the coordinator hears it: answers to requests, and what happens by itself.

use lockstep_core::rollout::{Event, MemberId};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Answer, Body, Event as GuardEvent, Message, Process, Refusal};
use lockstep_protocol::InstanceToken;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Report;
use super::folders::Folders;
use super::link::{Link, LinkError};
use super::pending::{Asked, Pending};
use super::phrases::{fault_phrase, members, phrase, refusal_phrase};
use super::task::{Agent, Ended};

impl Agent {
    pub(super) async fn heard_guard(
        &mut self,
        message: Message,
        link: &mut Link,
    ) -> Result<Option<Ended>, LinkError> {
        match message {
            Message::Event { event } => {
                self.guard_event(event);
                Ok(None)
            }
            Message::Answer { id, result } => {
                let Some(Asked { what, .. }) = self.pending.remove(&id) else {
                    return Ok(None);
                };
                if let Err(Refusal::Deposed { .. }) = result {
                    return Ok(Some(Ended::Deposed));
                }
                self.answered(what, result, link).await
            }
        }
    }

    fn guard_event(&mut self, event: GuardEvent) {
        match event {
            GuardEvent::Ended {
                instance,
                exit,
                back_off_ms,
                left_behind,
            } => {
                let service = ServiceName::new(&instance.service);
                self.pids.remove(&service);
                self.note_gone(&service, &instance.instance);
                let mut how = phrase(&exit, left_behind);
                if let Some(back_off) = back_off_ms {
                    how = format!("{how} (started again in {back_off} ms)");
                }
                self.tell(Report::Event(Event::Ended {
                    member: MemberId::only(&service),
                    instance: InstanceToken(instance.instance),
                    how,
                }));
            }
            GuardEvent::Started { service, process } => {
                let service = ServiceName::new(&service);
                self.tell(Report::Restarted(service.clone()));
                self.started(&service, &process);
            }
            GuardEvent::FreezeExpired => self.tell(Report::Event(Event::PauseExpired)),
        }
    }

    pub(super) fn started(&mut self, service: &ServiceName, process: &Process) {
        self.pids.insert(service.clone(), process.pid);
        let member = MemberId::only(service);
        self.tell(Report::Process {
            member: member.clone(),
            pid: process.pid,
        });
        self.tell(Report::Event(Event::Started {
            member,
            instance: InstanceToken(process.instance.clone()),
        }));
        self.look(true);
    }

    async fn answered(
        &mut self,
        pending: Pending,
        result: Result<Answer, Refusal>,
        link: &mut Link,
    ) -> Result<Option<Ended>, LinkError> {
        match (pending, result) {
            (Pending::Examine { targets, mut unfit }, result) => {
                match result {
                    Ok(Answer::Signalled { faults }) => {
                        for target in &targets {
                            if let Some(fault) = faults.get(target.member.service.as_str()) {
                                let pid = self.pids.get(&target.member.service).copied();
                                unfit.insert(target.member.clone(), fault_phrase(fault, target, pid));
                            }
                        }
                    }
                    Ok(_) => {}
                    Err(refusal) => {
                        for target in &targets {
                            unfit.insert(target.member.clone(), refusal_phrase(&refusal));
                        }
                    }
                }
                // Whoever cannot be told of the switch would be left on its own.
                unfit.extend(self.unusable());
                self.tell(Report::Event(Event::Examined { unfit }));
            }
            (Pending::Attach(service), answer) => self.note_attached(&service, answer),
            (Pending::Pause { .. }, Ok(_)) => self.tell(Report::Event(Event::Paused)),
            (Pending::Pause { .. }, Err(refusal)) => {
                self.tell(Report::Event(Event::PauseFailed {
                    reason: refusal_phrase(&refusal),
                }));
            }
            (
                Pending::Unpause,
                Ok(Answer::Thawed {
                    pause_us,
                    expired,
                    unsent,
                }),
            ) => {
                self.tell(Report::Event(Event::Unpaused {
                    pause: Duration::from_micros(pause_us),
                    expired,
                    unsent: members(unsent),
                }));
            }
            (Pending::Unpause, result) => {
                // Nothing was frozen any more: the limit had passed before.
                tracing::error!(answer = ?result, "the guard could not unpause what was no longer paused");
                return Ok(Some(Ended::Lost));
            }
            (Pending::Tell(_), Ok(Answer::Signalled { faults })) => {
                self.tell(Report::Event(Event::Told {
                    unsent: members(faults),
                }));
            }
            (Pending::Tell(whom), result) => {
                tracing::error!(answer = ?result, "the guard could not send reloads");
                let why = match result {
                    Err(refusal) => refusal_phrase(&refusal),
                    Ok(answer) => format!("the guard answered {answer:?}"),
                };
                self.tell(Report::Event(Event::Told {
                    unsent: whom.into_iter().map(|member| (member, why.clone())).collect(),
                }));
            }
            (Pending::Remind(whom), result) => {
                let unsent = match result {
                    Ok(Answer::Signalled { faults }) => members(faults),
                    Err(refusal) => to_nobody(&whom, &refusal_phrase(&refusal)),
                    Ok(answer) => to_nobody(&whom, &format!("the guard answered {answer:?}")),
                };
                self.tell(Report::Reminded { whom, unsent });
            }
            (Pending::Start(service), Ok(Answer::Started { process })) => self.started(&service, &process),
            (Pending::Start(service), result) => {
                let reason = match result {
                    Err(refusal) => refusal_phrase(&refusal),
                    Ok(answer) => format!("the guard answered {answer:?}"),
                };
                self.tell(Report::Event(Event::StartFailed {
                    member: MemberId::only(&service),
                    reason,
                }));
            }
            (Pending::StopToStart(service), Ok(_)) => {
                let body = Body::Start {
                    service: service.to_string(),
                };
                self.ask(link, body, Pending::Start(service)).await?;
            }
            (Pending::StopToStart(service), Err(refusal)) => {
                let reason = refusal_phrase(&refusal);
                self.tell(Report::Event(Event::StartFailed {
                    member: MemberId::only(&service),
                    reason,
                }));
            }
            (Pending::Stop { service }, result) => {
                let more = self
                    .pending
                    .values()
                    .any(|asked| matches!(asked.what, Pending::Stop { .. }));
                match result {
                    Err(refusal) => {
                        let why = format!("{service}: {}", refusal_phrase(&refusal));
                        self.tell(Report::Stopped(Err(why)));
                    }
                    Ok(_) if more => {}
                    Ok(_) => self.tell(Report::Stopped(Ok(()))),
                }
            }
            (Pending::Shutdown, _) => {
                if let Err(error) = Folders::remove(&self.spec.state) {
                    tracing::warn!(%error, "the instances' folders are left over");
                }
                self.tell(Report::Down(Ok(())));
                return Ok(Some(Ended::Down));
            }
            (Pending::Release, Ok(_)) => {
                for (service, rollout) in std::mem::take(&mut self.offered) {
                    self.spec.folders.withdraw_offer(&service, &rollout);
                }
            }
            (Pending::Dismiss | Pending::Nothing, Ok(_)) => {}
            (Pending::Release | Pending::Dismiss | Pending::Nothing, Err(refusal)) => {
                tracing::error!(refusal = ?refusal, "the guard refused an order");
            }
        }
        Ok(None)
    }
}

/// All of these were meant, and none was told.
fn to_nobody(whom: &[(MemberId, InstanceToken)], why: &str) -> BTreeMap<MemberId, String> {
    whom.iter()
        .map(|(member, _)| (member.clone(), why.to_owned()))
        .collect()
}
