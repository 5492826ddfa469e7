//! Files that lie in the volume's folder before it is a volume: what they are compared with what would be published,
//! for whoever has to decide about them, and what is said when they were taken over.
//!
//! Reads them and the repository, and changes nothing but the mirror, which the next start needs anyway. The comparison
//! is bounded, for it is to be read by a person; of what looks like a secret the value is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lockstep_core::tree::{Tree, TreePath};
use lockstep_protocol::Revision;
use lockstep_source::{Mirror, SourceError};
use lockstep_volume::{Adopted, OpenError};
use sha2::{Digest as _, Sha256};
use similar::TextDiff;

use super::failed::StartError;
use crate::events::Event;
use crate::settings::Settings;

/// As many files of the folder are looked at.
const LOOKED_AT: usize = 10_000;
/// As many names of one kind are listed.
const LISTED: usize = 20;
/// A larger file is not shown, only named.
const SHOWN_BYTES: u64 = 64 * 1024;
/// As many lines of differences are shown.
const SHOWN_LINES: usize = 200;
/// A line whose key has one of these words is shown without its value.
const SECRET: [&str; 8] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
];

/// The refusal of a volume, with the comparison where files of somebody else are the reason.
pub(super) fn explained(error: OpenError, settings: &Settings) -> StartError {
    let OpenError::Foreign { volume, entries } = &error else {
        return StartError::Open(error);
    };
    let comparison = match published(settings) {
        Ok((revision, tree, mirror)) => {
            let read = |path: &TreePath| {
                let blob = tree.get(path)?.blob;
                mirror.blobs().ok()?.read(blob).ok()
            };
            compare(
                volume,
                entries,
                &tree,
                read,
                &format!("git at {}", revision.short()),
            )
        }
        Err(error) => format!("They cannot be compared with what would be published: {error}"),
    };
    StartError::Foreign { error, comparison }
}

fn published(settings: &Settings) -> Result<(Revision, Tree, Mirror), SourceError> {
    let mirror = Mirror::open(settings.state.join("mirror.git"), settings.source.spec.clone())?;
    let head = mirror.fetch()?;
    let tree = mirror.tree(&head, None)?;
    Ok((head, tree, mirror))
}

/// What lies on the volume beside what would lie there.
fn compare(
    volume: &Path,
    entries: &[String],
    tree: &Tree,
    read: impl Fn(&TreePath) -> Option<Vec<u8>>,
    origin: &str,
) -> String {
    let (here, all) = files(volume, entries);
    let (mut only_here, mut same, mut differ) = (Vec::new(), 0, Vec::new());
    for (path, full) in &here {
        match TreePath::new(path).ok().filter(|path| tree.get(path).is_some()) {
            None => only_here.push(path.as_str()),
            Some(known) if is_same(full, tree, &known) => same += 1,
            Some(known) => differ.push((path.as_str(), full, known)),
        }
    }
    let only_there: Vec<_> = tree
        .iter()
        .map(|(path, _)| path.as_str())
        .filter(|path| !here.contains_key(*path))
        .collect();
    let changed: Vec<_> = differ.iter().map(|(path, ..)| *path).collect();
    let mut text = format!("Compared with what would be published ({origin}):\n");
    list(&mut text, "only on the volume, kept aside by --adopt", &only_here);
    list(&mut text, "only in git", &only_there);
    list(
        &mut text,
        "different, the volume's kept aside by --adopt",
        &changed,
    );
    if same > 0 {
        let _ = writeln!(text, "  the same: {same}");
    }
    if !all {
        let _ = writeln!(
            text,
            "  (the first {LOOKED_AT} files on the volume; there are more)"
        );
    }
    let mut left = SHOWN_LINES;
    for (path, full, known) in differ {
        let shown = difference(path, &text_of(full), &read(&known).and_then(as_text), origin);
        for line in shown.lines() {
            if left == 0 {
                text.push_str("… (there is more that differs)\n");
                return text.trim_end().to_owned();
            }
            left -= 1;
            text.push_str(&without_secret(line));
            text.push('\n');
        }
    }
    text.trim_end().to_owned()
}

/// The files below the entries, links as themselves; false when there are more than are looked at.
fn files(volume: &Path, entries: &[String]) -> (BTreeMap<String, PathBuf>, bool) {
    let mut found = BTreeMap::new();
    let mut paths: Vec<_> = entries
        .iter()
        .map(|entry| (entry.clone(), volume.join(entry)))
        .collect();
    while let Some((path, full)) = paths.pop() {
        if found.len() == LOOKED_AT {
            return (found, false);
        }
        if !fs::symlink_metadata(&full).is_ok_and(|meta| meta.is_dir()) {
            found.insert(path, full);
            continue;
        }
        for entry in fs::read_dir(&full).into_iter().flatten().flatten() {
            let name = entry.file_name();
            paths.push((format!("{path}/{}", name.to_string_lossy()), entry.path()));
        }
    }
    (found, true)
}

