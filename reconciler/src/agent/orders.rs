//! Carrying out the coordinator's orders: each becomes a request to the guard, a task, or a file.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_core::rollout::{CheckVerdict, Event, MemberId};
use lockstep_guard::wire::{Body, InstanceRef};
use tokio::time::Instant;

use super::in_front::would_kill_behind;
use super::link::{Link, LinkError};
use super::pending::{Asked, Pending};
use super::task::{Agent, Ended, Finished};
use super::{Order, Report, Target, checks, mounts, watchdog};

impl Agent {
    pub(super) async fn carry_out(
        &mut self,
        order: Order,
        link: &mut Link,
    ) -> Result<Option<Ended>, LinkError> {
        match order {
            Order::Hold(services) => {
                self.rolling = true;
                self.leave_outputs_alone();
                // Who starts by himself cannot be held.
                let ours = services.iter().filter(|service| !self.is_foreign(service));
                let services = ours.map(ToString::to_string).collect();
                self.ask(link, Body::Hold { services }, Pending::Nothing).await?;
            }
            Order::Release => {
                self.probing.clear();
                self.rolling = false;
                // Offers are taken back when the guard has agreed: one that is deposed takes nothing away.
                self.ask(link, Body::Release, Pending::Release).await?;
            }
            Order::Examine(targets) => {
                self.examinations += 1;
                self.rolling = true;
                self.leave_outputs_alone();
                if targets.iter().any(|target| target.request().is_some()) {
                    self.see_who_listens(targets);
                } else {
                    self.examine(targets, BTreeMap::new(), link).await?;
                }
            }
            Order::Pause {
                targets,
                within,
                limit,
            } => {
                let body = Body::Freeze {
                    instances: targets.iter().map(reference).collect(),
                    within_ms: millis(within),
                    limit_ms: millis(limit),
                    signals: by_service(&targets),
                };
                self.ask(link, body, Pending::Pause { limit }).await?;
            }
            Order::Unpause(targets) => {
                let body = Body::Thaw {
                    signals: by_service(&targets),
                };
                self.ask(link, body, Pending::Unpause).await?;
            }
            Order::Tell(targets) => {
                let body = Body::Signal {
                    signals: signals_of(&targets),
                };
                let signalled = targets.into_iter().filter(|target| target.signal().is_some());
                let whom = signalled.map(|target| target.member).collect();
                self.ask(link, body, Pending::Tell(whom)).await?;
            }
            Order::Request(switch, targets) => {
                for target in targets {
                    self.request(target, Some(switch));
                }
            }
            Order::Remind(targets) => {
                let (requested, signalled): (Vec<_>, Vec<_>) =
                    targets.into_iter().partition(|target| target.request().is_some());
                for target in requested {
                    self.request(target, None);
                }
                if !signalled.is_empty() {
                    let body = Body::Signal {
                        signals: signals_of(&signalled),
                    };
                    let whom = signalled
                        .into_iter()
                        .map(|target| (target.member, target.instance));
                    self.ask(link, body, Pending::Remind(whom.collect())).await?;
                }
            }
            Order::Restart(services) => {
                for service in services {
                    if self.is_foreign(&service) {
                        self.refuse_start(&service);
                        continue;
                    }
                    let body = Body::Stop {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::StopToStart(service)).await?;
                }
            }
            Order::Start(services) => {
                for service in services {
                    if self.is_foreign(&service) {
                        self.refuse_start(&service);
                        continue;
                    }
                    let body = Body::Start {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::Start(service)).await?;
                }
            }
            Order::Stop(mut services) => {
                services.retain(|service| !self.is_foreign(service));
                if services.is_empty() {
                    self.tell(Report::Stopped(Ok(())));
                }
                for service in services {
                    let body = Body::Stop {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::Stop { service }).await?;
                }
            }
            Order::Dismiss(services) => {
                for service in services {
                    let body = Body::Stop {
                        service: service.to_string(),
                    };
                    self.ask(link, body, Pending::Dismiss).await?;
                }
            }
            Order::Offer(services, offer) => {
                for service in services {
                    if let Err(error) = self.spec.folders.offer(&service, &offer) {
                        // Without an offer there is no vote, and the time limit says so.
                        tracing::error!(%service, %error, "an offer cannot be made");
                    }
                    self.offered.insert(service, offer.rollout.clone());
                }
            }
            Order::Probe(services) => self.probe(services),
            Order::Look => {
                self.follow(link).await?;
                self.look(true);
            }
            Order::Check {
                rollout,
                service,
                command,
                within,
            } => {
                self.work.spawn(async move {
                    let verdict = checks::run(&command, within).await;
                    Finished::Check {
                        rollout,
                        service,
                        verdict,
                    }
                });
            }
            Order::Shutdown => {
                self.ask(link, Body::Shutdown, Pending::Shutdown).await?;
            }
        }
        Ok(None)
    }

