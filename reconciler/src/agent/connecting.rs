//! The guard is connected to, again and again: what is done while it cannot be reached, and what its loss means for
//! what it was asked. Never two conversations at once.

use std::pin::pin;

use lockstep_core::ledger::back_off;
use lockstep_core::rollout::Event;
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::Supervised;
use tokio::time::timeout;

use super::link::{HELLO_WITHIN, Link, LinkError};
use super::pending::Pending;
use super::task::{Agent, Ended, age};
use super::{Order, Report};

impl Agent {
    /// Works until there are no more orders, all is down, or a higher term has spoken.
    pub async fn run(mut self) {
        let mut tries = 0;
        loop {
            let opened = match self.open().await {
                Ok(Some((mut link, services))) => match self.attach_all(&mut link, services).await {
                    Ok(services) => Ok(Some((link, services))),
                    Err(error) => {
                        // Asked on a connection that is gone.
                        self.pending.clear();
                        Err(error)
                    }
                },
                other => other,
            };
            match opened {
                Ok(None) => break,
                Ok(Some((link, services))) => {
                    tries = 0;
                    let ages = services
                        .iter()
                        .filter_map(|known| {
                            let age = age(known.process.as_ref()?)?;
                            Some((ServiceName::new(&known.service), age))
                        })
                        .collect();
                    for known in &services {
                        if let Some(process) = &known.process {
                            self.pids.insert(ServiceName::new(&known.service), process.pid);
                        }
                    }
                    // In one report: between two, a rollout could begin without those who were not heard yet.
                    let heard = self.heard_now(true);
                    self.tell(Report::Connected {
                        services,
                        ages,
                        heard,
                        unusable: self
                            .unusable()
                            .map(|(member, why)| (member.service, why))
                            .collect(),
                    });
                    match self.converse(link).await {
                        Ended::Orders | Ended::Down => break,
                        Ended::Deposed => {
                            self.tell(Report::Event(Event::Deposed));
                            break;
                        }
                        Ended::Lost => {
                            let pending = std::mem::take(&mut self.pending);
                            let asked =
                                |what: fn(&Pending) -> bool| pending.values().any(|asked| what(&asked.what));
                            if asked(|asked| matches!(asked, Pending::Stop { .. })) {
                                self.tell(Report::Stopped(Err("the guard was lost".to_owned())));
                            }
                            if asked(|asked| matches!(asked, Pending::Shutdown)) {
                                let why = "the guard was lost while it ended everything, and whoever it had started \
                                           may live: try `lockstep down` again";
                                self.tell(Report::Down(Err(why.to_owned())));
                            }
                            // Not called back, but not waited for: whoever did not answer is asked again.
                            for request in std::mem::take(&mut self.requests).into_values() {
                                request.abort();
                            }
                            self.losses += 1;
                            self.examinations += 1;
                            self.tell(Report::Event(Event::AgentLost));
                        }
                    }
                }
                Err(LinkError::Deposed { .. }) => {
                    self.tell(Report::Event(Event::Deposed));
                    break;
                }
                Err(error) => {
                    tries += 1;
                    tracing::error!(%error, "no guard");
                    let why = error.to_string();
                    self.tell(Report::Unreachable(why.clone()));
                    // Trying again at once would only burn the processor: starting a guard has just failed.
                    tokio::select! {
                        () = tokio::time::sleep(back_off(tries)) => {}
                        order = self.orders.recv() => match order {
                            None => break,
                            Some((losses, order)) => self.put_off(losses, order, &why),
                        },
                    }
                }
            }
        }
        self.leave_outputs_alone();
        self.work.shutdown().await;
    }

    /// Opens a conversation with the guard, which is started where there is none; none if there are no more orders.
    ///
    /// One that is there and does not answer is waited for, loudly: it has the services, and nobody else may start
    /// or stop them. The connection stays the same, so that it is heard as soon as it answers.
    async fn open(&mut self) -> Result<Option<(Link, Vec<Supervised>)>, LinkError> {
        let mut link = Link::connect(&self.spec).await?;
        let silent = link.silent().to_string();
        let spec = self.spec.clone();
        let known = {
            let mut greeting = pin!(link.greet(&spec));
            match timeout(HELLO_WITHIN, &mut greeting).await {
                Ok(known) => known?,
                Err(_) => {
                    tracing::error!("{silent}");
                    self.tell(Report::Unreachable(silent.clone()));
                    loop {
                        tokio::select! {
                            // It answers after all, or has ended.
                            known = &mut greeting => break known?,
                            // The coordinator wants something.
                            order = self.orders.recv() => match order {
                                None => return Ok(None),
                                Some((losses, order)) => self.put_off(losses, order, &silent),
                            },
                        }
                    }
                }
            }
        };
        let (services, _) = known;
        Ok(Some((link, services)))
    }

    /// An order while the guard cannot be reached.
    fn put_off(&self, losses: u64, order: Order, why: &str) {
        match order {
            Order::Shutdown => {
                let why = format!("the guard cannot be reached, and whoever it had started may live: {why}");
                self.tell(Report::Down(Err(why)));
            }
            order if self.is_stale(losses, &order) => self.drop_stale(order),
            // Nothing can be done now; the coordinator hears of it when the guard is back.
            order => self.refuse(order, "the guard cannot be reached"),
        }
    }
}
