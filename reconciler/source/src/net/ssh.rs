//! git's protocol over SSH: the server's key is compared with `known_hosts` before anything else is said, the key
//! of the settings is shown once, and git's program at the other end is run.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{Config, Handle, Handler, Msg, connect_stream};
use russh::keys::ssh_key::EcdsaCurve;
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Error, Preferred};

use super::dial::Dial;
use super::known_hosts::{self, Known, Verdict};
use super::refused::{HostKey, Refused};
use super::secret::{Named, Secret};
use crate::SourceError;

/// The most that is kept of what the other end's program says to people.
const SAID_BYTES: usize = 1024;
/// The kinds of host keys that are understood. RSA is not (docs/decisions/014).
const KINDS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// A program at the other end, with its input and output.
pub(crate) struct Channel {
    output: ChannelReadHalf,
    input: ChannelWriteHalf<Msg>,
    left: VecDeque<u8>,
    said: Vec<u8>,
    ended: bool,
    /// Held, because the session ends with it.
    _session: Handle<Guest>,
}

impl Channel {
    /// Reaches the server, logs in and runs git's program.
    pub(crate) async fn open(dial: &Dial) -> Result<Self, SourceError> {
        let access = &dial.access;
        let (Some(key_path), Some(known_path)) = (&access.ssh_key, &access.known_hosts) else {
            unreachable!("the spec was checked when the mirror was opened");
        };
        let key_file = Named {
            key: "ssh_key",
            path: key_path,
        };
        // A file that is no key is as bad as none: what worked before is tried then.
        let file = key_file.secret().and_then(|secret| {
            understood(key_path, &secret)?;
            Ok(secret)
        });
        let secrets = dial.last_good.to_try(file.clone())?;
        for secret in &secrets {
            let key = understood(key_path, secret)?;
            let mut session = greet(dial, known_path).await?;
            if log_in(dial, &mut session, key).await? {
                dial.last_good.worked(secret, file.as_ref().ok());
                return Self::run(dial, session).await;
            }
        }
        Err(Refused::CredentialsRefused {
            url: dial.url.clone(),
            shown: format!(
                "user {:?} with the key {}",
                dial.user().unwrap_or(""),
                key_path.display()
            ),
        }
        .into())
    }

    async fn run(dial: &Dial, session: Handle<Guest>) -> Result<Self, SourceError> {
        let program = format!("{} {}", dial.service.program(), quoted(&dial.path()));
        let channel = dial
            .step("asking for git's program", dial.bounds.handshake, async {
                let channel = session
                    .channel_open_session()
                    .await
                    .map_err(|e| failure(dial, &e))?;
                channel.exec(true, program).await.map_err(|e| failure(dial, &e))?;
                Ok(channel)
            })
            .await?;
        let (output, input) = channel.split();
        Ok(Self {
            output,
            input,
            left: VecDeque::new(),
            said: Vec::new(),
            ended: false,
            _session: session,
        })
    }

    /// What the program said to people, in one line.
    pub(crate) fn said(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.said);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let one: String = lines
            .collect::<Vec<_>>()
            .join("; ")
            .replace(char::is_control, " ");
        (!one.is_empty()).then_some(one)
    }

    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> usize {
        while self.left.is_empty() && !self.ended {
            match self.output.wait().await {
                Some(ChannelMsg::Data { data }) => self.left.extend(data.iter()),
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = SAID_BYTES.saturating_sub(self.said.len());
                    self.said.extend(data.iter().take(room));
                }
                Some(ChannelMsg::Failure) => {
                    self.said
                        .extend(b"the server does not let this user run git's program");
                    self.ended = true;
                }
                // What is said to people may still come after the end of the output.
                Some(ChannelMsg::Close) | None => self.ended = true,
                Some(_) => {}
            }
        }
        let (front, _) = self.left.as_slices();
        let read = front.len().min(buffer.len());
        buffer[..read].copy_from_slice(&front[..read]);
        self.left.drain(..read);
        read
    }

    pub(crate) async fn write(&mut self, dial: &Dial, bytes: &[u8]) -> Result<(), SourceError> {
        let written = self.input.data_bytes(bytes.to_vec()).await;
        written.map_err(|e| failure(dial, &e))
    }
}

/// Connects, and has the server prove that it is the known one.
async fn greet(dial: &Dial, known_path: &Path) -> Result<Handle<Guest>, SourceError> {
    let named = Named {
        key: "known_hosts",
        path: known_path,
    };
    let (host, port) = (&dial.address.host, dial.address.port);
    let known = Known::of(&named.text()?, host, port);
    let config = Config {
        preferred: Preferred {
            key: known.sorted(&KINDS).into(),
            ..Preferred::default()
        },
        ..Config::default()
    };
    let refused = Arc::new(Mutex::new(None));
    let guest = Guest {
        known,
        host: host.clone(),
        port,
        file: known_path.to_owned(),
        refused: Arc::clone(&refused),
    };
    let stream = dial.tcp().await?;
    let doing = "agreeing on encryption";
    dial.step(doing, dial.bounds.handshake, async {
        let session = connect_stream(Arc::new(config), stream, guest).await;
        session.map_err(|e| {
            let refused = refused.lock().unwrap_or_else(PoisonError::into_inner).take();
            refused.map_or_else(|| failure(dial, &e), SourceError::from)
        })
    })
    .await
}

