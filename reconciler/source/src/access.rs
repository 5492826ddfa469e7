//! What opens a server's door: the files that the settings name, and whether they fit the URL.

use std::fs;
use std::path::{Path, PathBuf};

use crate::SourceError;
use crate::facts::{Changed, changed};
use crate::net::address::Scheme;
use crate::spec::Transport;

/// The files and the name with which a server is asked. They are read at each connection, so a file that is
/// replaced is used at the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The user, where the URL names none.
    pub username: Option<String>,
    /// `https://`: the file with the user's password.
    pub password_file: Option<PathBuf>,
    /// `https://`: the file with a token, which needs no user.
    pub token_file: Option<PathBuf>,
    /// `https://`: the certificates of the CAs that are trusted, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// `ssh://`: the private key.
    pub ssh_key: Option<PathBuf>,
    /// `ssh://`: the keys of the servers that are trusted.
    pub known_hosts: Option<PathBuf>,
}

/// What of a file tells that it was replaced. Only good for comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(Changed);

impl Access {
    /// The files with the keys of the settings that name them.
    fn files(&self) -> [(&'static str, Option<&Path>); 5] {
        [
            ("password_file", self.password_file.as_deref()),
            ("token_file", self.token_file.as_deref()),
            ("ca_file", self.ca_file.as_deref()),
            ("ssh_key", self.ssh_key.as_deref()),
            ("known_hosts", self.known_hosts.as_deref()),
        ]
    }

    /// Whether what is named fits the transport, as far as that is known without reading anything.
    pub(crate) fn check(&self, transport: &Transport) -> Result<(), SourceError> {
        let wrong = |key, why| Err(SourceError::InvalidAccess { key, why });
        let (own, user) = match transport {
            Transport::Local(_) => (&[][..], None),
            Transport::Remote(address) => match address.scheme {
                Scheme::Git => (&[][..], None),
                Scheme::Https => (
                    &["password_file", "token_file", "ca_file"][..],
                    address.user.as_ref(),
                ),
                Scheme::Ssh => (&["ssh_key", "known_hosts"][..], address.user.as_ref()),
            },
        };
        for (key, file) in self.files() {
            if file.is_some() && !own.contains(&key) {
                return wrong(
                    key,
                    "the URL's kind has no use for it. Leave it out, or correct source.url",
                );
            }
        }
        if own.is_empty() && self.username.is_some() {
            return wrong(
                "username",
                "the URL's kind has no use for it. Leave it out, or correct source.url",
            );
        }
        if self.username.is_some() && user.is_some() {
            return wrong(
                "username",
                "the URL names a user already. Leave one of the two out",
            );
        }
        if self
            .username
            .as_ref()
            .is_some_and(|name| name.is_empty() || name.contains(char::is_control))
        {
            return wrong("username", "a name without control characters is expected");
        }
        if self.password_file.is_some() && self.token_file.is_some() {
            return wrong(
                "token_file",
                "a password_file is named as well. Leave one of the two out",
            );
        }
        let nameless = self.username.is_none() && user.is_none();
        if self.password_file.is_some() && nameless {
            return wrong(
                "password_file",
                "a password belongs to a user. Write source.username, or https://USER@HOST/PATH",
            );
        }
        if own.contains(&"ssh_key") {
            if nameless {
                return wrong(
                    "url",
                    "ssh:// needs a user. Write ssh://git@HOST/PATH, or source.username",
                );
            }
            if self.ssh_key.is_none() {
                return wrong(
                    "ssh_key",
                    "ssh:// needs the file of a private key. Make one with `ssh-keygen -t ed25519 -N '' -f FILE`, and let the server know FILE.pub",
                );
            }
            if self.known_hosts.is_none() {
                return wrong(
                    "known_hosts",
                    "ssh:// needs the file with the server's key, in the format of OpenSSH. Name an empty file to be told the line that belongs into it",
                );
            }
        }
        Ok(())
    }

    /// What the files are now.
    pub(crate) fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = self.files().into_iter().filter_map(|(_, file)| file);
        files
            .map(|file| {
                let meta = fs::metadata(file).ok()?;
                Some(Stamp(changed(&meta)))
            })
            .collect()
    }
}
