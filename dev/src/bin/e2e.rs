//! `cargo e2e SUITE`: the suites beyond `cargo test`, and the benchmarks.
//!
//! A suite is a set of tests of `lockstep-tests` with its environment. This program starts cargo, shows what it prints,
//! counts, and ends with `N passed, N failed`; it tests nothing itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::{Parser, Subcommand};

/// Run a suite of end to end tests, or the benchmarks
#[derive(Debug, Parser)]
#[command(
    name = "cargo e2e",
    after_help = "Examples:\n  cargo e2e chaos\n  cargo e2e chaos --seconds 600 --seed 42\n  cargo e2e servers --install\n  cargo e2e release --install --twice\n  cargo e2e bench --quick"
)]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Everybody is killed at every point of a rollout, then at random under a stream of commits
    Chaos {
        /// How long the random part lasts
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// The dice of the random part, as an earlier run printed them
        #[arg(long)]
        seed: Option<u64>,
        /// Install what is missing: nothing is needed beyond git
        #[arg(long)]
        install: bool,
    },
    /// Repositories behind servers: an sshd, and git's HTTP backend behind TLS
    Servers {
        /// Install what is missing by apt-get: openssh-server
        #[arg(long)]
        install: bool,
        /// Only the tests whose name contains this
        test: Option<String>,
    },
    /// Services in Go, Node and Java, and Prometheus as one
    Services {
        /// Install what is missing by apt-get: golang-go, nodejs, default-jdk-headless and prometheus
        #[arg(long)]
        install: bool,
        /// Only the tests whose name contains this
        test: Option<String>,
    },
    /// Units, alert rules and dashboard, judged by systemd and Prometheus themselves
    Operator {
        /// Install what is missing by apt-get: systemd and prometheus
        #[arg(long)]
        install: bool,
    },
    /// The hooks, run by the pre-commit framework
    Precommit {
        /// Install what is missing by pip, into a folder of its own: pre-commit
        #[arg(long)]
        install: bool,
    },
    /// The release archive: built, judged, played where there is nothing else, and run through the scenarios
    Release {
        /// Install what is missing by apt-get and rustup: musl-tools, util-linux and the target
        #[arg(long)]
        install: bool,
        /// Build it a second time from another checkout, which must give the same bytes
        #[arg(long)]
        twice: bool,
    },
    /// Measure, in a release build, and print the figures
    Bench {
        /// Few repetitions: to see whether it works, not what it costs
        #[arg(long)]
        quick: bool,
        /// Only the parts whose name contains this
        part: Option<String>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().suite {
        Suite::Chaos {
            seconds,
            seed,
            install: _,
        } => chaos(seconds, seed),
        Suite::Servers { install, test } => servers(install, test),
        Suite::Services { install, test } => services(install, test),
        Suite::Operator { install } => operator(install),
        Suite::Precommit { install } => precommit(install),
        Suite::Release { install, twice } => release(install, twice),
        Suite::Bench { quick, part } => bench(quick, part),
    }
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).args(["--package", "lockstep-tests"]);
    command
}

fn chaos(seconds: u64, seed: Option<u64>) -> ExitCode {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    for test in ["crash", "crash_deposed", "crash_chaos"] {
        command.args(["--test", test]);
    }
    command.args(["--", "--show-output"]);
    command
        .env("CRASH_POINTS", "all")
        .env("CHAOS_SECONDS", seconds.to_string());
    if let Some(seed) = seed {
        command.env("CHAOS_SEED", seed.to_string());
    }
    counted(command)
}

fn servers(install: bool, test: Option<String>) -> ExitCode {
    let needed = [
        Needed {
            package: "openssh-server",
            places: &["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"],
        },
        Needed {
            package: "openssh-client",
            places: &["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"],
        },
    ];
    suite("servers", &needed, install, test)
}

