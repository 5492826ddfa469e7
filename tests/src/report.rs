//! What a failed test prints, and what is looked at on disk.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::Lab;

/// This many last lines of each log are printed.
const LINES: usize = 120;
/// So long the status is waited for.
const ANSWERS: Duration = Duration::from_secs(10);

/// Where the folders of a state folder's instances are.
#[must_use]
pub fn run_folder(state: &Path) -> PathBuf {
    let hash = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let name: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let run = Path::new("/run/lockstep").join(name);
    if run.is_dir() { run } else { state.join("run") }
}

/// Everything that is known of a lab.
pub(crate) fn of(lab: &Lab) -> String {
    let mut text = format!("\n======== the lab in {} ========\n", lab.root().display());
    let mut part = |title: &str, contents: &str| {
        let lines: Vec<_> = contents.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
        writeln!(text, "---- {title}\n{last}").expect("a text takes every line");
    };
    let file = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    part("commands", &lab.commands.borrow().join("\n"));
    part("settings", &file(lab.settings()));
    let processes: Vec<_> = lab
        .processes()
        .iter()
        .map(|process| {
            format!(
                "{process:?}{}",
                if process.is_stopped() { " STOPPED" } else { "" }
            )
        })
        .collect();
    part("processes", &processes.join("\n"));
    part("status", &status(lab));
    part("events", &file(lab.state().join("events.jsonl")));
    part("run.log", &file(lab.root().join("run.log")));
    part("guard.log", &file(lab.state().join("guard.log")));
    for entry in fs::read_dir(lab.state().join("log"))
        .into_iter()
        .flatten()
        .flatten()
    {
        part(
            &format!("log of {}", entry.file_name().to_string_lossy()),
            &file(entry.path()),
        );
    }
    for entry in fs::read_dir(run_folder(&lab.state()))
        .into_iter()
        .flatten()
        .flatten()
    {
        let status = entry.path().join("status.json");
        // A pipe in its place must not hold up the report.
        if status.symlink_metadata().is_ok_and(|facts| facts.is_file()) {
            part(
                &format!("status of {}", entry.file_name().to_string_lossy()),
                &file(status),
            );
        }
    }
    text
}

/// What the reconciler says of itself. One that is stopped says nothing, and one that hangs is not waited for long: the
/// rest of the report is what is wanted then.
fn status(lab: &Lab) -> String {
    match lab.reconciler() {
        None => "nobody is there to be asked".to_owned(),
        Some(reconciler) if reconciler.is_stopped() => "not asked for: the reconciler is stopped".to_owned(),
        Some(_) => match lab.lockstep_within(&["status", "--json"], ANSWERS) {
            Ok(status) => format!("{}{}", status.out, status.err),
            Err(status) => format!(
                "no answer within {} s {}{}",
                ANSWERS.as_secs(),
                status.out,
                status.err
            ),
        },
    }
}

/// See [`Lab::assert_volume_whole`].
#[track_caller]
pub(crate) fn assert_volume_whole(volume: &Path) {
    let own = volume.join(".lockstep");
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    for entry in entries(volume) {
        assert!(entry.exists(), "{} leads nowhere", entry.display());
    }
    let current = volume.join("current");
    if current.symlink_metadata().is_ok() {
        let release = current.join(".lockstep/release.json");
        assert!(
            release.is_file(),
            "`current` leads to no whole release: {}",
            release.display()
        );
    }
    for release in entries(&own.join("releases")) {
        assert!(
            release.join(".lockstep/release.json").is_file(),
            "{} is half a release",
            release.display()
        );
    }
}
