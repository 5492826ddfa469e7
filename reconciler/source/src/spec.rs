//! Which repository is followed, as resolved from the settings, and what may be taken from it.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::net::address::{Address, Scheme, percent_decoded};
use crate::{Access, SourceError};

/// Which repository is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// An absolute path, `file://…`, `https://…`, `ssh://…` or `git://…`. Relative paths are resolved by the settings, not here.
    pub url: String,
    /// The branch that is followed, without `refs/heads/`.
    pub branch: String,
    /// The folder of the repository that is published, "" for all of it.
    pub path: String,
    /// What a published tree may hold, unless the caller gives other limits.
    pub limits: Limits,
    /// How long and how much a fetch may take.
    pub bounds: Bounds,
    /// With what a server is asked.
    pub access: Access,
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
            access: Access::default(),
        }
    }

    /// Whether it can be used as it is written, as far as that is known without looking at the repository.
    ///
    /// # Errors
    /// When the URL, the branch or the folder is not of a form that this build can follow.
    pub fn check(&self) -> Result<(), SourceError> {
        self.access.check(&Transport::of(&self.url)?)?;
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

/// How long each step towards a server may take, and how much may come of it. A step ends at its own limit or
/// at that of the whole, whichever is first; nothing can bound a local path on a file system that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For finding the server's address, and again for a connection to it.
    pub connect: Duration,
    /// For agreeing on encryption, and again for logging in.
    pub handshake: Duration,
    /// Between two pieces of an answer.
    pub silence: Duration,
    /// From the beginning until the branches are listed.
    pub listing: Duration,
    /// For one fetch, or one push, in all.
    pub fetch: Duration,
    /// Bytes that one fetch may load, as they are sent.
    pub fetch_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
            silence: Duration::from_secs(20),
            listing: Duration::from_secs(60),
            fetch: Duration::from_secs(300),
            fetch_bytes: 1 << 30,
        }
    }
}

impl Bounds {
    /// The usual ones, with another time for each step towards a server.
    #[must_use]
    pub fn with_steps_of(step: Duration) -> Self {
        let usual = Self::default();
        Self {
            connect: step.min(usual.connect),
            handshake: step,
            silence: step,
            listing: step.saturating_mul(3),
            fetch: usual.fetch.max(step),
            ..usual
        }
    }
}

/// How a URL is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transport {
    /// By opening the repository's folder.
    Local(PathBuf),
    /// By talking to a server.
    Remote(Address),
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
        let remote = |scheme, rest| match Address::parse(scheme, rest) {
            Ok(address) => Ok(Self::Remote(address)),
            Err(why) => invalid(why),
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
                "git" => remote(Scheme::Git, rest),
                "https" if cfg!(feature = "https") => remote(Scheme::Https, rest),
                "ssh" | "git+ssh" | "ssh+git" if cfg!(feature = "ssh") => remote(Scheme::Ssh, rest),
                "http" => invalid(
                    "http:// lets everybody on the way read and change what is fetched; write https://, with \
                     source.ca_file if the certificate is from a CA of your own",
                ),
                other => Err(unsupported(other)),
            };
        }
        if url.starts_with('/') {
            return Ok(Self::Local(url.into()));
        }
        // git's short form host:path means ssh; a slash before the colon makes it a path.
        if url.split('/').next().is_some_and(|first| first.contains(':')) {
            return invalid(
                "git's short form host:path is not taken; write ssh://USER@HOST/PATH, and ssh://USER@HOST/~/PATH \
                 where the path counts from the user's home",
            );
        }
        invalid("its path is not absolute")
    }
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
    fn paths_and_servers_are_taken_and_others_are_named() {
        for (url, path) in [
            ("/srv/a b.git", "/srv/a b.git"),
            ("file:///srv/a%20b.git", "/srv/a b.git"),
            ("/srv/a:b.git", "/srv/a:b.git"),
        ] {
            assert_eq!(Transport::of(url).unwrap(), Transport::Local(path.into()));
        }
        assert!(matches!(
            Transport::of("git://host/config.git").unwrap(),
            Transport::Remote(address) if address.port == 9418
        ));
        let message = |url| Transport::of(url).unwrap_err().to_string();
        assert_eq!(
            message("srv/config.git"),
            "source.url \"srv/config.git\" cannot be used: its path is not absolute. Write an absolute path, \
             file:///path, https://host/path, ssh://user@host/path or git://host/path"
        );
        assert!(message("git@host:config.git").contains("write ssh://USER@HOST/PATH"));
        assert!(message("http://host/config.git").contains("write https://"));
        assert!(message("ftp://host/config.git").contains("the transport \"ftp\""));
        assert!(message("git://host").contains("needs a host and a path"));
        assert!(message("file://elsewhere/srv").contains("another host"));
        let secret = message("https://me:secret@host/config.git");
        assert!(
            secret.contains("source.password_file") && !secret.contains("secret@"),
            "{secret}"
        );
    }

    #[cfg(all(feature = "https", feature = "ssh"))]
    #[test]
    fn what_opens_the_door_has_to_fit_the_url() {
        let check = |url: &str, access: Access| {
            let spec = SourceSpec {
                access,
                ..SourceSpec::new(url, "main")
            };
            spec.check().map_err(|error| error.to_string())
        };
        let file = || Some(PathBuf::from("/etc/lockstep/file"));
        let ssh = Access {
            ssh_key: file(),
            known_hosts: file(),
            ..Access::default()
        };
        assert_eq!(check("ssh://git@host/c.git", ssh.clone()), Ok(()));
        assert!(
            check("ssh://host/c.git", ssh.clone())
                .unwrap_err()
                .contains("needs a user")
        );
        assert!(
            check("ssh://git@host/c.git", Access::default())
                .unwrap_err()
                .contains("source.ssh_key")
        );
        assert!(
            check("https://host/c.git", ssh)
                .unwrap_err()
                .contains("source.ssh_key cannot be used")
        );
        let password = Access {
            password_file: file(),
            ..Access::default()
        };
        assert_eq!(check("https://me@host/c.git", password.clone()), Ok(()));
        assert!(
            check("https://host/c.git", password.clone())
                .unwrap_err()
                .contains("source.username")
        );
        assert!(
            check("/srv/c.git", password)
                .unwrap_err()
                .contains("source.password_file")
        );
        let both = Access {
            token_file: file(),
            password_file: file(),
            username: Some("me".to_owned()),
            ..Access::default()
        };
        assert!(
            check("https://host/c.git", both)
                .unwrap_err()
                .contains("source.token_file")
        );
    }
}
