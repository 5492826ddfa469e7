//! `cargo demo`: builds what `lockstep demo` needs, by the same profile as this program, and becomes it.
//!
//! `cargo demo --release` builds and runs the optimised programs; all other arguments are those of `lockstep demo`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The packages with the programs that the demo starts.
const PACKAGES: [&str; 4] = ["lockstep-reconciler", "broker", "scanner", "orchestrator"];

fn main() -> ExitCode {
    let error = match run() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("cargo demo: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<std::convert::Infallible, String> {
    let (release, args): (Vec<_>, Vec<_>) = std::env::args_os().skip(1).partition(|arg| arg == "--release");
    let this = std::env::current_exe().map_err(|error| format!("its own path is unknown: {error}"))?;
    // target/PROFILE/demo
    let folder = this
        .parent()
        .ok_or("it does not lie in a target folder: run it by `cargo demo`")?;
    let target = folder
        .parent()
        .ok_or("it does not lie in a target folder: run it by `cargo demo`")?;
    let folder = if release.is_empty() {
        folder.to_owned()
    } else {
        target.join("release")
    };
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    build(profile, target)?;
    let program = folder.join("lockstep");
    let error = Command::new(&program).arg("demo").args(args).exec();
    Err(format!("{} cannot be run: {error}", program.display()))
}

fn build(profile: &str, target: &Path) -> Result<(), String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--bins", "--profile", profile, "--target-dir"])
        .arg(target);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err("the demo's programs cannot be built".to_owned())
    }
}
