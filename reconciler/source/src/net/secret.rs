//! Files that hold a secret, and the secrets that worked last.
//!
//! Every connection reads the files anew. What a server took last is remembered in memory alone: while a file is
//! being replaced, or holds something that the server does not know yet, the remembered one still opens the door.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::refused::Refused;
use crate::facts::too_open;

/// No key, password or certificate needs more.
const LARGEST: u64 = 1 << 20;

/// A text that opens a door. Whoever prints it prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The secret that a server took last, shared by all connections of a mirror.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastGood(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    good: Option<Secret>,
    /// Whether it was said already that the file's own is not taken.
    said: Option<Result<Secret, Refused>>,
}

impl LastGood {
    /// What is to be tried, in this order: what the file holds, then what worked last if that is another one.
    ///
    /// A file that cannot be used is an error only when nothing worked before.
    pub(crate) fn to_try(&self, file: Result<Secret, Refused>) -> Result<Vec<Secret>, Refused> {
        let mut memory = self.lock();
        match (file, memory.good.clone()) {
            (Ok(new), Some(old)) if new != old => Ok(vec![new, old]),
            (Ok(new), _) => Ok(vec![new]),
            (Err(refused), Some(old)) => {
                memory.say(Err(refused));
                Ok(vec![old])
            }
            (Err(refused), None) => Err(refused),
        }
    }

    /// A server took it.
    pub(crate) fn worked(&self, secret: &Secret, file: Option<&Secret>) {
        let mut memory = self.lock();
        memory.good = Some(secret.clone());
        match file {
            Some(file) if file != secret => memory.say(Ok(file.clone())),
            Some(_) => memory.said = None,
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Nothing is done halfway while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Says once that the old secret still serves, and why the new one does not.
    fn say(&mut self, why: Result<Secret, Refused>) {
        if self.said.as_ref() == Some(&why) {
            return;
        }
        match &why {
            Ok(_) => tracing::warn!(
                "the source does not take the new credentials; those that worked before are still in use, until the reconciler ends"
            ),
            Err(refused) => tracing::warn!(
                code = refused.code(),
                "{refused}. The credentials that worked before are still in use, until the reconciler ends"
            ),
        }
        self.said = Some(why);
    }
}

/// A file of the settings, with the key that names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) key: &'static str,
    pub(crate) path: &'a Path,
}

impl Named<'_> {
    /// Reads a secret, which nobody else may be able to read.
    pub(crate) fn secret(self) -> Result<Secret, Refused> {
        let (text, meta) = self.read()?;
        // As OpenSSH has it.
        if let Some(mode) = too_open(&meta) {
            return Err(Refused::CredentialsTooOpen {
                key: self.key,
                path: self.path.to_owned(),
                mode,
            });
        }
        Ok(Secret(text))
    }

    /// Reads a secret of one line, as a password is.
    pub(crate) fn line(self) -> Result<Secret, Refused> {
        let Secret(text) = self.secret()?;
        let line = text.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return Err(self.unusable("it is empty. Write the secret into it, in one line"));
        }
        if line.contains(char::is_control) {
            return Err(self.unusable(
                "it holds more than one line, or control characters. Write the secret alone into it",
            ));
        }
        Ok(Secret(line.to_owned()))
    }

    /// Reads what is no secret.
    pub(crate) fn text(self) -> Result<String, Refused> {
        Ok(self.read()?.0)
    }

    fn read(self) -> Result<(String, std::fs::Metadata), Refused> {
        let failed = |e: std::io::Error| {
            self.unusable(&format!(
                "{e}. Check that it exists and that the reconciler's user may read it"
            ))
        };
        // Looked at before it is opened: opening a pipe would wait for its writer.
        if !std::fs::metadata(self.path).map_err(failed)?.is_file() {
            return Err(self.unusable("it is no regular file"));
        }
        let file = File::open(self.path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let mut text = String::new();
        file.take(LARGEST + 1)
            .read_to_string(&mut text)
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::InvalidData => self.unusable("it is no text"),
                _ => failed(e),
            })?;
        if text.len() as u64 > LARGEST {
            return Err(self.unusable("it is larger than a file of its kind can be"));
        }
        Ok((text, meta))
    }

    pub(crate) fn unusable(self, why: &str) -> Refused {
        Refused::CredentialsUnreadable {
            key: self.key,
            path: PathBuf::from(self.path),
            why: why.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[test]
    fn a_new_secret_is_tried_before_the_old_one_is_dropped() {
        let last = LastGood::default();
        let (old, new) = (secret("old"), secret("new"));
        assert_eq!(last.to_try(Ok(old.clone())).unwrap().len(), 1);
        last.worked(&old, Some(&old));
        assert_eq!(last.to_try(Ok(new.clone())).unwrap(), [new.clone(), old.clone()]);
        last.worked(&old, Some(&new));
        assert_eq!(last.to_try(Ok(new.clone())).unwrap(), [new.clone(), old]);
        last.worked(&new, Some(&new));
        assert_eq!(last.to_try(Ok(new.clone())).unwrap(), [new]);
    }

    #[test]
    fn a_file_that_is_gone_does_not_lock_out_what_worked() {
        let last = LastGood::default();
        let gone = || {
            Named {
                key: "token_file",
                path: Path::new("/nonexistent/token"),
            }
            .line()
        };
        assert_eq!(last.to_try(gone()).unwrap_err().code(), "CredentialsUnreadable");
        last.worked(&secret("good"), None);
        assert_eq!(last.to_try(gone()).unwrap(), [secret("good")]);
    }

    #[test]
    fn nothing_shows_a_secret() {
        assert_eq!(format!("{:?}", secret("hunter2")), "Secret");
    }
}
