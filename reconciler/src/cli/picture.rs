//! The status for people: what is live, what is under way, who runs what, and what somebody has to look at.

use lockstep_core::admission::CandidateState;
use lockstep_core::instances::InstanceState;
use lockstep_core::status::{InstanceView, ServiceView, StatusView};
use owo_colors::{OwoColorize, Style};

use super::moment;

/// The whole status as text.
pub(super) fn draw(status: &StatusView) -> String {
    let mut out = String::new();
    match &status.live {
        Some(live) => {
            let published = if live.published == live.revision {
                String::new()
            } else {
                format!(", its files by {}", live.published.short())
            };
            let live = format!(
                "{}  switch {}{published}",
                live.revision.short().green().bold(),
                live.switch
            );
            entry(&mut out, "live", &live);
        }
        None => entry(&mut out, "live", "nothing yet"),
    }
    if let Some(candidate) = &status.candidate {
        let state = word(candidate.state).style(mood(candidate.state)).to_string();
        entry(
            &mut out,
            "candidate",
            &format!("{}  {state}", candidate.revision.short()),
        );
        // What holds it is shown below, with its time.
        if let (Some(reason), None) = (&candidate.reason, &status.held) {
            below(&mut out, reason);
        }
    }
    if let Some(rollout) = &status.rollout {
        let from = rollout.from.as_ref().map_or("nothing", |from| from.short());
        let state = match rollout.state.as_str() {
            "Stuck" => rollout.state.red().bold().to_string(),
            "Restoring" => rollout.state.yellow().bold().to_string(),
            _ => rollout.state.cyan().to_string(),
        };
        entry(
            &mut out,
            "rollout",
            &format!("{from} -> {}  {state}", rollout.to.short()),
        );
        rollout
            .reason
            .iter()
            .chain(&rollout.waiting)
            .for_each(|line| below(&mut out, line));
    }
    if let Some(held) = &status.held {
        let until = held
            .until
            .map(|until| format!("  until {}", moment::local(until)))
            .unwrap_or_default();
        entry(
            &mut out,
            "held",
            &format!("{}{until}", held.revision.short().yellow()),
        );
        below(&mut out, &held.reason);
    }
    if let Some(suspended) = &status.suspended {
        let until = suspended.until.map_or_else(
            || "until `lockstep resume`".to_owned(),
            |until| format!("until {}", moment::local(until)),
        );
        entry(&mut out, "suspended", &until.yellow().bold().to_string());
        below(&mut out, &suspended.reason);
    }
    match (&status.source.error, status.source.last_success) {
        (Some(error), last) => {
            let last = last.map_or_else(
                || "never answered".to_owned(),
                |at| format!("answered last at {}", moment::local(at)),
            );
            entry(&mut out, "source", &last.red().bold().to_string());
            below(&mut out, error);
        }
        (None, Some(at)) => entry(&mut out, "source", &format!("answered at {}", moment::local(at))),
        (None, None) => entry(&mut out, "source", "not asked yet"),
    }
    services(&mut out, &status.services);
    if !status.quarantined.is_empty() {
        out.push_str("\nquarantined: not tried again until `lockstep retry`\n");
        for entry in &status.quarantined {
            out.push_str(&format!(
                "  {}  {}\n",
                entry.revision.short().yellow(),
                indented(&entry.reason)
            ));
        }
    }
    if !status.alarms.is_empty() {
        out.push_str(&format!("\n{}\n", "alarms".red().bold()));
        for alarm in &status.alarms {
            out.push_str(&format!("  {}\n", indented(alarm)));
        }
    }
    out
}

fn entry(out: &mut String, name: &str, text: &str) {
    out.push_str(&format!("{name:<10} {text}\n"));
}

fn below(out: &mut String, text: &str) {
    for line in text.lines() {
        out.push_str(format!("{:<10} {line}", "").trim_end());
        out.push('\n');
    }
}

/// Further lines of a text, indented below its first.
fn indented(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n    ")
}

fn word(state: CandidateState) -> &'static str {
    match state {
        CandidateState::Judging => "is judged",
        CandidateState::Rolling => "is rolled out",
        CandidateState::Held => "held",
        CandidateState::Aborted => "aborted, is tried again",
        CandidateState::Rejected => "rejected",
        CandidateState::Quarantined => "quarantined",
    }
}

fn mood(state: CandidateState) -> Style {
    match state {
        CandidateState::Judging | CandidateState::Rolling => Style::new().cyan(),
        CandidateState::Held | CandidateState::Aborted => Style::new().yellow().bold(),
        CandidateState::Rejected | CandidateState::Quarantined => Style::new().red().bold(),
    }
}

const HEAD: [&str; 7] = [
    "SERVICE", "TIER", "STATE", "PID", "SWITCH", "REVISION", "RESTARTS",
];