    /// Sees whether these see the volume, and has the guard see whether they can be signalled.
    pub(super) async fn examine(
        &mut self,
        targets: Vec<Target>,
        mut unfit: BTreeMap<MemberId, String>,
        link: &mut Link,
    ) -> Result<(), LinkError> {
        // Answered before what follows is.
        self.follow(link).await?;
        unfit.extend(targets.iter().filter_map(|target| {
            let pid = self.pids.get(&target.member.service)?;
            let behind = || would_kill_behind(*pid, target.signal()?);
            let limit = self.spec.paused.get(&target.member.service);
            let bitten = || watchdog::bites_within(*pid, *limit?);
            let why = mounts::pinned_to_a_release(*pid)
                .or_else(behind)
                .or_else(bitten)?;
            Some((target.member.clone(), why))
        }));
        let body = Body::Examine {
            signals: signals_of(&targets),
        };
        self.ask(link, body, Pending::Examine { targets, unfit }).await
    }

    pub(super) async fn ask(
        &mut self,
        link: &mut Link,
        body: Body,
        pending: Pending,
    ) -> Result<(), LinkError> {
        let id = link.send(body).await?;
        let due = pending.patience().map(|patience| Instant::now() + patience);
        self.pending.insert(id, Asked { what: pending, due });
        Ok(())
    }

    /// Answers an order that cannot be carried out.
    pub(super) fn refuse(&self, order: Order, why: &str) {
        let event = match order {
            Order::Pause { .. } => Event::PauseFailed {
                reason: why.to_owned(),
            },
            Order::Check { rollout, service, .. } => {
                let verdict = CheckVerdict::Unknown(why.to_owned());
                return self.tell(Report::Checked {
                    rollout,
                    service,
                    verdict,
                });
            }
            Order::Stop(_) => return self.tell(Report::Stopped(Err(why.to_owned()))),
            // The loss of the agent was told, and what it means for these is decided by it.
            Order::Hold(_)
            | Order::Release
            | Order::Examine(_)
            | Order::Unpause(_)
            | Order::Tell(_)
            | Order::Request(..)
            | Order::Remind(_)
            | Order::Restart(_)
            | Order::Start(_)
            | Order::Dismiss(_)
            | Order::Offer(_, _)
            | Order::Probe(_)
            | Order::Look
            | Order::Shutdown => return,
        };
        self.tell(Report::Event(event));
    }
}

fn reference(target: &Target) -> InstanceRef {
    InstanceRef {
        service: target.member.service.to_string(),
        instance: target.instance.0.clone(),
    }
}

fn signals_of(targets: &[Target]) -> Vec<(InstanceRef, String)> {
    targets
        .iter()
        .filter_map(|target| Some((reference(target), target.signal()?.to_owned())))
        .collect()
}

fn by_service(targets: &[Target]) -> BTreeMap<String, String> {
    targets
        .iter()
        .filter_map(|target| Some((target.member.service.to_string(), target.signal()?.to_owned())))
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
