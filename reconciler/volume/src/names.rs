//! The names on the volume: of releases and terms, and where everything lies below its root.
//!
//! This is the one place that knows the layout. It does no I/O.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use lockstep_protocol::{Digest, Revision, SwitchNumber};
use serde::{Deserialize, Serialize};

/// A number that grows with each coordinator; the volume refuses what a lower one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a release's folder: `<digest12>-<rev12>`, with `.2`, `.3` … when a damaged release still
/// has that name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseName(String);

/// The text is not the name of a release.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{0:?} is not the name of a release: 12 hexadecimal digits of the digest, `-` and 12 of the revision are \
     expected, perhaps with `.2`"
)]
pub struct InvalidReleaseName(pub String);

impl ReleaseName {
    /// The name of the `copy`th release (from 1) with this digest and revision.
    #[must_use]
    pub fn new(digest: &Digest, revision: &Revision, copy: u32) -> Self {
        let base = format!("{}-{}", digest.short(), revision.short());
        Self(if copy <= 1 { base } else { format!("{base}.{copy}") })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ReleaseName {
    type Error = InvalidReleaseName;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hex12 = |part: &str| part.len() == 12 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let copy_number = |part: &str| part.parse::<u32>().is_ok_and(|n| n >= 2 && n.to_string() == part);
        let valid = text.split_once('-').is_some_and(|(digest, rest)| {
            let (revision, copy) = rest
                .split_once('.')
                .map_or((rest, None), |(rev, n)| (rev, Some(n)));
            hex12(digest) && hex12(revision) && copy.is_none_or(copy_number)
        });
        if valid {
            Ok(Self(text))
        } else {
            Err(InvalidReleaseName(text))
        }
    }
}

impl From<ReleaseName> for String {
    fn from(name: ReleaseName) -> Self {
        name.0
    }
}

impl std::fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a folder below `.lockstep` that belongs to a term is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TermFolder {
    /// `term-<t>`: its coordinator may write.
    Open(Term),
    /// `fenced-<t>`: a later coordinator has taken over.
    Fenced(Term),
}

impl TermFolder {
    /// Reads the name of a folder below `.lockstep`.
    pub(crate) fn parse(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        if let Some(number) = name.strip_prefix("term-") {
            return canonical_number(number).map(|n| Self::Open(Term(n)));
        }
        canonical_number(name.strip_prefix("fenced-")?).map(|n| Self::Fenced(Term(n)))
    }

    /// The term it belongs to.
    pub(crate) fn term(self) -> Term {
        match self {
            Self::Open(term) | Self::Fenced(term) => term,
        }
    }
}

/// The name of the folder with what a take-over keeps.
pub(crate) fn adopted_name(number: u64) -> String {
    format!("adopted-{number}")
}

/// The number of a folder with what a take-over keeps.
pub(crate) fn parse_adopted(name: &OsStr) -> Option<u64> {
    canonical_number(name.to_str()?.strip_prefix("adopted-")?)
}

/// A decimal number as we write it: no sign, no leading zero.
fn canonical_number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|n| n.to_string() == text)
}

/// The number of the switch whose link has this name.
pub(crate) fn parse_switch(name: &OsStr) -> Option<SwitchNumber> {
    canonical_number(name.to_str()?).map(SwitchNumber)
}

/// The release that a link `switches/N` names, from the link's text.
pub(crate) fn parse_switch_target(target: &Path) -> Option<ReleaseName> {
    let name = target.to_str()?.strip_prefix("../releases/")?;
    ReleaseName::try_from(name.to_owned()).ok()
}

/// The number of the switch that `current` names, from the link's text.
pub(crate) fn parse_current_target(target: &Path) -> Option<SwitchNumber> {
    parse_switch(OsStr::new(target.to_str()?.strip_prefix(".lockstep/switches/")?))
}

/// Where `current` points for a switch.
pub(crate) fn current_target(switch: SwitchNumber) -> PathBuf {
    PathBuf::from(format!(".lockstep/switches/{switch}"))
}

/// Where the link of a switch points.
pub(crate) fn switch_target(release: &ReleaseName) -> PathBuf {
    PathBuf::from(format!("../releases/{release}"))
}

/// Where the stable link of a top-level entry points.
pub(crate) fn entry_target(entry: &str) -> PathBuf {
    Path::new("current").join(entry)
}

/// Where everything lies, as absolute paths. Nothing is ever changed through a directory handle held from
/// before: a path through `term-<t>` stops resolving the moment that term is fenced.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn own(&self) -> PathBuf {
        self.root.join(".lockstep")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(".lockstep/lock")
    }
    pub(crate) fn current(&self) -> PathBuf {
        self.root.join("current")
    }
    pub(crate) fn entry(&self, entry: &str) -> PathBuf {
        self.root.join(entry)
    }
    pub(crate) fn switches(&self) -> PathBuf {
        self.root.join(".lockstep/switches")
    }
    pub(crate) fn switch(&self, switch: SwitchNumber) -> PathBuf {
        self.switches().join(switch.to_string())
    }
    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join(".lockstep/releases")
    }
    pub(crate) fn release(&self, name: &ReleaseName) -> PathBuf {
        self.releases().join(name.as_str())
    }
    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.join(".lockstep/manifests")
    }
    pub(crate) fn manifest(&self, name: &ReleaseName) -> PathBuf {
        self.manifests().join(name.as_str())
    }
    /// The mark of a take-over under way: a link to the folder with what it keeps.
    pub(crate) fn adopting(&self) -> PathBuf {
        self.root.join(".lockstep/adopting")
    }
    pub(crate) fn term(&self, term: Term) -> PathBuf {
        self.root.join(format!(".lockstep/term-{term}"))
    }
    pub(crate) fn fenced(&self, term: Term) -> PathBuf {
        self.root.join(format!(".lockstep/fenced-{term}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_name_is_read_back_and_nothing_else_is_taken_for_one() {
        let digest = Digest::of_bytes(b"x");
        let revision = Revision::new(&"ab".repeat(20)).unwrap();
        for copy in [1, 2, 10] {
            let name = ReleaseName::new(&digest, &revision, copy);
            assert_eq!(ReleaseName::try_from(name.as_str().to_owned()).unwrap(), name);
        }
        for text in [
            "",
            "abc-def",
            "0123456789ab-0123456789ab.1",
            "0123456789ab-0123456789ab.02",
            "../x",
        ] {
            assert!(ReleaseName::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_folders_written_by_us_count_as_terms() {
        assert_eq!(
            TermFolder::parse(OsStr::new("term-7")),
            Some(TermFolder::Open(Term(7)))
        );
        assert_eq!(
            TermFolder::parse(OsStr::new("fenced-7")),
            Some(TermFolder::Fenced(Term(7)))
        );
        for name in ["term-", "term-07", "term--1", "fenced-x", "lock"] {
            assert_eq!(TermFolder::parse(OsStr::new(name)), None, "{name}");
        }
    }
}
