//! The example services of `services/examples`, and the roads that each of them takes as a Rust service does.
//!
//! They know nothing of their test: what makes one misbehave is put around it, for each language in its way, and
//! does so where a document says it: `sleep` makes reading it slow, `silent` loses what is said after it, `crash`
//! ends the process.

use std::path::{Path, PathBuf};

use lockstep_protocol::Revision;
use rustix::process::Signal;

use crate::wait::eventually;
use crate::{Lab, Service, failing};

/// An example, with what makes it misbehave around it.
#[derive(Debug, Clone)]
pub struct Example {
    /// It, as a service of a lab under the name `example`.
    pub service: Service,
    /// How its document is written.
    pub format: Format,
}

/// The languages that documents of examples are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `config.toml`, which has the other service's table too.
    Toml,
    /// `config.json`
    Json,
    /// `config.properties`
    Properties,
}

/// The keys of a document, each with its value as it is written.
type Lines = [(&'static str, &'static str)];

/// Where an example lies.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../services/examples")
        .join(name)
}

impl Format {
    /// The files of a commit: the example's document, and the one of the Rust service beside it.
    fn files(self, lines: &Lines, value: i64) -> Vec<(&'static str, String)> {
        let beside = format!("[good]\nvalue = {value}\n");
        let joined = |equals: &str, end: &str, quote: &str| {
            let lines: Vec<_> = lines
                .iter()
                .map(|(key, value)| format!("{quote}{key}{quote}{equals}{value}"))
                .collect();
            lines.join(end)
        };
        match self {
            Self::Toml => vec![("config/config.toml", joined(" = ", "\n", "") + "\n" + &beside)],
            Self::Json => vec![
                ("config/config.toml", beside),
                (
                    "config/config.json",
                    format!("{{{}}}\n", joined(": ", ", ", "\"")),
                ),
            ],
            Self::Properties => vec![
                ("config/config.toml", beside),
                ("config/config.properties", joined("=", "\n", "") + "\n"),
            ],
        }
    }
}

/// The example beside a Rust service that reads another part of the same commit.
#[must_use]
pub fn lab(example: Example) -> Lab {
    lab_of(example.service, example.format)
}

/// A service beside a Rust service, both on their first release.
#[must_use]
pub fn lab_of(service: Service, format: Format) -> Lab {
    let files = format.files(&[("limit", "5")], 1);
    let builder = Lab::builder()
        .service(service)
        .service(Service::acknowledged("good"));
    let builder = files
        .into_iter()
        .fold(builder, |builder, (path, text)| builder.file(path, text));
    builder.start()
}

/// Publishes a change of both.
pub fn publish(lab: &Lab, format: Format, lines: &Lines, value: i64) -> Revision {
    let files = format.files(lines, value);
    let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    lab.publish(&files)
}

/// Publishes the revert of the newest commit.
pub fn reverted(lab: &Lab) -> Revision {
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.origin().revision("HEAD")
}

/// Asserts that both run a release, and that the status shows it.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn all_run(lab: &Lab, limit: i64, value: i64) {
    lab.wait_status("both are current", |status| {
        let mut services = status.services.iter();
        services.all(|service| service.current && service.instances[0].state == "applied")
    });
    let log = std::fs::read_to_string(lab.state().join("log/example.log")).unwrap_or_default();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.ends_with(&format!("limit is {limit}")), "{log}");
    assert_eq!(lab.value("good"), value);
    lab.assert_nobody_stopped();
}

