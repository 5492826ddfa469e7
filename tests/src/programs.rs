//! The programs under test, built once by the same profile as the tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::wait::{PATIENCE, until};

/// What a lab runs.
const NAMES: [&str; 5] = ["lockstep", "lab-service", "broker", "scanner", "orchestrator"];
const PACKAGES: [&str; 5] = [
    "lockstep-reconciler",
    "lockstep-tests",
    "broker",
    "scanner",
    "orchestrator",
];

/// Names a folder with programs that are to be tested instead of what would be built: an installed release.
const GIVEN: &str = "LOCKSTEP_TEST_PROGRAMS";

/// The folder of the programs: built by the first caller of this process, under a lock that other test processes
/// share.
///
/// # Panics
/// When they cannot be built.
pub(crate) fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os(GIVEN).map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    // target/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe().expect("the test knows its own path");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("a test lies in target/PROFILE/deps")
        .to_owned();
    let target = folder
        .parent()
        .expect("a profile's folder lies in the target folder");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} is no profile's folder", folder.display()),
    };
    let lock = File::create(target.join(".lab-programs.lock")).expect("the target folder is writable");
    lock.lock().expect("a lock can be waited for");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--bins", "--profile", profile, "--target-dir"])
        .arg(target);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells the test it runs is not meant for another cargo.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().expect("cargo can be run");
    assert!(
        output.status.success(),
        "the programs cannot be built ({cargo:?}):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}

/// Puts the programs into a lab's own folder, as hard links: a build beside the test replaces files and changes
/// none, and whoever runs one of them is known by its path.
///
/// # Panics
/// When they cannot be put there.
pub fn install(folder: &Path) {
    let built = built();
    fs::create_dir_all(folder).expect("the lab's folder is writable");
    for name in NAMES {
        let (from, to) = (built.join(name), folder.join(name));
        // A build that goes on beside this takes a program away for a moment before it puts the new one there.
        let linked = until(PATIENCE, || {
            fs::hard_link(&from, &to).or_else(|_| copy(&from, &to)).ok()
        });
        assert!(
            linked.is_some(),
            "{} cannot be put into {}",
            from.display(),
            folder.display()
        );
    }
}

/// Where links fail: another file system.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to).map(drop)
}
