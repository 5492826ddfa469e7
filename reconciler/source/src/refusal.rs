//! Why a revision's files cannot be published: every reason at once, each with its path and the next step.

use std::fmt;

use lockstep_protocol::Revision;

/// One reason, as data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A symbolic link (mode 120000).
    Symlink,
    /// A submodule (mode 160000).
    Submodule,
    /// A device, pipe or socket: git itself never writes such an entry.
    Device,
    /// A mode that git does not define.
    UnknownMode(u32),
    /// A name that is not UTF-8.
    NotUtf8,
    /// `.`, `..`, an empty name, or one with a slash: it would leave its folder.
    UnsafeName,
    /// A name that its folder has twice.
    Duplicate,
    /// A folder whose bytes git cannot parse.
    Malformed,
    /// A folder without entries, which git itself never writes.
    EmptyFolder,
    /// A name that differs from another one of the same folder in case only.
    CaseCollision {
        /// The other name's path.
        with: String,
    },
    /// A top-level name that the volume needs for itself.
    ReservedName {
        /// The name that is reserved.
        name: &'static str,
    },
    /// A name or path longer than file systems take.
    TooLong {
        /// How many bytes it has.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A file with too many bytes.
    FileTooLarge {
        /// How many it has.
        bytes: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Too many files in all.
    TooManyFiles {
        /// How many are allowed.
        limit: u64,
    },
    /// Too many folders in all; git can name more of them in a few bytes than any disk holds.
    TooManyFolders {
        /// How many are allowed.
        limit: u64,
    },
    /// Too many bytes in all.
    TooManyBytes {
        /// How many there are.
        bytes: u64,
        /// How many are allowed.
        limit: u64,
    },
}

impl Reason {
    /// What is wrong, as a phrase.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Symlink => "is a symbolic link, which could lead out of the release".to_owned(),
            Self::Submodule => "is a submodule, whose files are not in this repository".to_owned(),
            Self::Device => "is a device, pipe or socket".to_owned(),
            Self::UnknownMode(mode) => format!("has the mode {mode:o}, which git does not define"),
            Self::NotUtf8 => "has a name that is not UTF-8".to_owned(),
            Self::UnsafeName => "has a name that leaves its folder".to_owned(),
            Self::Duplicate => "is there twice".to_owned(),
            Self::EmptyFolder => "is a folder without files, which git itself never commits".to_owned(),
            Self::Malformed => "is a folder that git cannot parse".to_owned(),
            Self::CaseCollision { with } => {
                format!("differs from {} in upper and lower case only", quoted(with))
            }
            Self::ReservedName { name } => {
                format!("has the name {name:?}, which the volume needs for itself")
            }
            Self::TooLong { bytes, limit } => format!("is {bytes} bytes long, {limit} are allowed"),
            Self::FileTooLarge { bytes, limit } => format!("has {bytes} bytes, {limit} are allowed"),
            Self::TooManyFiles { limit } => format!("holds more than the {limit} files allowed"),
            Self::TooManyFolders { limit } => format!("holds more than the {limit} folders allowed"),
            Self::TooManyBytes { bytes, limit } => format!("holds {bytes} bytes in all, {limit} are allowed"),
        }
    }

    /// What to do next, as a sentence without its full stop.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Symlink => "Commit a copy of the file that it points to",
            Self::Submodule => "Commit the files themselves",
            Self::EmptyFolder => "Remove it, or commit a file in it",
            Self::Device | Self::UnknownMode(_) | Self::Duplicate | Self::Malformed => {
                "Remove it and commit it again with git itself"
            }
            Self::NotUtf8 | Self::UnsafeName | Self::CaseCollision { .. } | Self::ReservedName { .. } => {
                "Rename it"
            }
            Self::TooLong { .. } => "Shorten its name or those of its folders",
            Self::FileTooLarge { .. } => {
                "Keep large data elsewhere, or raise the limit on bytes a file in the policy"
            }
            Self::TooManyFiles { .. } | Self::TooManyFolders { .. } => {
                "Publish a smaller folder, or raise the limit on files in the policy"
            }
            Self::TooManyBytes { .. } => {
                "Publish a smaller folder, or raise the limit on bytes in all in the policy"
            }
        }
    }
}

/// One entry that cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Its path from the repository's root; bytes that are not UTF-8 are written `\xNN`. "" is the whole.
    pub path: String,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "the repository".to_owned()
        } else {
            quoted(&self.path)
        };
        write!(f, "{path} {}. {}", self.reason.why(), self.reason.next_step())
    }
}

/// Everything that keeps one revision from being published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRefused {
    /// The revision.
    pub revision: Revision,
    /// Every refusal, in byte order of path.
    pub refusals: Vec<Refusal>,
}

/// How many refusals a message shows; the value always has all of them.
const SHOWN: usize = 50;

impl fmt::Display for TreeRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} cannot be published:", self.revision.short())?;
        for refusal in self.refusals.iter().take(SHOWN) {
            write!(f, "\n  {refusal}")?;
        }
        if self.refusals.len() > SHOWN {
            write!(f, "\n  and {} more", self.refusals.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for TreeRefused {}

/// A path as it is safe to print: as it is, or quoted and escaped when a terminal or a reader would be misled.
pub(crate) fn quoted(path: &str) -> String {
    if path
        .chars()
        .any(|c| c.is_control() || c == '"' || c == '\\' || c == ' ')
        || path.is_empty()
    {
        format!(
            "\"{}\"",
            path.replace('"', "\\\"").chars().map(shown).collect::<String>()
        )
    } else {
        path.to_owned()
    }
}

fn shown(c: char) -> String {
    if c.is_control() {
        c.escape_default().to_string()
    } else {
        c.to_string()
    }
}

/// A name out of a tree as text: bytes that are not UTF-8 become `\xNN`.
pub(crate) fn lossless(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
