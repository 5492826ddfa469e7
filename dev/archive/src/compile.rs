//! The programs, compiled so that nothing of this machine is in them, and which crates they are made of.
//!
//! Which crates is not asked of the resolver but of the build: cargo names each crate that it compiled for the
//! target. Build scripts and macros are compiled for this machine and are not linked.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Artifact, Message, Package, PackageId};

use crate::machine::{Machine, TARGET};

/// The packages whose programs are in the archive.
const PACKAGES: [&str; 4] = ["lockstep-reconciler", "broker", "scanner", "orchestrator"];

/// The profile in the workspace's `Cargo.toml`.
const PROFILE: &str = "archive";

/// What was built.
pub(crate) struct Built<'a> {
    /// The programs by name.
    pub(crate) programs: BTreeMap<String, Program<'a>>,
    /// Every crate that is linked, the workspace's own included, by name and version.
    pub(crate) crates: Vec<&'a Package>,
}

/// One program.
pub(crate) struct Program<'a> {
    /// Where cargo put it.
    pub(crate) path: PathBuf,
    /// The package it belongs to.
    pub(crate) package: &'a Package,
}

impl Built<'_> {
    /// The version of `lockstep`, which is the archive's.
    pub(crate) fn version(&self) -> Result<String, String> {
        Ok(self.lockstep()?.package.version.to_string())
    }

    /// The program itself.
    pub(crate) fn lockstep(&self) -> Result<&Program<'_>, String> {
        self.programs
            .get("lockstep")
            .ok_or_else(|| "cargo built no program lockstep".to_owned())
    }
}

/// Builds them.
pub(crate) fn programs(machine: &Machine, jobs: Option<u32>) -> Result<Built<'_>, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&machine.root)
        .args([
            "build",
            "--locked",
            "--bins",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
            "--target-dir",
        ])
        .arg(&machine.target_dir);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    if let Some(jobs) = jobs {
        cargo.args(["--jobs", &jobs.to_string()]);
    }
    settle_environment(&mut cargo, machine)?;
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    let said = child.stdout.take().ok_or("cargo has no output")?;
    let artifacts = Message::parse_stream(BufReader::new(said))
        .filter_map(|message| match message {
            Ok(Message::CompilerArtifact(artifact)) => Some(Ok(artifact)),
            Ok(_) => None,
            Err(error) => Some(Err(format!("what cargo said cannot be read: {error}"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let status = child
        .wait()
        .map_err(|error| format!("cargo cannot be waited for: {error}"))?;
    if !status.success() {
        return Err("the programs cannot be built".to_owned());
    }
    sort_out(machine, &artifacts)
}

/// Takes from the compilers whatever differs between two machines: folders, the time, others' wishes.
fn settle_environment(cargo: &mut Command, machine: &Machine) -> Result<(), String> {
    let folders = folders(machine)?;
    let rust: Vec<_> = folders
        .iter()
        .map(|(from, to)| {
            let mut word = OsString::from("--remap-path-prefix=");
            word.push(from);
            word.push(format!("={to}"));
            word
        })
        .collect();
    let c: Vec<_> = folders
        .iter()
        .map(|(from, to)| {
            let mut word = OsString::from("-ffile-prefix-map=");
            word.push(from);
            word.push(format!("={to}"));
            word
        })
        .collect();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let wish = text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_TARGET_X86_64")
            || text.contains("RUSTFLAGS")
            || text.contains("CFLAGS");
        if wish {
            cargo.env_remove(&name);
        }
    }
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f".as_ref()))
        .env("CFLAGS_x86_64_unknown_linux_musl", c.join(" ".as_ref()))
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", machine.epoch.to_string())
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    Ok(())
}

/// The folders that a compiler might write into a program, and what it writes instead. The last one that fits counts.
///
/// The checkout is not among them: cargo compiles the workspace's own crates from its root, by relative paths. With it
/// here, a build in another checkout would share nothing with the ones before.
fn folders(machine: &Machine) -> Result<Vec<(PathBuf, &'static str)>, String> {
    let mut folders = vec![
        (machine.target_dir.clone(), "target"),
        (machine.sysroot.clone(), "rust"),
        (machine.cargo_home.clone(), "cargo"),
    ];
    // Their names tell which registry or mirror the crates came from.
    let sources = machine.cargo_home.join("registry/src");
    let entries = std::fs::read_dir(&sources).map_err(|error| format!("{}: {error}", sources.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", sources.display()))?;
        folders.push((entry.path(), "crates"));
    }
    if let Some((path, _)) = folders
        .iter()
        .find(|(path, _)| path.to_string_lossy().contains([' ', '=']))
    {
        return Err(format!(
            "{} holds a space or `=`, which compilers do not take: use another place",
            path.display()
        ));
    }
    Ok(folders)
}

fn sort_out<'a>(machine: &'a Machine, artifacts: &[Artifact]) -> Result<Built<'a>, String> {
    let place = machine.target_dir.join(TARGET);
    let for_target = |artifact: &&Artifact| {
        artifact
            .filenames
            .iter()
            .any(|file| Path::new(file).starts_with(&place))
    };
    let known: BTreeMap<&PackageId, &Package> = machine
        .metadata
        .packages
        .iter()
        .map(|package| (&package.id, package))
        .collect();
    let package = |id: &PackageId| {
        known
            .get(id)
            .copied()
            .ok_or_else(|| format!("cargo metadata does not know {id}"))
    };
    let (mut programs, mut linked) = (BTreeMap::new(), BTreeSet::new());
    for artifact in artifacts.iter().filter(for_target) {
        linked.insert(&artifact.package_id);
        if let Some(path) = &artifact.executable {
            let program = Program {
                path: path.clone().into_std_path_buf(),
                package: package(&artifact.package_id)?,
            };
            programs.insert(artifact.target.name.clone(), program);
        }
    }
    let mut crates = linked.into_iter().map(package).collect::<Result<Vec<_>, _>>()?;
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(Built { programs, crates })
}