fn is_same(full: &Path, tree: &Tree, path: &TreePath) -> bool {
    tree.get(path).is_some_and(|file| {
        fs::symlink_metadata(full).is_ok_and(|meta| meta.is_file() && meta.len() == file.size)
            && fs::read(full).is_ok_and(|bytes| Sha256::digest(&bytes)[..] == file.sha256)
    })
}

/// A plain file's text; none when it is something else, or too large to be shown.
fn text_of(full: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(full).ok()?;
    (meta.is_file() && meta.len() <= SHOWN_BYTES)
        .then(|| fs::read(full).ok())
        .flatten()
        .and_then(as_text)
}

fn as_text(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    (text.len() as u64 <= SHOWN_BYTES && !text.contains('\0')).then_some(text)
}

fn difference(path: &str, here: &Option<String>, there: &Option<String>, origin: &str) -> String {
    let (Some(here), Some(there)) = (here, there) else {
        return format!("{path} differs, and is not shown: it is no plain text, or too large");
    };
    let diff = TextDiff::from_lines(here.as_str(), there.as_str());
    let header = (format!("{path} on the volume"), format!("{path} in {origin}"));
    diff.unified_diff()
        .context_radius(3)
        .missing_newline_hint(false)
        .header(&header.0, &header.1)
        .to_string()
}

/// A line of a difference, without the value of what looks like a secret, and without what moves a terminal.
fn without_secret(line: &str) -> String {
    let line: String = line
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    match line.split_once(['=', ':']) {
        Some((key, _)) if SECRET.iter().any(|word| key.to_lowercase().contains(word)) => {
            format!("{key}= (not shown)")
        }
        Some(_) | None => line,
    }
}

fn list(text: &mut String, what: &str, names: &[&str]) {
    if names.is_empty() {
        return;
    }
    let _ = write!(text, "  {what}: {}", names[..names.len().min(LISTED)].join(", "));
    match names.len().saturating_sub(LISTED) {
        0 => text.push('\n'),
        more => {
            let _ = writeln!(text, " and {more} more");
        }
    }
}

/// What is told of a take-over that is under way.
pub(super) fn told(Adopted { folder, entries }: Adopted) -> Event {
    let shown = entries[..entries.len().min(LISTED)].join(", ");
    let more = match entries.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Event {
        message: format!(
            "what lay on the volume is kept in {}: {shown}{more}. Until a release is live, whoever reads these paths \
             still finds it",
            folder.display()
        ),
        ..Event::new("Adopted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_not_shown_and_nothing_moves_the_terminal() {
        assert_eq!(
            without_secret("-db_password = \"hunter2\""),
            "-db_password = (not shown)"
        );
        assert_eq!(without_secret("+  apiToken: abc"), "+  apiToken= (not shown)");
        assert_eq!(without_secret("-name = \"\u{1b}[2J\""), "-name = \"\u{fffd}[2J\"");
        assert_eq!(without_secret(" token of a sentence"), " token of a sentence");
    }

    #[test]
    fn a_comparison_stays_short_whatever_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut entries = Vec::new();
        for n in 0..300 {
            entries.push(format!("f{n:03}"));
            fs::write(
                folder.path().join(&entries[n]),
                format!("theirs {n}\n").repeat(50),
            )
            .unwrap();
        }
        let mut tree = Tree::new();
        for entry in &entries[100..] {
            let file = lockstep_core::tree::TreeFile {
                mode: lockstep_protocol::FileMode::Regular,
                blob: lockstep_core::tree::BlobId([0; 20]),
                sha256: [0; 32],
                size: 0,
            };
            tree.insert(TreePath::new(entry).unwrap(), file);
        }
        let told = compare(
            folder.path(),
            &entries,
            &tree,
            |_| Some(b"ours\n".to_vec()),
            "git",
        );
        assert!(told.contains("f000") && told.contains("and 80 more"), "{told}");
        assert!(told.contains("-theirs 100\n") && told.contains("+ours"), "{told}");
        assert!(told.ends_with("(there is more that differs)"), "{told}");
        assert!(told.lines().count() < SHOWN_LINES + 10);
    }
}
