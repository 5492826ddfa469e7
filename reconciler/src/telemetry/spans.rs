//! From the events of one rollout to its spans. Pure: what was told goes in, what is to be sent comes out.

use jiff::{SignedDuration, Timestamp};

use super::Step;
use crate::events::Event;

/// A stretch of time with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) name: String,
    /// The span that it is a part of, by its place; none of the first.
    pub(super) parent: Option<usize>,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) attributes: Vec<(&'static str, String)>,
    /// Why it counts as failed.
    pub(super) error: Option<String>,
}

/// Whether an event is the last of its rollout, or says all of a commit that needed none.
pub(super) fn is_last(event: &Event) -> bool {
    match event.kind.as_str() {
        "Settled" | "RolledBack" | "Aborted" | "Rejected" => true,
        // Stuck has no end of its own, but for one that was given up for another.
        "Stuck" => event.message.starts_with("given up"),
        _ => false,
    }
}

/// The step that begins with an event of this kind, as traces name it.
fn phase(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Preparing" => "prepare",
        "Pausing" => "pause",
        "Publishing" => "switch",
        "Unpausing" => "unpause",
        "Verifying" => "verify",
        "Baking" => "bake",
        "Restoring" => "restore",
        "Stuck" => "stuck",
        _ => return None,
    })
}

/// The spans of one rollout, the whole of it first. None without events.
pub(super) fn of(events: &[Event], steps: &[Step]) -> Vec<Span> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Vec::new();
    };
    // What is live is looked at again, against itself, as soon as it has settled: that is no part of its rollout.
    let steps: Vec<_> = steps.iter().filter(|step| step.ended <= last.at).collect();
    let mut spans = Spans::new(first, last, &steps);
    for event in events {
        spans.add(event);
    }
    spans.end(last);
    for step in steps {
        let parent = (step.name == "build").then(|| spans.find("prepare")).flatten();
        let span = spans.push(step.name.to_owned(), step.began, parent.unwrap_or(0));
        spans.all[span].ended = step.ended;
    }
    spans.all
}

struct Spans {
    all: Vec<Span>,
    /// The step under way.
    open: Option<usize>,
    /// The way back, of which all further steps are parts.
    restore: Option<usize>,
    /// The unpause, by which instances were told.
    told: Option<usize>,
    /// When an instance was heard last.
    heard: Option<Timestamp>,
}

impl Spans {
    fn new(first: &Event, last: &Event, steps: &[&Step]) -> Self {
        let total = last.total_us.and_then(|us| i64::try_from(us).ok());
        let seen = total.and_then(|us| last.at.checked_sub(SignedDuration::from_micros(us)).ok());
        let began = steps
            .iter()
            .map(|step| step.began)
            .chain(seen)
            .fold(first.at, Timestamp::min);
        let failed = matches!(
            last.kind.as_str(),
            "RolledBack" | "Aborted" | "Rejected" | "Stuck"
        );
        let mut attributes = vec![("lockstep.outcome", last.kind.clone())];
        attributes.extend(
            first
                .revision
                .as_ref()
                .map(|revision| ("lockstep.revision", revision.to_string())),
        );
        attributes.extend(
            first
                .rollout
                .as_ref()
                .map(|id| ("lockstep.rollout", id.0.clone())),
        );
        let whole = Span {
            name: "rollout".to_owned(),
            parent: None,
            began,
            ended: last.at,
            attributes,
            error: failed.then(|| last.message.clone()),
        };
        Self {
            all: vec![whole],
            open: None,
            restore: None,
            told: None,
            heard: None,
        }
    }

    fn push(&mut self, name: String, began: Timestamp, parent: usize) -> usize {
        self.all.push(Span {
            name,
            parent: Some(parent),
            began,
            ended: began,
            attributes: Vec::new(),
            error: None,
        });
        self.all.len() - 1
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|span| span.name == name)
    }

    fn add(&mut self, event: &Event) {
        if let Some(name) = phase(&event.kind).filter(|_| !is_last(event)) {
            self.close(event.at);
            let span = self.push(name.to_owned(), event.at, self.restore.unwrap_or(0));
            match name {
                "restore" => {
                    self.all[span].error = Some(event.message.clone());
                    (self.restore, self.told, self.heard) = (Some(span), None, None);
                }
                "unpause" => (self.open, self.told) = (Some(span), Some(span)),
                _ => self.open = Some(span),
            }
        } else if let Some(service) = &event.service
            && matches!(event.kind.as_str(), "Reached" | "Failed")
        {
            self.member(event, service);
        }
    }

    /// How long one instance took from the unpause until it was heard: it may be quicker than all the others are
    /// unpaused.
    fn member(&mut self, event: &Event, service: &str) {
        let parent = self.restore.unwrap_or(0);
        let told = self.told.or(self.open).unwrap_or(parent);
        let span = self.push(format!("verify {service}"), self.all[told].began, parent);
        let span = &mut self.all[span];
        span.ended = event.at;
        span.attributes.push(("lockstep.service", service.to_owned()));
        span.attributes.extend(
            event
                .instance
                .as_ref()
                .map(|instance| ("lockstep.instance", instance.clone())),
        );
        span.error = (event.kind == "Failed").then(|| event.message.clone());
        self.heard = Some(event.at);
    }

    fn close(&mut self, at: Timestamp) {
        if let Some(open) = self.open.take() {
            self.all[open].ended = at;
        }
    }

    /// After whoever was heard last comes what makes it certain: flushes, and the record in the journal.
    fn end(&mut self, last: &Event) {
        let open = self.open.filter(|_| last.kind == "Settled");
        let heard = open
            .zip(self.heard)
            .map(|(open, heard)| heard.max(self.all[open].began));
        self.close(heard.unwrap_or(last.at));
        if let Some(restore) = self.restore {
            self.all[restore].ended = last.at;
        }
        if let Some(heard) = heard {
            let span = self.push("settle".to_owned(), heard, 0);
            self.all[span].ended = last.at;
        }
    }
}

