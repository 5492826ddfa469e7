//! What can go wrong at the source, typed by what the caller does next, never by which call failed.
//!
//! Each message names the place (never with credentials), what was expected, and the next step.

use std::path::PathBuf;
use std::time::Duration;

use crate::net::refused::Refused;
use crate::refusal::{TreeRefused, quoted};

/// What the caller does after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again later, with back-off: it may mend by itself, or somebody mends it at the other end.
    Retry,
    /// This revision cannot be used and will not become usable; another one may be.
    Reject,
    /// Call [`Mirror::heal`](crate::Mirror::heal), then try again.
    Heal,
    /// Nothing changes until a person changes the settings.
    Stop,
}

/// Why the source could not answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL cannot be used as it is written.
    #[error(
        "source.url {url:?} cannot be used: {why}. Write an absolute path, file:///path, https://host/path, \
         ssh://user@host/path or git://host/path"
    )]
    InvalidUrl {
        /// The URL without credentials.
        url: String,
        /// What is wrong with it, as a phrase.
        why: &'static str,
    },
    /// The URL asks for a transport that is not compiled in.
    #[error(
        "source.url {url:?} needs the transport {transport:?}, which this build does not have: it fetches \
         from {}. Serve the repository by one of these, or mirror it to this machine",
        transports()
    )]
    UnsupportedTransport {
        /// The URL without credentials.
        url: String,
        /// The scheme, or `ssh` for the `host:path` form.
        transport: String,
    },
    /// What is to open the server's door does not fit.
    #[error("source.{key} cannot be used: {why}")]
    InvalidAccess {
        /// The key of the settings.
        key: &'static str,
        /// What is wrong, with the next step.
        why: &'static str,
    },
    /// The published folder cannot be used as it is written.
    #[error(
        "source.path {path:?} cannot be used: {why}. Write a folder of the repository such as \"config\""
    )]
    InvalidPath {
        /// The path as written.
        path: String,
        /// What is wrong with it, as a phrase.
        why: &'static str,
    },
    /// The branch cannot be used as it is written.
    #[error(
        "source.branch {branch:?} is not a name that git allows. Write it without refs/heads/, such as \"main\""
    )]
    InvalidBranch {
        /// The branch as written.
        branch: String,
    },
    /// The repository could not be reached.
    #[error(
        "{url} cannot be reached: {why}. It is tried again; check that the server runs and that its address is right"
    )]
    Unreachable {
        /// The URL without credentials.
        url: String,
        /// What the transport said.
        why: String,
    },
    /// The repository did not answer in time.
    #[error(
        "{url} did not answer in time while {doing} (given up after {after:?}). It is tried again; check the server's load and the network"
    )]
    TimedOut {
        /// The URL without credentials.
        url: String,
        /// What was being done, as a phrase.
        doing: &'static str,
        /// How long it took until it was given up.
        after: Duration,
    },
    /// A server, or what was said to it, has to be mended by a person.
    #[error(transparent)]
    Server(#[from] Box<Refused>),
    /// There is no repository where the URL points.
    #[error(
        "there is no git repository at {url}: {why}. It is tried again; create it there, or correct source.url"
    )]
    NotARepository {
        /// The URL without credentials.
        url: String,
        /// What is there instead.
        why: String,
    },
    /// There is a repository of a kind that this build cannot read.
    #[error("the git repository at {url} cannot be read: {why}")]
    UnsupportedRepository {
        /// The URL without credentials.
        url: String,
        /// What is unusual about it, and the next step.
        why: String,
    },
    /// The repository itself lacks objects or has damaged ones.
    #[error(
        "the git repository at {url} is damaged: {why}. Run `git fsck` there and restore it; it is tried again"
    )]
    RemoteCorrupt {
        /// The URL without credentials.
        url: String,
        /// What could not be read.
        why: String,
    },
    /// The repository has no branch at all.
    #[error("the git repository at {url} is empty. Push a first commit to its branch {branch:?}")]
    EmptyRepository {
        /// The URL without credentials.
        url: String,
        /// The branch that is followed.
        branch: String,
    },
    /// The repository has branches, but not the one that is followed.
    #[error(
        "the git repository at {url} has no branch {branch:?}; it has {}. Push that branch, or correct source.branch",
        listed(seen)
    )]
    BranchMissing {
        /// The URL without credentials.
        url: String,
        /// The branch that is followed.
        branch: String,
        /// The branches that exist.
        seen: Vec<String>,
    },
    /// The head needs more bytes than a fetch may load.
    #[error(
        "fetching {} from {url} needs more than {limit} bytes and was given up. Take large files out of the \
         repository's history, or raise the fetch limit",
        short(revision)
    )]
    TooLarge {
        /// The URL without credentials.
        url: String,
        /// The head that was to be fetched.
        revision: String,
        /// The most that a fetch may load.
        limit: u64,
    },
    /// The published folder does not exist in a revision.
    #[error(
        "revision {} has no folder {path:?}; its {} holds {}. Commit that folder, or correct source.path",
        short(revision),
        folder_words(inside),
        listed(exists)
    )]
    PathMissing {
        /// The revision.
        revision: String,
        /// The published folder.
        path: String,
        /// The innermost folder on the way that exists, "" for the top.
        inside: String,
        /// What that folder holds.
        exists: Vec<String>,
    },
    /// The published folder is something else in a revision.
    #[error(
        "in revision {} {path:?} is {what}, where source.path expects a folder. Commit a folder there, or correct source.path",
        short(revision)
    )]
    PathNotAFolder {
        /// The revision.
        revision: String,
        /// The part of the path that is no folder.
        path: String,
        /// What it is, as a phrase.
        what: &'static str,
    },
    /// A revision holds what cannot be published.
    #[error(transparent)]
    Refused(#[from] Box<TreeRefused>),
    /// A file that was asked for by name cannot be read from a revision.
    #[error("in revision {} {} cannot be read: {why}", short(revision), quoted(path))]
    FileRefused {
        /// The revision.
        revision: String,
        /// Its path from the repository's root.
        path: String,
        /// What is wrong, and the next step.
        why: String,
    },
    /// A text names no revision here.
    #[error("{text:?} names no revision in the mirror of {url}: {why}")]
    UnknownRevision {
        /// The URL without credentials.
        url: String,
        /// The text that was to be resolved.
        text: String,
        /// What was found instead, and the next step.
        why: String,
    },
    /// The mirror lacks objects that it should have, or has damaged ones.
    #[error("the mirror {} is damaged: {why}. It is remade from the source", dir.display())]
    Corrupt {
        /// The mirror's folder.
        dir: PathBuf,
        /// What could not be read.
        why: String,
    },
    /// The mirror's folder could not be read or written.
    #[error("the mirror {} could not be used while {doing}: {why}. Check the free space and who owns the folder", dir.display())]
    MirrorIo {
        /// The path concerned.
        dir: PathBuf,
        /// What was being done, as a phrase.
        doing: &'static str,
        /// What the system or libgit2 said.
        why: String,
    },
}

