//! Whether a server's key is the one that the settings' `known_hosts` has for it, in the format of OpenSSH.
//!
//! Lines that cannot be understood are passed over, as OpenSSH does: they can only make a server less known.

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, KnownHosts, Marker};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use sha1::Sha1;

/// The lines about one server.
pub(crate) struct Known {
    lines: Vec<(usize, Entry)>,
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the server's.
    Trusted,
    /// Nothing is known of the server.
    Unknown,
    /// The server has another one, in this line.
    Changed { number: usize, expected: String },
    /// It must not be trusted, says this line.
    Revoked { number: usize },
}

impl Known {
    /// Picks the lines about a server out of a file.
    pub(crate) fn of(text: &str, host: &str, port: u16) -> Self {
        let name = name(host, port);
        let lines = text
            .lines()
            .enumerate()
            .filter_map(|(index, line)| Some((index + 1, KnownHosts::new(line).next()?.ok()?)))
            .filter(|(_, entry)| is_about(entry.host_patterns(), &name))
            .collect();
        Self { lines }
    }

    /// The kinds of keys that are to be asked for, those that are known first: a server with several kinds then
    /// shows one that can be compared.
    pub(crate) fn sorted(&self, kinds: &[Algorithm]) -> Vec<Algorithm> {
        let known = |kind: &Algorithm| {
            self.trusted()
                .any(|(_, entry)| entry.public_key().algorithm() == *kind)
        };
        let mut sorted = kinds.to_vec();
        sorted.sort_by_key(|kind| !known(kind));
        sorted
    }

    /// What is known of the key that the server showed.
    pub(crate) fn judge(&self, key: &PublicKey) -> Verdict {
        let same = |entry: &Entry| entry.public_key().key_data() == key.key_data();
        let revoked = |(_, entry): &&(usize, Entry)| entry.marker() == Some(&Marker::Revoked) && same(entry);
        if let Some((number, _)) = self.lines.iter().find(revoked) {
            return Verdict::Revoked { number: *number };
        }
        if self.trusted().any(|(_, entry)| same(entry)) {
            return Verdict::Trusted;
        }
        // One of the same kind is what has changed; another kind is as good a sign.
        let kind = |entry: &Entry| entry.public_key().algorithm() == key.algorithm();
        let other = self
            .trusted()
            .find(|(_, entry)| kind(entry))
            .or_else(|| self.trusted().next());
        match other {
            Some((number, entry)) => Verdict::Changed {
                number: *number,
                expected: fingerprint(entry.public_key()),
            },
            None => Verdict::Unknown,
        }
    }

    /// Lines with a key of the server itself. Those of authorities vouch for certificates, which are not asked for.
    fn trusted(&self) -> impl Iterator<Item = &(usize, Entry)> {
        self.lines.iter().filter(|(_, entry)| entry.marker().is_none())
    }
}

/// A server as known_hosts writes it.
pub(crate) fn name(host: &str, port: u16) -> String {
    if port == 22 {
        host.to_owned()
    } else {
        format!("[{host}]:{port}")
    }
}

/// The line that makes a key known.
pub(crate) fn line(host: &str, port: u16, key: &PublicKey) -> String {
    let mut bare = key.clone();
    bare.set_comment("");
    let written = bare.to_openssh().unwrap_or_default();
    format!("{} {}", name(host, port), written.trim_end())
}

/// A key's fingerprint, as `ssh-keygen -l` prints it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn is_about(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else {
                return false;
            };
            mac.update(name.as_bytes());
            mac.verify_slice(hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut about = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(pattern) if fits(pattern.as_bytes(), name.as_bytes()) => return false,
                    Some(_) => {}
                    None => about |= fits(pattern.as_bytes(), name.as_bytes()),
                }
            }
            about
        }
    }
}

/// `*` and `?`, without regard to case.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, name)| fits(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => fits(rest, name),
        (Some((one, rest)), Some((other, name))) => one.eq_ignore_ascii_case(other) && fits(rest, name),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICU5mQ9CKe1rdQtBlnVWpxkY4wGpJ2xjN2dWKpHnxCXd";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn judge(text: &str, port: u16) -> Verdict {
        Known::of(text, "git.example", port).judge(&key(ONE))
    }

    #[test]
    fn a_key_is_known_changed_revoked_or_unknown() {
        assert_eq!(judge("", 22), Verdict::Unknown);
        assert_eq!(judge(&format!("# mine\n\nother {ONE}\n"), 22), Verdict::Unknown);
        assert_eq!(
            judge(&format!("nonsense\ngit.example {ONE} me@here\n"), 22),
            Verdict::Trusted
        );
        assert_eq!(
            judge(&format!("git.example {OTHER}\ngit.example {ONE}\n"), 22),
            Verdict::Trusted
        );
        let expected = fingerprint(&key(OTHER));
        assert_eq!(
            judge(&format!("\ngit.example {OTHER}\n"), 22),
            Verdict::Changed { number: 2, expected }
        );
        let revoked = format!("git.example {ONE}\n@revoked * {ONE}\n");
        assert_eq!(judge(&revoked, 22), Verdict::Revoked { number: 2 });
        let authority = format!("@cert-authority *.example {ONE}\n");
        assert_eq!(judge(&authority, 22), Verdict::Unknown);
    }

    #[test]
    fn a_port_is_part_of_the_name() {
        assert_eq!(judge(&format!("git.example {ONE}\n"), 2222), Verdict::Unknown);
        assert_eq!(
            judge(&format!("[git.example]:2222 {ONE}\n"), 2222),
            Verdict::Trusted
        );
    }

    #[test]
    fn names_may_be_patterns_or_hashed() {
        assert_eq!(judge(&format!("*.example,other {ONE}\n"), 22), Verdict::Trusted);
        assert_eq!(
            judge(&format!("*.example,!git.example {ONE}\n"), 22),
            Verdict::Unknown
        );
        assert_eq!(judge(&format!("GIT.?xample {ONE}\n"), 22), Verdict::Trusted);
        let mut mac = Hmac::<Sha1>::new_from_slice(&[7; 20]).unwrap();
        mac.update(b"git.example");
        let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
        let hashed = format!(
            "|1|{}|{} {ONE}\n",
            base64(&[7; 20]),
            base64(&mac.finalize().into_bytes())
        );
        assert_eq!(judge(&hashed, 22), Verdict::Trusted);
    }

    #[test]
    fn the_line_to_add_makes_the_key_known() {
        let text = line("git.example", 2222, &key(&format!("{ONE} a comment")));
        assert_eq!(text, format!("[git.example]:2222 {ONE}"));
        assert_eq!(judge(&text, 2222), Verdict::Trusted);
    }
}
