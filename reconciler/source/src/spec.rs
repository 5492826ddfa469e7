//! Which repository is followed, as resolved from the settings, and what may be taken from it.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::SourceError;

/// Which repository is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// An absolute path, `file://…` or `git://…`. Relative paths are resolved by the settings, not here.
    pub url: String,
    /// The branch that is followed, without `refs/heads/`.
    pub branch: String,
    /// The folder of the repository that is published, "" for all of it.
    pub path: String,
    /// What a published tree may hold, unless the caller gives other limits.
    pub limits: Limits,
    /// How long and how much a fetch may take.
    pub bounds: Bounds,
}

impl SourceSpec {
    /// All of a repository's branch, with the default limits and bounds.
    #[must_use]
    pub fn new(url: impl Into<String>, branch: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            branch: branch.into(),
            path: String::new(),
            limits: Limits::default(),
            bounds: Bounds::default(),
        }
    }

    /// Whether it can be used as it is written, as far as that is known without looking at the repository.
    ///
    /// # Errors
    /// When the URL, the branch or the folder is not of a form that this build can follow.
    pub fn check(&self) -> Result<(), SourceError> {
        Transport::of(&self.url)?;
        published_folder(&self.path)?;
        if git2::Reference::is_valid_name(&format!("refs/heads/{}", self.branch)) {
            Ok(())
        } else {
            let branch = self.branch.clone();
            Err(SourceError::InvalidBranch { branch })
        }
    }

    /// The same, publishing one folder only.
    #[must_use]
    pub fn publishing(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }
}

/// What a published tree may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one file.
    pub file_bytes: u64,
    /// Files in all; as many folders are allowed.
    pub files: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 10 << 20,
            files: 100_000,
            total_bytes: 256 << 20,
        }
    }
}

/// How long and how much a fetch may take.
///
/// libgit2 keeps `connect` and `silence` once for the whole process: the first mirror that is opened sets
/// them. They bound the network; nothing can bound a local path on a file system that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Until a connection is made.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// For one fetch in all.
    pub fetch: Duration,
    /// Bytes that one fetch may load, as they are sent.
    pub fetch_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            fetch: Duration::from_secs(300),
            fetch_bytes: 1 << 30,
        }
    }
}

/// How a URL is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transport {
    /// By opening the repository's folder.
    Local(PathBuf),
    /// By git's own protocol over TCP.
    Daemon,
}

impl Transport {
    pub(crate) fn of(url: &str) -> Result<Self, SourceError> {
        let invalid = |why| {
            Err(SourceError::InvalidUrl {
                url: shown_url(url),
                why,
            })
        };
        let unsupported = |transport: &str| SourceError::UnsupportedTransport {
            url: shown_url(url),
            transport: transport.to_owned(),
        };
        if url.is_empty() {
            return invalid("it is empty");
        }
        if url.chars().any(char::is_control) {
            return invalid("it holds a control character");
        }
        if let Some((scheme, rest)) = url.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                "file" => match rest.strip_prefix("localhost").unwrap_or(rest) {
                    path if path.starts_with('/') => Ok(Self::Local(percent_decoded(path).into())),
                    _ => invalid("a file:// URL names another host, or its path is not absolute"),
                },
                "git"
                    if rest
                        .split_once('/')
                        .is_some_and(|(host, path)| !host.is_empty() && !path.is_empty()) =>
                {
                    Ok(Self::Daemon)
                }
                "git" => invalid("a git:// URL needs a host and a path"),
                other => Err(unsupported(other)),
            };
        }
        if url.starts_with('/') {
            return Ok(Self::Local(url.into()));
        }
        // git's short form host:path means ssh; a slash before the colon makes it a path.
        if url.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err(unsupported("ssh"));
        }
        invalid("its path is not absolute")
    }
}

/// `%20` and the like as bytes, which git allows in file:// URLs.
fn percent_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = path.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

/// A URL as it may be shown: without user, password and query.
pub(crate) fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// The published folder in one spelling: no slash at either end, "" for all.
pub(crate) fn published_folder(path: &str) -> Result<String, SourceError> {
    let invalid = |why| {
        Err(SourceError::InvalidPath {
            path: path.to_owned(),
            why,
        })
    };
    if path.contains('\0') {
        return invalid("it holds a NUL byte");
    }
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::ParentDir => return invalid("it leaves the repository (`..`)"),
            Component::RootDir | Component::Prefix(_) => {
                return invalid("it is absolute, and counts from the repository's root");
            }
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_credentials() {
        assert_eq!(
            shown_url("git://me:secret@host:9418/a@b.git?token=x"),
            "git://host:9418/a@b.git"
        );
        assert_eq!(shown_url("https://secret@host"), "https://host");
        assert_eq!(shown_url("/srv/me@home/config.git"), "/srv/me@home/config.git");
    }

    #[test]
    fn a_published_folder_has_one_spelling() {
        for (written, meant) in [("", ""), (".", ""), ("config/", "config"), ("./a//b/.", "a/b")] {
            assert_eq!(published_folder(written).unwrap(), meant);
        }
        for wrong in ["/config", "../config", "a/../..", "a\0b"] {
            assert!(published_folder(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn paths_and_git_urls_are_taken_and_others_are_named() {
        assert_eq!(
            Transport::of("/srv/a b.git").unwrap(),
            Transport::Local("/srv/a b.git".into())
        );
        assert_eq!(
            Transport::of("file:///srv/a%20b.git").unwrap(),
            Transport::Local("/srv/a b.git".into())
        );
        assert_eq!(
            Transport::of("/srv/a:b.git").unwrap(),
            Transport::Local("/srv/a:b.git".into())
        );
        assert_eq!(Transport::of("git://host/config.git").unwrap(), Transport::Daemon);
        let message = |url| Transport::of(url).unwrap_err().to_string();
        assert_eq!(
            message("https://me:secret@host/config.git"),
            "source.url \"https://host/config.git\" needs the transport \"https\", which this build does not have: \
             it fetches from a path, file:// and git://. Serve the repository by one of these, or mirror it to \
             this machine"
        );
        assert!(message("git@host:config.git").contains("the transport \"ssh\""));
        assert!(message("ssh://host/config.git").contains("the transport \"ssh\""));
        assert_eq!(
            message("srv/config.git"),
            "source.url \"srv/config.git\" cannot be used: its path is not absolute. Write an absolute path, \
             file:///path or git://host/path"
        );
        assert!(message("git://host").contains("needs a host and a path"));
        assert!(message("file://elsewhere/srv").contains("another host"));
    }
}