/// Makes a test of each road for an example, given by a function without arguments.
#[macro_export]
macro_rules! example_takes_all_roads {
    ($module:ident, $example:ident) => {
        $crate::example_takes_all_roads! { @ $module, $example:
            takes_a_change_and_its_revert
            refuses_after_the_switch_and_everybody_goes_back
            is_silent_and_everybody_goes_back
            answers_late_and_its_old_answer_does_not_count
            is_restarted_while_live
            is_revived_by_a_revert
            goes_on_through_a_crash_of_the_reconciler
        }
    };
    (@ $module:ident, $example:ident: $($road:ident)*) => {
        mod $module {
            $( #[test] fn $road() { $crate::examples::$road(super::$example()); } )*
        }
    };
}

/// A road.
pub fn takes_a_change_and_its_revert(example: Example) {
    let format = example.format;
    let lab = lab(example);
    let before = lab.services();
    all_run(&lab, 5, 1);
    lab.wait_settled(&publish(&lab, format, &[("limit", "7")], 2));
    all_run(&lab, 7, 2);
    lab.wait_settled(&reverted(&lab));
    all_run(&lab, 5, 1);
    lab.assert_same_processes(&before);
}

/// A road.
///
/// # Panics
/// When it is not taken.
pub fn refuses_after_the_switch_and_everybody_goes_back(example: Example) {
    let format = example.format;
    let lab = lab(example);
    let before = lab.services();
    lab.wait_rolled_back(&publish(&lab, format, &[("limit", "\"many\"")], 2));
    let reason = lab.status().quarantined[0].reason.clone();
    let words = match format {
        Format::Toml | Format::Properties => "`limit` must be a whole number above 0",
        // Some parsers know that it has to be a number.
        Format::Json => "imit",
    };
    assert!(
        reason.contains("example: it refused the release") && reason.contains(words),
        "{reason}"
    );
    all_run(&lab, 5, 1);
    lab.wait_rolled_back(&publish(&lab, format, &[("limit", "0")], 3));
    let reason = lab.status().quarantined[1].reason.clone();
    assert!(
        reason.contains("`limit` must be a whole number above 0"),
        "{reason}"
    );
    lab.wait_settled(&publish(&lab, format, &[("limit", "8")], 4));
    all_run(&lab, 8, 4);
    lab.assert_same_processes(&before);
}

/// A road.
///
/// # Panics
/// When it is not taken.
pub fn is_silent_and_everybody_goes_back(example: Example) {
    let format = example.format;
    let lab = lab(within_short(example));
    let before = lab.services();
    lab.wait_rolled_back(&publish(&lab, format, &[("limit", "7"), ("silent", "true")], 2));
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(
        reason.contains("example: it did not acknowledge switch"),
        "{reason}"
    );
    all_run(&lab, 5, 1);
    lab.assert_same_processes(&before);
}

/// A road.
///
/// # Panics
/// When it is not taken.
pub fn answers_late_and_its_old_answer_does_not_count(example: Example) {
    let format = example.format;
    let lab = lab(within_short(example));
    let before = lab.services();
    let slow = publish(&lab, format, &[("limit", "7"), ("sleep", "5")], 2);
    lab.wait_rolled_back(&slow);
    all_run(&lab, 5, 1);
    // What it read meanwhile is of the past, and it says nothing of it.
    let quarantined = lab.status().quarantined;
    assert_eq!(quarantined[0].revision, slow);
    lab.wait_settled(&publish(&lab, format, &[("limit", "8")], 3));
    all_run(&lab, 8, 3);
    lab.assert_same_processes(&before);
}

/// A road.
pub fn is_restarted_while_live(example: Example) {
    let format = example.format;
    let lab = lab(example);
    lab.wait_settled(&publish(&lab, format, &[("limit", "7")], 2));
    let before = lab.process("example");
    let ended = lab.now();
    before.signal(Signal::KILL);
    lab.wait_event_after(ended, "it ended", |event| event.is_of("Ended", "example"));
    eventually("it lives again", || {
        lab.services().get("example").is_some_and(|now| *now != before)
    });
    all_run(&lab, 7, 2);
    lab.wait_settled(&publish(&lab, format, &[("limit", "8")], 3));
    all_run(&lab, 8, 3);
}

/// A road.
///
/// # Panics
/// When it is not taken.
pub fn is_revived_by_a_revert(example: Example) {
    let format = example.format;
    let lab = lab(Example {
        service: example.service.restart("never"),
        ..example
    });
    let good = lab.process("good");
    // It is taken while it is dead: by nobody, so it does not veto it.
    lab.process("example").signal(Signal::KILL);
    lab.wait_status("it is dead", |status| status.instance("example").state == "dead");
    lab.wait_settled(&publish(&lab, format, &[("limit", "7"), ("crash", "true")], 2));
    lab.wait_status("it is dead", |status| status.instance("example").state == "dead");
    lab.wait_settled(&reverted(&lab));
    all_run(&lab, 5, 1);
    assert_eq!(lab.process("good"), good);
}

/// A road.
pub fn goes_on_through_a_crash_of_the_reconciler(example: Example) {
    let format = example.format;
    let lab = lab(example);
    let before = lab.services();
    let revision = publish(&lab, format, &[("limit", "7"), ("sleep", "1")], 2);
    lab.wait_kind("Verifying", &revision);
    lab.kill_reconciler();
    lab.assert_nobody_stopped();
    lab.start_reconciler();
    lab.wait_settled(&revision);
    all_run(&lab, 7, 2);
    lab.assert_same_processes(&before);
}

fn within_short(example: Example) -> Example {
    Example {
        service: example.service.within(failing::SHORT),
        ..example
    }
}