#[cfg(test)]
mod tests {
    use lockstep_protocol::{Revision, RolloutId};

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
    }

    fn event(kind: &str, ms: i64) -> Event {
        Event {
            at: at(ms),
            rollout: Some(RolloutId("1-1".to_owned())),
            revision: Some(Revision::new(&"ab".repeat(20)).unwrap()),
            ..Event::new(kind)
        }
    }

    fn of_service(kind: &str, ms: i64, service: &str) -> Event {
        Event {
            service: Some(service.to_owned()),
            message: "why".to_owned(),
            ..event(kind, ms)
        }
    }

    /// One line a span: indented by its parents, with its times.
    fn drawn(spans: &[Span]) -> String {
        let depth = |span: &Span| std::iter::successors(span.parent, |parent| spans[*parent].parent).count();
        let ms = |time: Timestamp| time.as_millisecond() - at(0).as_millisecond();
        let line = |span: &Span| {
            let failed = if span.error.is_some() { " !" } else { "" };
            let indent = "  ".repeat(depth(span));
            format!(
                "{indent}{} {}-{}{failed}\n",
                span.name,
                ms(span.began),
                ms(span.ended)
            )
        };
        spans.iter().map(line).collect()
    }

    #[test]
    fn a_rollout_is_its_steps_with_each_service_and_what_came_before() {
        let events = [
            event("Preparing", 30),
            event("Pausing", 50),
            event("Publishing", 52),
            event("Unpausing", 53),
            event("Verifying", 54),
            of_service("Reached", 60, "a"),
            of_service("Reached", 70, "b"),
            Event {
                total_us: Some(80_000),
                ..event("Settled", 80)
            },
        ];
        let revision = events[0].revision.clone().unwrap();
        let step = |name, began, ended| Step {
            name,
            revision: revision.clone(),
            began: at(began),
            ended: at(ended),
        };
        let steps = [
            step("fetch", 1, 20),
            step("judge", 20, 28),
            step("build", 31, 45),
            step("judge", 80, 82),
        ];
        let spans = of(&events, &steps);
        assert_eq!(
            drawn(&spans),
            "rollout 0-80\n  prepare 30-50\n  pause 50-52\n  switch 52-53\n  unpause 53-54\n  verify 54-70\n  \
             verify a 53-60\n  verify b 53-70\n  settle 70-80\n  fetch 1-20\n  judge 20-28\n    build 31-45\n"
        );
        assert!(
            spans[0]
                .attributes
                .contains(&("lockstep.outcome", "Settled".to_owned()))
        );
    }

    #[test]
    fn a_way_back_is_a_part_of_its_own_and_what_failed_says_why() {
        let events = [
            event("Preparing", 0),
            event("Pausing", 10),
            event("Publishing", 11),
            event("Unpausing", 12),
            event("Verifying", 13),
            of_service("Failed", 20, "a"),
            event("Restoring", 21),
            event("Pausing", 22),
            event("Publishing", 23),
            event("Unpausing", 24),
            of_service("Reached", 30, "a"),
            event("RolledBack", 31),
        ];
        assert_eq!(
            drawn(&of(&events, &[])),
            "rollout 0-31 !\n  prepare 0-10\n  pause 10-11\n  switch 11-12\n  unpause 12-13\n  verify 13-21\n  \
             verify a 12-20 !\n  restore 21-31 !\n    pause 22-23\n    switch 23-24\n    unpause 24-31\n    \
             verify a 24-30\n"
        );
    }

    #[test]
    fn a_commit_that_is_rejected_or_changes_nothing_is_what_was_done_with_it() {
        let rejected = Event {
            rollout: None,
            message: "LS1001".to_owned(),
            ..event("Rejected", 50)
        };
        let step = Step {
            name: "judge",
            revision: rejected.revision.clone().unwrap(),
            began: at(10),
            ended: at(40),
        };
        assert_eq!(
            drawn(&of(&[rejected], &[step])),
            "rollout 10-50 !\n  judge 10-40\n"
        );
    }
}
