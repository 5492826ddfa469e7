//! `uv run` in front of a service: it stays the first process, and passes signals on.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use lockstep_tests::{Lab, Service};

use super::examples::{place, succeeds};

/// The one that is installed, or one of the package index in a folder of our own.
fn uv() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&path).map(|folder| folder.join("uv"));
        if let Some(installed) = installed.into_iter().find(|uv| uv.is_file()) {
            return installed;
        }
        let own = place("uv").join("venv");
        let program = own.join("bin/uv");
        if !program.is_file() {
            succeeds(Command::new("python3").args(["-m", "venv"]).arg(&own));
            succeeds(Command::new(own.join("bin/pip")).args(["install", "--quiet", "uv"]));
        }
        program
    });
    found.clone()
}

fn lab(args: &[&str]) -> Lab {
    let uv = uv();
    let uv = uv.to_str().expect("the folder's name is UTF-8");
    let words = [uv, "run", "--no-project", "{bin}/lab-service", "a"];
    let words: Vec<_> = words.iter().chain(args).copied().collect();
    let service = Service::program("a", &words)
        .reads(&["config.toml#a"])
        .within("30s")
        .env("UV_CACHE_DIR", "{lab}/cache")
        .env("UV_OFFLINE", "1")
        .env("UV_NO_CONFIG", "1");
    Lab::builder().service(service).start()
}

#[test]
fn what_uv_runs_is_told_frozen_and_acknowledges() {
    let lab = lab(&[]);
    let first = lab.process("a");
    let settled = lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert!(settled.pause_us.is_some_and(|pause| pause > 0), "{settled:?}");
    let answer = lab.ask("a");
    assert_eq!((answer.value, answer.rings), (2, 1));
    assert_ne!(answer.pid, first.pid, "uv stays in front");
    lab.wait_rolled_back(&lab.set(&[("a", "value = 3\nrefuse = true")]));
    assert_eq!(
        (lab.value("a"), lab.ask("a").pid, lab.process("a")),
        (2, answer.pid, first)
    );
    lab.lockstep(&["down"]).done();
    assert!(lab.services().is_empty(), "its end is passed on as well");
}

#[test]
fn what_uv_runs_without_a_handler_is_not_killed_by_what_uv_would_pass_on() {
    let lab = lab(&["--reload", "never"]);
    let pid = lab.ask("a").pid;
    let aborted = lab.wait_kind("Aborted", &lab.set(&[("a", "value = 2")]));
    assert!(
        aborted.message.contains("uv passes SIGUSR1 on to process"),
        "{aborted:?}"
    );
    assert_eq!((lab.value("a"), lab.ask("a").pid), (1, pid));
}