impl SourceError {
    /// What to do next. No wildcard: a new error has to decide.
    #[must_use]
    pub fn next(&self) -> Next {
        match self {
            // The other end, the network or this disk: time or a person there mends it.
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Server(_)
            | Self::NotARepository { .. }
            | Self::UnsupportedRepository { .. }
            | Self::RemoteCorrupt { .. }
            | Self::EmptyRepository { .. }
            | Self::BranchMissing { .. }
            | Self::MirrorIo { .. } => Next::Retry,
            // A revision never changes; the next one may be better.
            Self::TooLarge { .. }
            | Self::PathMissing { .. }
            | Self::PathNotAFolder { .. }
            | Self::Refused(_)
            | Self::FileRefused { .. }
            | Self::UnknownRevision { .. } => Next::Reject,
            Self::Corrupt { .. } => Next::Heal,
            // What is written in the settings stays wrong until it is written anew.
            Self::InvalidUrl { .. }
            | Self::UnsupportedTransport { .. }
            | Self::InvalidAccess { .. }
            | Self::InvalidPath { .. }
            | Self::InvalidBranch { .. } => Next::Stop,
        }
    }

    /// The name of the reason: stable, for metrics and for looking it up in the docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUrl { .. } => "InvalidUrl",
            Self::UnsupportedTransport { .. } => "UnsupportedTransport",
            Self::InvalidAccess { .. } => "InvalidAccess",
            Self::InvalidPath { .. } => "InvalidPath",
            Self::InvalidBranch { .. } => "InvalidBranch",
            Self::Unreachable { .. } => "Unreachable",
            Self::TimedOut { .. } => "TimedOut",
            Self::Server(refused) => refused.code(),
            Self::NotARepository { .. } => "NotARepository",
            Self::UnsupportedRepository { .. } => "UnsupportedRepository",
            Self::RemoteCorrupt { .. } => "RemoteCorrupt",
            Self::EmptyRepository { .. } => "EmptyRepository",
            Self::BranchMissing { .. } => "BranchMissing",
            Self::TooLarge { .. } => "TooLarge",
            Self::PathMissing { .. } => "PathMissing",
            Self::PathNotAFolder { .. } => "PathNotAFolder",
            Self::Refused(_) => "TreeRefused",
            Self::FileRefused { .. } => "FileRefused",
            Self::UnknownRevision { .. } => "UnknownRevision",
            Self::Corrupt { .. } => "MirrorDamaged",
            Self::MirrorIo { .. } => "MirrorUnusable",
        }
    }
}

