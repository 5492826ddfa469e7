//! Real git for tests, this crate's and others': repositories with verbs of the domain, a real `git daemon`,
//! `git http-backend` behind real TLS, a real `sshd`,
//! a relay that counts and cuts connections.
//!
//! Everything runs the `git` program with a scrubbed environment, in folders of its own, on ports that the
//! kernel chose, and is taken down on drop, also when a test fails. Failures panic: a test cannot go on.

#[cfg(feature = "https")]
mod certificates;
mod daemon;
#[cfg(feature = "https")]
mod https;
mod origin;
mod program;
mod relay;
mod sshd;

#[cfg(feature = "https")]
pub use certificates::{Authority, Certified};
pub use daemon::GitDaemon;
#[cfg(feature = "https")]
pub use https::{Fault, GitHttps, Seen};
pub use origin::{Entry, Origin};
pub use relay::Relay;
pub use sshd::{Sshd, ssh_key};

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The `git` program, knowing nothing of the machine's or the user's configuration.
#[must_use]
pub fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    scrub(&mut command).current_dir(folder);
    command
}

/// Takes everything out of a command's environment that would change what git does.
fn scrub(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
}

/// Waits until something is so, looking every few milliseconds.
///
/// # Panics
/// With `what` when it is not so within 20 seconds.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
