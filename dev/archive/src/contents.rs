//! Which file lies where in the archive. What the checkout has keeps its place, so that links between the documents
//! lead somewhere; what is made lies in `bin`, `completions`, `man`, `licences`, and `sbom.cdx.json`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::compile::Built;
use crate::machine::{Machine, output};
use crate::{bill, licences};

/// What of the checkout is in the archive.
const CHECKOUT: [&str; 9] = [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "config-repo-template",
    "docs",
    "packaging",
    "services/examples",
    "services/protocol/README.md",
    "services/protocol/schema",
];

/// The shells with completions, and the file that each looks for.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "lockstep.bash"),
    ("fish", "lockstep.fish"),
    ("zsh", "_lockstep"),
];

/// A file of the archive.
pub(crate) struct File {
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
    /// Whether it may be run.
    pub(crate) program: bool,
}

/// All files by their path.
pub(crate) type Files = BTreeMap<String, File>;

/// Makes what is made and reads the rest.
pub(crate) fn gather(machine: &Machine, built: &Built<'_>) -> Result<Files, String> {
    let mut files = Files::new();
    let mut put = |path: String, bytes: Vec<u8>, program: bool| {
        files.insert(path, File { bytes, program });
    };
    for (name, program) in &built.programs {
        put(format!("bin/{name}"), read(&program.path)?, true);
    }
    for (path, program) in machine.files(&CHECKOUT)? {
        put(
            path.display().to_string(),
            read(&machine.root.join(&path))?,
            program,
        );
    }
    let lockstep = &built.lockstep()?.path;
    for (shell, file) in SHELLS {
        let script = output(Command::new(lockstep).args(["completions", shell]))?;
        put(
            format!("completions/{file}"),
            format!("{script}\n").into_bytes(),
            false,
        );
    }
    let pages = tempfile::tempdir().map_err(|error| format!("there is no room for manual pages: {error}"))?;
    output(Command::new(lockstep).arg("man").arg(pages.path()))?;
    let entries = fs::read_dir(pages.path()).map_err(|error| error.to_string())?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        put(format!("man/man1/{name}"), read(&path)?, false);
    }
    put(
        "licences/THIRD-PARTIES.txt".to_owned(),
        licences::third_parties(built)?.into_bytes(),
        false,
    );
    put(
        "licences/RUST-STANDARD-LIBRARY.html".to_owned(),
        licences::standard_library(machine)?,
        false,
    );
    put("sbom.cdx.json".to_owned(), bill::write(machine, built)?, false);
    Ok(files)
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