/// The codes of all reasons.
pub const CODES: [&str; 41] = [
    "BranchMissing",
    "CertificateExpired",
    "CertificateNotYetValid",
    "CertificateOfAnotherHost",
    "CertificateSelfSigned",
    "CertificateUntrusted",
    "CertificateUnusable",
    "CredentialsMissing",
    "CredentialsRefused",
    "CredentialsTooOpen",
    "CredentialsUnreadable",
    "EmptyRepository",
    "FileRefused",
    "Forbidden",
    "HandshakeFailed",
    "HostKeyChanged",
    "HostKeyRevoked",
    "HostKeyUnknown",
    "InvalidAccess",
    "InvalidBranch",
    "InvalidPath",
    "InvalidUrl",
    "KeyEncrypted",
    "KeyNotUnderstood",
    "ListingTooLong",
    "MirrorDamaged",
    "MirrorUnusable",
    "NotARepository",
    "NotGit",
    "PathMissing",
    "PathNotAFolder",
    "Redirected",
    "RemoteCorrupt",
    "ServerFailed",
    "TimedOut",
    "TooLarge",
    "TreeRefused",
    "UnknownRevision",
    "Unreachable",
    "UnsupportedRepository",
    "UnsupportedTransport",
];

/// The code that a message begins with, as it is told in events and in the status.
#[must_use]
pub fn code_in(message: &str) -> Option<&'static str> {
    let (code, _) = message.split_once(": ")?;
    CODES.into_iter().find(|known| *known == code)
}

impl From<Refused> for SourceError {
    fn from(refused: Refused) -> Self {
        Self::Server(Box::new(refused))
    }
}

/// What this build can fetch from, as a phrase.
fn transports() -> &'static str {
    match (cfg!(feature = "https"), cfg!(feature = "ssh")) {
        (true, true) => "a path, file://, https://, ssh:// and git://",
        (true, false) => "a path, file://, https:// and git://",
        (false, true) => "a path, file://, ssh:// and git://",
        (false, false) => "a path, file:// and git://",
    }
}

/// The first names of a list, as a phrase.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

fn folder_words(inside: &str) -> String {
    if inside.is_empty() {
        "top".to_owned()
    } else {
        format!("folder {inside:?}")
    }
}

/// Twelve digits of a revision, as in names and messages everywhere.
pub(crate) fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_list_and_in_the_docs() {
        let source = concat!(include_str!("error.rs"), include_str!("net/refused.rs"));
        let given = source
            .lines()
            .filter_map(|line| line.trim().split_once("=> \"")?.1.strip_suffix("\","))
            .filter(|code| code.starts_with(char::is_uppercase));
        let mut given: Vec<_> = given.collect();
        given.sort_unstable();
        assert_eq!(given, CODES);
        let docs = include_str!("../../../docs/sources.md");
        for code in CODES {
            assert!(
                docs.contains(&format!("`{code}`")),
                "docs/sources.md does not explain {code}"
            );
        }
    }

    #[test]
    fn a_code_is_found_at_the_beginning_of_a_message_only() {
        assert_eq!(code_in("TimedOut: it took too long"), Some("TimedOut"));
        assert_eq!(code_in("it was TimedOut: so long"), None);
        assert_eq!(code_in("Nonsense: so long"), None);
    }
}
