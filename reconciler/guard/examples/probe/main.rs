//! The program that the tests and measurements run: guard, holder and child in one, as the real one is,
//! and beside them services that misbehave on order.
//!
//! An example, so that it is built for the tests and never for a release.

mod services;

use lockstep_guard::{ExitReason, GuardOptions, Mode};
use std::path::PathBuf;
use std::process::exit;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [lockstep_guard::HOLDER] => match lockstep_guard::holder() {
            Ok(()) => exit(0),
            Err(error) => fail(&error),
        },
        [lockstep_guard::EXEC] => exit(lockstep_guard::guard_exec()),
        [lockstep_guard::GUARD, "--state", state] => guard(state, Mode::Foreground),
        [lockstep_guard::GUARD, "--state", state, "--detach"] => guard(state, Mode::Detach),
        [lockstep_guard::GUARD, "--detached", "--state", state] => guard(state, Mode::Detached),
        [service, folder, rest @ ..] => services::run(service, folder.as_ref(), rest),
        [] | [_] => fail(&"usage: probe guard --state FOLDER, or probe SERVICE FOLDER [ARGUMENT...]"),
    }
}

fn guard(state: &str, mode: Mode) -> ! {
    match lockstep_guard::run(&GuardOptions {
        state: PathBuf::from(state),
        mode,
    }) {
        Ok(ExitReason::Shutdown | ExitReason::Detached) => exit(0),
        Ok(ExitReason::Signalled) => exit(3),
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    exit(1)
}