fn services(install: bool, test: Option<String>) -> ExitCode {
    let needed = [
        Needed {
            package: "golang-go",
            places: &["/usr/local/go/bin/go", "/usr/bin/go"],
        },
        Needed {
            package: "nodejs",
            places: &["/usr/bin/node", "/usr/local/bin/node"],
        },
        Needed {
            package: "default-jdk-headless",
            places: &["/usr/bin/javac", "/usr/local/bin/javac"],
        },
        Needed {
            package: "prometheus",
            places: &["/usr/bin/prometheus", "/usr/local/bin/prometheus"],
        },
    ];
    suite("services", &needed, install, test)
}

fn operator(install: bool) -> ExitCode {
    let needed = [
        Needed {
            package: "systemd",
            places: &["/usr/bin/systemd-analyze"],
        },
        Needed {
            package: "prometheus",
            places: &["/usr/bin/promtool", "/usr/local/bin/promtool"],
        },
    ];
    suite("operator", &needed, install, None)
}

/// The version of the framework that is tested with. Debian's is older than the names that it has for stages now.
const PRE_COMMIT: &str = "pre-commit==4.7.0";

fn precommit(install: bool) -> ExitCode {
    let program = match have_pre_commit(install) {
        Ok(program) => program,
        Err(why) => {
            eprintln!("{why}; on Debian it needs python3-venv");
            println!("0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.args([
        "--features",
        "precommit",
        "--test",
        "precommit",
        "--",
        "--show-output",
    ]);
    command.env("LOCKSTEP_PRE_COMMIT", program);
    counted(command)
}

/// The framework in a folder of its own below the user's cache.
fn have_pre_commit(install: bool) -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let folder = cache.join("lockstep/tools").join(PRE_COMMIT);
    let program = folder.join("bin/pre-commit");
    if program.is_file() {
        return Ok(program);
    }
    if !install {
        return Err(format!(
            "missing: {}: python3 -m venv {1} && {1}/bin/pip install {PRE_COMMIT}, or add --install",
            program.display(),
            folder.display()
        ));
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", PRE_COMMIT]))?;
    Ok(program)
}

/// Runs the tests of a suite, which have its name and its feature, once all that they need is there.
fn suite(name: &str, needed: &[Needed], install: bool, test: Option<String>) -> ExitCode {
    if let Err(why) = have(needed, install) {
        eprintln!("{why}");
        println!("0 passed, 1 failed");
        return ExitCode::FAILURE;
    }
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.args(["--features", name, "--test", name, "--"]);
    command.args(test);
    counted(command)
}

/// The target that `cargo archive` builds for.
const RELEASED: &str = "x86_64-unknown-linux-musl";

fn release(install: bool, twice: bool) -> ExitCode {
    let needed = [
        Needed {
            package: "musl-tools",
            places: &["/usr/bin/musl-gcc", "/usr/local/bin/musl-gcc"],
        },
        Needed {
            package: "util-linux",
            places: &["/usr/bin/unshare"],
        },
        Needed {
            package: "binutils",
            places: &["/usr/bin/readelf"],
        },
    ];
    let prepared = have(&needed, install).and_then(|()| have_target(install));
    let built = prepared.and_then(|()| released());
    let (archive, programs) = match built {
        Ok(built) => built,
        Err(why) => {
            eprintln!("{why}");
            println!("0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.args(["--features", "release,servers", "--test", "release"]);
    // Scenarios in which names, certificates, processes and signals go through the other libc.
    for test in ["road", "failures", "supervised", "trading", "servers"] {
        command.args(["--test", test]);
    }
    // An sshd, and what runs no program, is another suite's.
    command.args(["--", "--skip", "ssh::", "--skip", "hanging::"]);
    if twice {
        command.arg("--include-ignored");
    }
    command
        .env("LOCKSTEP_ARCHIVE", archive)
        .env("LOCKSTEP_TEST_PROGRAMS", programs);
    counted(command)
}

fn have_target(install: bool) -> Result<(), String> {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok()?;
        (output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let here = || {
        said("rustc", &["--print", "sysroot"])
            .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(RELEASED).is_dir())
    };
    if here() || (install && said("rustup", &["target", "add", RELEASED]).is_some() && here()) {
        return Ok(());
    }
    Err(format!(
        "the toolchain cannot build for {RELEASED}: rustup target add {RELEASED}{}",
        if install { "" } else { ", or add --install" }
    ))
}

/// What the scenarios run besides what is released.
const OF_TESTS: [&str; 2] = ["lab-service", "lab-keeper"];

/// Builds the archive and unpacks it; gives it and a folder with its programs and the tests' own.
fn released() -> Result<(PathBuf, PathBuf), String> {
    // target/PROFILE/e2e
    let this = std::env::current_exe().map_err(|error| format!("its own path is unknown: {error}"))?;
    let profile = this.parent().ok_or("it does not lie in a target folder")?;
    let out = profile
        .parent()
        .ok_or("it does not lie in a target folder")?
        .join("dist");
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    // What an earlier version left is not what is tested.
    let _ = std::fs::remove_dir_all(&out);
    let began = Instant::now();
    let mut archive = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(archive.args(["archive", "--out"]).arg(&out))?;
    println!("the archive was built in {} s", began.elapsed().as_secs());
    let mut of_tests = cargo(&["build", "--quiet"]);
    for name in OF_TESTS {
        of_tests.args(["--bin", name]);
    }
    run(&mut of_tests)?;
    let archive = std::fs::read_dir(&out)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .ok_or_else(|| format!("{}: cargo archive left none there", out.display()))?;
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(&out)
        .args(["--strip-components=1", "--wildcards", "*/bin/*"]))?;
    let programs = out.join("bin");
    for name in OF_TESTS {
        std::fs::copy(profile.join(name), programs.join(name)).map_err(failed)?;
    }
    Ok((archive, programs))
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?} cannot be run: {error}")),
    }
}

/// A program that a suite runs, and the package of Debian that has it.
struct Needed {
    package: &'static str,
    places: &'static [&'static str],
}

