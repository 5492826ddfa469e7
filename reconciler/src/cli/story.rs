//! Events for people: one line each, with the local time, how long it took, and colours that say at a glance
//! how it went.

use owo_colors::{OwoColorize, Style};

use super::moment;
use crate::events::Event;

/// How an event is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// It went as it should.
    Good,
    /// A step on the way.
    Step,
    /// Somebody said no, or it went back: nothing is broken.
    Refused,
    /// Somebody has to look.
    Bad,
}

impl Mood {
    /// Kinds come from another program, perhaps a newer one: an unknown one is a step.
    fn of(kind: &str) -> Self {
        match kind {
            "Settled" | "Reached" | "SourceAnswers" | "Resumed" => Self::Good,
            "Rejected" | "Aborted" | "Held" | "Suspended" | "Restoring" | "RolledBack" => Self::Refused,
            "Stuck" | "Failed" | "Diverged" | "Drift" | "Alarm" | "Ended" | "SourceFailed" => Self::Bad,
            _ => Self::Step,
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Good => Style::new().green().bold(),
            Self::Step => Style::new().cyan(),
            Self::Refused => Style::new().yellow().bold(),
            Self::Bad => Style::new().red().bold(),
        }
    }
}

/// An event as lines for people; what it says on further lines is indented below the first.
pub(super) fn tell(event: &Event) -> String {
    let mut words = vec![
        moment::local(event.at).dimmed().to_string(),
        format!("{:<13}", event.kind)
            .style(Mood::of(&event.kind).style())
            .to_string(),
        event
            .revision
            .as_ref()
            .map_or_else(|| " ".repeat(12), |revision| revision.short().to_owned()),
    ];
    words.extend(event.service.as_ref().map(|service| service.bold().to_string()));
    let mut message = event.message.lines();
    words.extend(
        message
            .next()
            .filter(|first| !first.is_empty())
            .map(str::to_owned),
    );
    words.extend(took(event).map(|took| took.dimmed().to_string()));
    let mut out = words.join("  ").trim_end().to_owned();
    out.push('\n');
    for line in message {
        out.push_str(format!("    {line}").trim_end());
        out.push('\n');
    }
    out
}

fn took(event: &Event) -> Option<String> {
    match (event.pause_us, event.total_us, event.duration_us) {
        (Some(0), Some(total), _) => Some(format!(
            "{} after it was seen, nobody paused",
            moment::micros(total)
        )),
        (Some(pause), Some(total), _) => {
            let (pause, total) = (moment::micros(pause), moment::micros(total));
            Some(format!("{total} after it was seen, services paused for {pause}"))
        }
        (_, _, Some(step)) => Some(format!("+{}", moment::micros(step))),
        (_, _, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: &Event) -> String {
        let text = anstream::adapter::strip_str(&tell(event)).to_string();
        // The time of day is local, and so differs from machine to machine.
        text.split_once("  ").unwrap().1.to_owned()
    }

    fn event(kind: &str) -> Event {
        Event {
            revision: Some("9f3c0aa1b2c3d4e5f60718293a4b5c6d7e8f9012".parse().unwrap()),
            ..Event::new(kind)
        }
    }

    #[test]
    fn a_settled_release_says_how_long_it_took_and_how_long_services_were_paused() {
        let settled = Event {
            pause_us: Some(812),
            total_us: Some(23_400),
            ..event("Settled")
        };
        assert_eq!(
            told(&settled),
            "Settled        9f3c0aa1b2c3  23.4 ms after it was seen, services paused for 812 µs\n"
        );
        let untouched = Event {
            message: "nobody was touched".to_owned(),
            pause_us: Some(0),
            ..settled
        };
        assert_eq!(
            told(&untouched),
            "Settled        9f3c0aa1b2c3  nobody was touched  23.4 ms after it was seen, nobody paused\n"
        );
    }

    #[test]
    fn a_step_names_its_service_and_its_duration() {
        let reached = Event {
            service: Some("scanner".to_owned()),
            message: "voting".to_owned(),
            duration_us: Some(1_200),
            ..event("Reached")
        };
        assert_eq!(
            told(&reached),
            "Reached        9f3c0aa1b2c3  scanner  voting  +1.20 ms\n"
        );
    }

    #[test]
    fn a_message_of_several_lines_is_indented_below_its_event() {
        let rejected = Event {
            message: "error: no\n\n  | caret".to_owned(),
            revision: None,
            ..event("Rejected")
        };
        assert_eq!(
            told(&rejected),
            "Rejected                     error: no\n\n      | caret\n"
        );
    }
}