fn services(out: &mut String, services: &[ServiceView]) {
    if services.is_empty() {
        return;
    }
    let nobody = |service: &ServiceView| {
        [
            service.name.to_string(),
            service.tier.to_string(),
            "none".to_owned(),
        ]
        .into_iter()
        .chain(std::iter::repeat_n("-".to_owned(), 4))
        .collect::<Vec<_>>()
    };
    let rows: Vec<(Vec<String>, Option<&InstanceView>)> = services
        .iter()
        .flat_map(|service| {
            let mut rows: Vec<_> = service
                .instances
                .iter()
                .map(|instance| (row(service, instance), Some(instance)))
                .collect();
            if rows.is_empty() {
                rows.push((nobody(service), None));
            }
            rows
        })
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .map(|(row, _)| row[column].as_str())
            .chain([HEAD[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[String], paint: &dyn Fn(usize, &str) -> String| {
        let padded = cells.iter().zip(&widths).enumerate();
        let cells: Vec<_> = padded
            .map(|(column, (cell, width))| paint(column, &format!("{cell:<0$}", *width)))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    out.push('\n');
    let head: Vec<_> = HEAD.iter().map(|&cell| cell.to_owned()).collect();
    out.push_str(&line(&head, &|_, cell| cell.dimmed().to_string()));
    for (row, instance) in &rows {
        let style = instance.map_or_else(|| Style::new().yellow(), |instance| look(instance.state));
        out.push_str(&line(row, &|column, cell| match column {
            2 => cell.style(style).to_string(),
            _ => cell.to_owned(),
        }));
        if let Some(error) = instance.and_then(|instance| instance.error.as_ref()) {
            out.push_str(&format!("  {}\n", indented(error)));
        }
    }
}

fn row(service: &ServiceView, instance: &InstanceView) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        service.name.to_string(),
        service.tier.to_string(),
        instance.state.as_str().to_owned(),
        or_none(instance.pid.map(|pid| pid.to_string())),
        or_none(instance.switch.map(|switch| switch.to_string())),
        or_none(
            instance
                .revision
                .as_ref()
                .map(|revision| revision.short().to_owned()),
        ),
        instance.restarts.to_string(),
    ]
}

fn look(state: InstanceState) -> Style {
    match state {
        InstanceState::Applied | InstanceState::Fit => Style::new().green(),
        InstanceState::Starting => Style::new().cyan(),
        InstanceState::Rejected => Style::new().yellow().bold(),
        InstanceState::Silent | InstanceState::Dead | InstanceState::Diverged => Style::new().red().bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> String {
        let status: StatusView = serde_json::from_value(json).unwrap();
        anstream::adapter::strip_str(&draw(&status)).to_string()
    }

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn quiet() -> serde_json::Value {
        serde_json::json!({
            "live": null, "candidate": null, "rollout": null, "services": [], "quarantined": [], "held": null,
            "suspended": null, "source": { "last_success": null, "error": null }, "alarms": [],
        })
    }

    #[test]
    fn before_the_first_release_little_is_to_be_seen() {
        assert_eq!(
            status(quiet()),
            "live       nothing yet\nsource     not asked yet\n"
        );
    }

    #[test]
    fn services_stand_in_columns_and_what_is_wrong_below_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let instance = |state: &str, pid: Option<u32>, error: Option<&str>| {
            serde_json::json!({
                "id": null, "pid": pid, "state": state, "revision": pid.map(|_| ONE), "digest": null,
                "switch": pid.map(|_| 7), "current": true, "error": error, "restarts": 0, "uptime": null,
            })
        };
        let mut json = quiet();
        json["live"] =
            serde_json::json!({ "revision": ONE, "digest": digest, "switch": 7, "published": ONE });
        json["services"] = serde_json::json!([
            { "name": "scanner", "tier": "voting", "current": true, "instances": [instance("applied", Some(4711), None)] },
            { "name": "orchestrator", "tier": "acknowledged", "current": false,
              "instances": [instance("dead", None, Some("it ended with status 1"))] },
            { "name": "late", "tier": "running", "current": false, "instances": [] },
        ]);
        let text = status(json);
        let expected = "\
live       111111111111  switch 7
source     not asked yet

SERVICE       TIER          STATE    PID   SWITCH  REVISION      RESTARTS
scanner       voting        applied  4711  7       111111111111  0
orchestrator  acknowledged  dead     -     -       -             0
  it ended with status 1
late          running       none     -     -       -             -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_somebody_has_to_look_at_comes_with_its_reason() {
        let mut json = quiet();
        json["candidate"] =
            serde_json::json!({ "revision": TWO, "state": "rejected", "reason": "error: no\n --> x.toml:1" });
        json["quarantined"] = serde_json::json!([{ "revision": ONE, "reason": "scanner refused" }]);
        json["alarms"] = serde_json::json!(["scanner is diverged"]);
        json["source"]["error"] = "no such repository".into();
        let text = status(json);
        for part in [
            "candidate  222222222222  rejected\n           error: no\n            --> x.toml:1\n",
            "source     never answered\n           no such repository\n",
            "quarantined: not tried again until `lockstep retry`\n  111111111111  scanner refused\n",
            "alarms\n  scanner is diverged\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
