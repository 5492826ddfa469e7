//! Why a server was not talked to, or would not talk: what a person has to mend, at one end or the other.
//!
//! Each has a code of its own, a message that names the place, and the next step. Nothing secret is ever in it.

use std::path::PathBuf;

/// A host key as a server showed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// The host as known_hosts writes it.
    pub host: String,
    /// The kind of the key.
    pub kind: String,
    /// Its fingerprint, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The file with the known keys.
    pub known_hosts: PathBuf,
    /// The line that makes this one known.
    pub line: String,
}

/// What stands between us and the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// known_hosts knows no key of this server.
    #[error(
        "the host key of {} is not known, so nobody can tell whether it is that server. It showed {} {}. Compare \
         this with what `ssh-keygen -lf /etc/ssh/ssh_host_{}_key.pub` prints on the server, or with what its \
         operator publishes; if it is the same, add this line to {}:\n{}",
        .0.host, .0.kind, .0.fingerprint, file_word(&.0.kind), .0.known_hosts.display(), .0.line
    )]
    HostKeyUnknown(Box<HostKey>),
    /// known_hosts has another key for this server.
    #[error(
        "the host key of {} is not the one that is known: it showed {} {}, and {} has {expected} in line {number}. \
         Either the server has a new key, or somebody sits in between. Ask its operator; only if the new key is \
         confirmed, put this line in the place of line {number}:\n{}",
        shown.host, shown.kind, shown.fingerprint, shown.known_hosts.display(), shown.line
    )]
    HostKeyChanged {
        /// The key that was shown.
        shown: Box<HostKey>,
        /// The fingerprint of the key that is known.
        expected: String,
        /// The line with the known key.
        number: usize,
    },
    /// known_hosts says that this key is revoked.
    #[error(
        "the host key of {host} ({fingerprint}) is revoked by line {number} of {}. Whoever has that key must not \
         be trusted; ask the server's operator",
        known_hosts.display()
    )]
    HostKeyRevoked {
        /// The host as known_hosts writes it.
        host: String,
        /// The fingerprint of the key.
        fingerprint: String,
        /// The file.
        known_hosts: PathBuf,
        /// The line that revokes it.
        number: usize,
    },
    /// The certificate's time is over.
    #[error(
        "the certificate of {host} is expired ({why}). Renew it on the server; if it is new, check this machine's clock"
    )]
    CertificateExpired {
        /// The host.
        host: String,
        /// What the check said.
        why: String,
    },
    /// The certificate's time has not begun.
    #[error("the certificate of {host} is not valid yet ({why}). Check the clocks of both machines")]
    CertificateNotYetValid {
        /// The host.
        host: String,
        /// What the check said.
        why: String,
    },
    /// The certificate is another host's.
    #[error(
        "the certificate is not one of {host}: it is for {}. Write one of these names in source.url, or give the \
         server a certificate with its name",
        names.join(", ")
    )]
    CertificateOfAnotherHost {
        /// The host.
        host: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// The certificate is signed by nobody but itself.
    #[error(
        "the certificate of {host} is signed by itself and not by a CA that is trusted here. Give the server a \
         certificate from a CA, or copy the certificate from the server by a way that you trust and name that file \
         as source.ca_file"
    )]
    CertificateSelfSigned {
        /// The host.
        host: String,
    },
    /// The certificate's CA is not trusted.
    #[error(
        "the certificate of {host} is from a CA that is not trusted here ({trusted}). Name the file with the CA's \
         certificate as source.ca_file; if the CA is a public one, the server may have been set up without the \
         certificates in between"
    )]
    CertificateUntrusted {
        /// The host.
        host: String,
        /// What is trusted, as a phrase.
        trusted: String,
    },
    /// The certificate is no good for another reason.
    #[error("the certificate of {host} cannot be used: {why}")]
    CertificateUnusable {
        /// The host.
        host: String,
        /// What is wrong, with the next step.
        why: String,
    },
    /// The two sides agree on no encryption.
    #[error(
        "no encrypted connection to {host} came about: {why}. Check that source.url names the right port and that \
         the server speaks {expected}"
    )]
    HandshakeFailed {
        /// The host.
        host: String,
        /// What was said.
        why: String,
        /// What is spoken here.
        expected: &'static str,
    },
    /// The server wants to know who asks.
    #[error(
        "{url} wants to know who asks, and the settings name nothing. Name source.token_file, or source.username \
         and source.password_file"
    )]
    CredentialsMissing {
        /// The URL without credentials.
        url: String,
    },
    /// The server does not take what it was shown.
    #[error(
        "{url} does not take {shown}. It is tried again once a look; put a valid one into the file, or give it the \
         right to read this repository. No restart is needed"
    )]
    CredentialsRefused {
        /// The URL without credentials.
        url: String,
        /// What it was shown, as a phrase without the secret.
        shown: String,
    },
    /// A file with a secret cannot be used.
    #[error("source.{key} {} cannot be used: {why}", path.display())]
    CredentialsUnreadable {
        /// The key of the settings.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, with the next step.
        why: String,
    },
    /// A file with a secret can be read by others.
    #[error(
        "source.{key} {} can be read by others (its mode is {mode:04o}), so it is not used. Run `chmod 600 {}`; if \
         others did read it, replace what it holds",
        path.display(),
        path.display()
    )]
    CredentialsTooOpen {
        /// The key of the settings.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A private key has a passphrase.
    #[error(
        "source.ssh_key {} is encrypted, and nobody is here to type its passphrase. Make a key for this machine \
         alone: `ssh-keygen -t ed25519 -N '' -f FILE`",
        path.display()
    )]
    KeyEncrypted {
        /// The file.
        path: PathBuf,
    },
    /// A file is no private key of a kind that is understood.
    #[error("source.ssh_key {} is no private key that can be used: {why}", path.display())]
    KeyNotUnderstood {
        /// The file.
        path: PathBuf,
        /// What it is instead, with the next step.
        why: String,
    },
    /// Whoever asks may not do this.
    #[error(
        "{url} refuses: {why}. Give the user or key of the settings the right to read this repository, and the \
         right to push if ways back are to be committed from here"
    )]
    Forbidden {
        /// The URL without credentials.
        url: String,
        /// What the server said.
        why: String,
    },
    /// The server sends somewhere else.
    #[error(
        "{url} sends to {to}, which is not followed: credentials must not reach another server by the word of this \
         one. If that is where the repository is now, write it as source.url"
    )]
    Redirected {
        /// The URL without credentials.
        url: String,
        /// Where to, without credentials.
        to: String,
    },
    /// Whatever answers is no git server.
    #[error(
        "what answers at {url} is not git: {why}. Check the path in source.url; a page to look at has another URL \
         than the repository behind it"
    )]
    NotGit {
        /// The URL without credentials.
        url: String,
        /// What it is instead.
        why: String,
    },
    /// The server has a failure of its own.
    #[error("{url} has a failure of its own: {why}. It is tried again; look at the server's log")]
    ServerFailed {
        /// The URL without credentials.
        url: String,
        /// What it said.
        why: String,
    },
    /// The listing is too long.
    #[error(
        "{url} lists more branches and tags than {limit} bytes can hold. Delete those that nobody needs, or follow \
         a repository with fewer"
    )]
    ListingTooLong {
        /// The URL without credentials.
        url: String,
        /// The most that is taken.
        limit: u64,
    },
}

