//! The licence texts of all that is linked, in one file: each crate with its licence, then each text once with the
//! crates that carry it.
//!
//! The texts are those in the crates' own sources, the C libraries inside them included; of a crate without any,
//! the texts that its licence names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cargo_metadata::Package;

use crate::compile::Built;
use crate::machine::Machine;

/// musl's, which comes with Rust's standard library for the target and lies in none of its folders.
const MUSL: &str = include_str!("../notices/musl.txt");

/// How a file is called that says what others may do.
const NAMES: [&str; 7] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
    "UNLICENCE",
];

/// Endings of files that are called so and are something else.
const OTHERS: [&str; 7] = ["rs", "c", "h", "py", "toml", "json", "html"];

/// All texts of third parties, in one.
pub(crate) fn third_parties(built: &Built<'_>) -> Result<String, String> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut page =
        String::from("Lockstep is under the Apache License 2.0: see LICENSE. Its programs contain:\n\n");
    let parties = built.crates.iter().filter(|package| package.source.is_some());
    for package in parties {
        let title = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its text");
        let _ = writeln!(page, "  {title:<40} {licence}");
        for (place, text) in of(package)? {
            let carrier = if place.is_empty() {
                title.clone()
            } else {
                format!("{title} ({place})")
            };
            texts.entry(text).or_default().insert(carrier);
        }
    }
    let _ = writeln!(page, "  {:<40} MIT OR Apache-2.0", "Rust's standard library");
    let _ = writeln!(page, "  {:<40} MIT", "musl");
    texts
        .entry(MUSL.trim().to_owned())
        .or_default()
        .insert("musl".to_owned());
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|a, b| a.1.cmp(&b.1));
    for (text, carriers) in texts {
        let line = "=".repeat(80);
        let _ = writeln!(page, "\n{line}");
        for carrier in carriers {
            let _ = writeln!(page, "{carrier}");
        }
        let _ = writeln!(page, "{line}\n\n{text}");
    }
    Ok(page)
}

/// What the toolchain says of its standard library.
pub(crate) fn standard_library(machine: &Machine) -> Result<Vec<u8>, String> {
    let path = machine.sysroot.join("share/doc/rust/COPYRIGHT-library.html");
    fs::read(&path).map_err(|error| {
        format!(
            "{}: {error}; a toolchain by rustup has it: the archive needs it",
            path.display()
        )
    })
}

/// The texts of a crate, each with the file's path in the crate.
fn of(package: &Package) -> Result<Vec<(String, String)>, String> {
    let root = package
        .manifest_path
        .parent()
        .ok_or_else(|| format!("{} lies nowhere", package.name))?;
    let mut texts = Vec::new();
    collect(root.as_std_path(), root.as_std_path(), &mut texts)?;
    if !texts.is_empty() {
        return Ok(texts);
    }
    let expression = package
        .license
        .as_deref()
        .ok_or_else(|| format!("{} has neither a licence nor its text", package.name))?;
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX)
        .map_err(|error| format!("{}: licence {expression:?}: {error}", package.name))?;
    let ids = parsed.requirements().filter_map(|one| one.req.license.id());
    let named: Vec<_> = ids.map(|id| (String::new(), normal(id.text()))).collect();
    if named.is_empty() {
        return Err(format!(
            "{}: licence {expression:?} has no known text",
            package.name
        ));
    }
    Ok(named)
}

fn collect(root: &Path, folder: &Path, texts: &mut Vec<(String, String)>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut entries: Vec<_> = fs::read_dir(folder)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            collect(root, &path, texts)?;
        } else if is_licence(&path) {
            // One that is no text is something else.
            if let Ok(text) = fs::read_to_string(&path) {
                let place = path.strip_prefix(root).unwrap_or(&path);
                texts.push((place.display().to_string(), normal(&text)));
            }
        }
    }
    Ok(())
}

fn is_licence(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_uppercase();
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    NAMES.iter().any(|known| name.starts_with(known)) && !OTHERS.contains(&ending.as_str())
}

/// Ends of lines and of the text as everywhere: the same text is then the same.
fn normal(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_known_by_its_name_and_code_is_none() {
        for name in [
            "LICENSE",
            "LICENSE-MIT",
            "licence.txt",
            "COPYING",
            "Notice.md",
            "COPYRIGHT",
        ] {
            assert!(is_licence(Path::new(name)), "{name}");
        }
        for name in ["license.rs", "notice.h", "README.md", "copying.py"] {
            assert!(!is_licence(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn texts_that_differ_in_ends_of_lines_alone_are_one() {
        assert_eq!(normal("\na  \r\nb\r\n\r\n"), normal("a\nb"));
    }
}