/// Sees to it that everything is there: installs what is missing if that is wanted, else names it.
fn have(needed: &[Needed], install: bool) -> Result<(), String> {
    let missing = || -> Vec<_> {
        let is_missing = |one: &&Needed| !one.places.iter().any(|place| Path::new(place).exists());
        needed.iter().filter(is_missing).map(|one| one.package).collect()
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if install {
        let apt = |words: &[&str]| {
            let mut command = Command::new("apt-get");
            command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
            command.status().is_ok_and(|status| status.success())
        };
        let mut words = vec!["install", "-yq", "--no-install-recommends"];
        words.extend(&packages);
        if apt(&["update", "-q"]) && apt(&words) && missing().is_empty() {
            return Ok(());
        }
        return Err(format!(
            "{names} could not be installed; on Debian, as root: apt-get install {names}"
        ));
    }
    Err(format!(
        "missing: {names}; on Debian: apt-get install {names}, or add --install"
    ))
}

fn bench(quick: bool, part: Option<String>) -> ExitCode {
    let mut command = cargo(&["bench", "--bench", "figures"]);
    command.arg("--");
    if quick {
        command.arg("--quick");
    }
    command.args(part);
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo cannot be run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs tests, shows what they print, and ends with how many passed.
fn counted(mut command: Command) -> ExitCode {
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cargo cannot be run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let Ok(line) = line else { break };
        println!("{line}");
        if let Some((good, bad)) = result(&line) {
            (passed, failed) = (passed + good, failed + bad);
        }
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    // What failed without a failing test, as a build, counts as one.
    if !succeeded && failed == 0 {
        failed = 1;
    }
    println!("{passed} passed, {failed} failed");
    if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The numbers in `test result: ok. 3 passed; 0 failed; …`.
fn result(line: &str) -> Option<(u32, u32)> {
    let numbers = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| {
        let part = numbers.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::result;

    #[test]
    fn the_last_line_of_a_test_run_is_understood() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out; finished in 2s";
        assert_eq!(result(line), Some((12, 3)));
        assert_eq!(result("test road ... ok"), None);
    }
}