impl Refused {
    /// The name of the reason: stable, for metrics and for looking it up in the docs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::HostKeyUnknown { .. } => "HostKeyUnknown",
            Self::HostKeyChanged { .. } => "HostKeyChanged",
            Self::HostKeyRevoked { .. } => "HostKeyRevoked",
            Self::CertificateExpired { .. } => "CertificateExpired",
            Self::CertificateNotYetValid { .. } => "CertificateNotYetValid",
            Self::CertificateOfAnotherHost { .. } => "CertificateOfAnotherHost",
            Self::CertificateSelfSigned { .. } => "CertificateSelfSigned",
            Self::CertificateUntrusted { .. } => "CertificateUntrusted",
            Self::CertificateUnusable { .. } => "CertificateUnusable",
            Self::HandshakeFailed { .. } => "HandshakeFailed",
            Self::CredentialsMissing { .. } => "CredentialsMissing",
            Self::CredentialsRefused { .. } => "CredentialsRefused",
            Self::CredentialsUnreadable { .. } => "CredentialsUnreadable",
            Self::CredentialsTooOpen { .. } => "CredentialsTooOpen",
            Self::KeyEncrypted { .. } => "KeyEncrypted",
            Self::KeyNotUnderstood { .. } => "KeyNotUnderstood",
            Self::Forbidden { .. } => "Forbidden",
            Self::Redirected { .. } => "Redirected",
            Self::NotGit { .. } => "NotGit",
            Self::ServerFailed { .. } => "ServerFailed",
            Self::ListingTooLong { .. } => "ListingTooLong",
        }
    }
}

/// The kind of a host key as the name of the server's own file has it.
fn file_word(kind: &str) -> &'static str {
    if kind.contains("ed25519") {
        "ed25519"
    } else {
        "ecdsa"
    }
}