/// Shows a key, once. Tells whether it was taken.
async fn log_in(dial: &Dial, session: &mut Handle<Guest>, key: PrivateKey) -> Result<bool, SourceError> {
    let user = dial.user().unwrap_or_default().to_owned();
    dial.step("logging in", dial.bounds.handshake, async {
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let answer = session.authenticate_publickey(user, key).await;
        Ok(answer.map_err(|e| failure(dial, &e))?.success())
    })
    .await
}

/// Our side of a session: it lets the server prove who it is, and takes nothing else from it.
struct Guest {
    known: Known,
    host: String,
    port: u16,
    file: std::path::PathBuf,
    refused: Arc<Mutex<Option<Refused>>>,
}

impl Handler for Guest {
    type Error = Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Error> {
        // Certificates are not asked for, so none is taken.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Ok(false);
        };
        let verdict = self.refusal(key);
        let trusted = verdict.is_none();
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        Ok(trusted)
    }
}

impl Guest {
    fn refusal(&self, key: &PublicKey) -> Option<Refused> {
        let host = known_hosts::name(&self.host, self.port);
        let fingerprint = known_hosts::fingerprint(key);
        let verdict = self.known.judge(key);
        if let Verdict::Revoked { number } = verdict {
            let known_hosts = self.file.clone();
            return Some(Refused::HostKeyRevoked {
                host,
                fingerprint,
                known_hosts,
                number,
            });
        }
        let shown = Box::new(HostKey {
            host,
            kind: key.algorithm().to_string(),
            fingerprint,
            known_hosts: self.file.clone(),
            line: known_hosts::line(&self.host, self.port, key),
        });
        match verdict {
            Verdict::Trusted | Verdict::Revoked { .. } => None,
            Verdict::Unknown => Some(Refused::HostKeyUnknown(shown)),
            Verdict::Changed { number, expected } => Some(Refused::HostKeyChanged {
                shown,
                expected,
                number,
            }),
        }
    }
}

/// Reads a private key.
fn understood(path: &Path, secret: &Secret) -> Result<PrivateKey, Refused> {
    let text = secret.expose();
    let not = |why: &str| Refused::KeyNotUnderstood {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    const MAKE: &str = "Make one with `ssh-keygen -t ed25519 -N '' -f FILE`";
    if text.trim().is_empty() {
        return Err(not(&format!("it is empty. {MAKE}")));
    }
    let public = ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| text.trim_start().starts_with(kind));
    if public || text.contains("BEGIN PUBLIC KEY") || text.contains("BEGIN SSH2 PUBLIC KEY") {
        return Err(not(
            "it is a public key. Name the file without .pub, which belongs to it",
        ));
    }
    if text.trim_start().starts_with("PuTTY-User-Key-File") {
        return Err(not(
            "it is in PuTTY's format. Convert it: `puttygen FILE -O private-openssh -o NEW`",
        ));
    }
    let encrypted = || Refused::KeyEncrypted {
        path: path.to_owned(),
    };
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(encrypted());
    }
    let key = russh::keys::decode_secret_key(text, None).map_err(|e| match e {
        russh::keys::Error::KeyIsEncrypted => encrypted(),
        russh::keys::Error::UnsupportedKeyType { .. } => not(&format!("RSA keys are not taken. {MAKE}")),
        other => not(&format!("{other}. {MAKE}")),
    })?;
    if KINDS.contains(&key.algorithm()) {
        Ok(key)
    } else {
        Err(not(&format!(
            "keys of kind {} are not taken. {MAKE}",
            key.algorithm()
        )))
    }
}

fn failure(dial: &Dial, error: &Error) -> SourceError {
    let failed = |why: String| {
        SourceError::from(Refused::HandshakeFailed {
            host: dial.address.authority(),
            why,
            expected: "SSH, with an Ed25519 or ECDSA host key",
        })
    };
    match error {
        Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            theirs,
            ..
        } => failed(format!(
            "the server has host keys of kind {} only",
            theirs.join(", ")
        )),
        Error::NoCommonAlgo { .. }
        | Error::KexInit
        | Error::UnknownAlgo
        | Error::Version
        | Error::Kex
        | Error::PacketAuth
        | Error::WrongServerSig
        | Error::PacketSize(_)
        | Error::DecryptionError
        | Error::UnknownKey
        | Error::StrictKeyExchangeViolation { .. }
        | Error::Signature(_) => failed(error.to_string()),
        Error::Disconnect | Error::HUP => {
            dial.unreachable(&std::io::Error::other("the server closed the connection"))
        }
        other => dial.unreachable(&std::io::Error::other(other.to_string())),
    }
}

/// As a shell at the other end reads it back.
fn quoted(path: &str) -> String {
    // A home is found by git's program itself, from within the quotes.
    format!("'{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reaches_gits_program_as_it_is() {
        assert_eq!(quoted("/srv/a b.git"), "'/srv/a b.git'");
        assert_eq!(quoted("/it's!"), r"'/it'\''s'\!''");
    }
}
