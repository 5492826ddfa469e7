//! What is here: the checkout, cargo's folders, the toolchain. Whatever is missing is named with how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

/// What the programs are built for: static, so that they run on any Linux of this architecture.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The checkout and what builds it.
pub(crate) struct Machine {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target_dir: PathBuf,
    /// Cargo's home, with the sources of the crates.
    pub(crate) cargo_home: PathBuf,
    /// Where the toolchain lies.
    pub(crate) sysroot: PathBuf,
    /// The compiler's version, as `1.95.0`.
    pub(crate) rustc: String,
    /// The time of all files in the archive: the commit's, or `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: u64,
    /// What cargo knows of the workspace and its crates, for [`TARGET`].
    pub(crate) metadata: Metadata,
}

impl Machine {
    /// Looks around.
    pub(crate) fn look() -> Result<Self, String> {
        let metadata = MetadataCommand::new()
            .other_options(vec![
                "--locked".to_owned(),
                "--filter-platform".to_owned(),
                TARGET.to_owned(),
            ])
            .exec()
            .map_err(|error| format!("cargo metadata failed: {error}"))?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let target_dir = metadata.target_directory.clone().into_std_path_buf();
        let sysroot = PathBuf::from(output(Command::new("rustc").args(["--print", "sysroot"]))?);
        if !sysroot.join("lib/rustlib").join(TARGET).is_dir() {
            return Err(format!(
                "the toolchain in {} cannot build for {TARGET}: rustup target add {TARGET}",
                sysroot.display()
            ));
        }
        // Some of what is linked is C.
        if !on_path("musl-gcc") && !on_path("x86_64-linux-musl-gcc") {
            return Err("musl-gcc is not here; on Debian: apt-get install musl-tools".to_owned());
        }
        let rustc = output(Command::new("rustc").arg("--version"))?;
        // rustc 1.95.0 (59807616e 2026-04-14)
        let rustc = rustc.split(' ').nth(1).unwrap_or(&rustc).to_owned();
        let cargo_home = match std::env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => std::env::home_dir()
                .ok_or("there is no home folder: set CARGO_HOME")?
                .join(".cargo"),
        };
        Ok(Self {
            epoch: epoch(&root)?,
            root,
            target_dir,
            cargo_home,
            sysroot,
            rustc,
            metadata,
        })
    }

    /// The first file of the checkout that differs from the commit, if any.
    pub(crate) fn uncommitted(&self) -> Result<Option<String>, String> {
        let changed = git(&self.root, &["status", "--porcelain"])?;
        Ok(changed
            .lines()
            .next()
            .map(|line| line.get(3..).unwrap_or(line).to_owned()))
    }

    /// The files below some paths of the checkout that git knows, with whether they may be run.
    pub(crate) fn files(&self, paths: &[&str]) -> Result<Vec<(PathBuf, bool)>, String> {
        let mut words = vec!["ls-files", "--stage", "-z", "--"];
        words.extend(paths);
        let listed = git(&self.root, &words)?;
        let entries = listed.split('\0').filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                // MODE OBJECT STAGE\tPATH
                let (facts, path) = entry
                    .split_once('\t')
                    .ok_or_else(|| format!("git ls-files said {entry:?}"))?;
                Ok((PathBuf::from(path), facts.starts_with("100755")))
            })
            .collect()
    }
}

fn epoch(root: &Path) -> Result<u64, String> {
    let (text, whose) = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => (text, "SOURCE_DATE_EPOCH"),
        Err(_) => (
            git(root, &["log", "--max-count=1", "--format=%ct"])?,
            "the commit's time",
        ),
    };
    text.trim()
        .parse()
        .map_err(|_| format!("{whose} is {text:?}, and seconds since 1970 were expected"))
}

fn git(root: &Path, words: &[&str]) -> Result<String, String> {
    output(Command::new("git").arg("-C").arg(root).args(words))
}

/// What a program prints, which must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {}", said.trim()));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| format!("{command:?} printed no text"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
