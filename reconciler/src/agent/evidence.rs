//! Status files, as they change: what was heard last of each service, so that only news are told.

use std::collections::BTreeMap;

use lockstep_core::rollout::{Event, Evidence, MemberId};
use lockstep_core::service::ServiceName;
use lockstep_protocol::Status;

/// What was heard last.
#[derive(Debug, Default)]
pub(super) struct Heard {
    last: BTreeMap<ServiceName, Result<Option<Status>, String>>,
}

impl Heard {
    /// Looks at these services' status files and gives the statements that are new; all of them if `again`.
    ///
    /// A file that is no whole document is ignored, as the protocol says, and told to the log once.
    pub(super) fn look<'a>(
        &mut self,
        services: impl Iterator<Item = &'a ServiceName>,
        again: bool,
        status: impl Fn(&ServiceName) -> Result<Option<Status>, String>,
    ) -> Vec<Event> {
        let mut news = Vec::new();
        for service in services {
            let now = status(service);
            let known = self.last.get(service) == Some(&now);
            if let (false, Err(error)) = (known, &now) {
                tracing::warn!(%service, %error, "a status file is ignored");
            }
            if let (true, Ok(Some(status))) = (again || !known, &now) {
                news.push(Event::Evidence {
                    member: MemberId::only(service),
                    evidence: Evidence::Stated(Box::new(status.clone())),
                });
            }
            // A broken file hides nothing that was heard before: the level stays until a new one is whole.
            if now.is_ok() || !known {
                self.last.insert(service.clone(), now);
            }
        }
        news
    }
}
