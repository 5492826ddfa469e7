//! The program that the tests and measurements run: guard, holder and child in one, as the real one is,
//! and beside them services that misbehave on order.
//!
//! An example, so that it is built for the tests and never for a release.

mod services;

use lockstep_guard::{ExitReason, GuardOptions, Mode};
use std::io::Read as _;
use std::os::unix::net::UnixStream;
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
        ["knock", socket] => knock(socket),
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

/// Succeeds when the guard lets us in by the socket's mode and then turns us away.
fn knock(socket: &str) -> ! {
    let mut stream = UnixStream::connect(socket).unwrap_or_else(|error| fail(&error));
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(0) => exit(0),
        Ok(length) => fail(&format!("{length} bytes from the guard")),
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    exit(1)
}
