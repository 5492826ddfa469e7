//! The digest: what is compared when two releases are said to be the same.
//!
//! It is `sha256:` over, per file in byte order of path: `644` or `755` (git's mode, never `st_mode`), a
//! space, the hex SHA-256 of the contents, a space, the path, and a NUL. `vectors/digest.json` has examples.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest over files: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(any(test, feature = "schema"), derive(schemars::JsonSchema))]
#[cfg_attr(any(test, feature = "schema"), schemars(extend("pattern" = "^sha256:[0-9a-f]{64}$")))]
pub struct Digest([u8; 32]);

/// The text is not a digest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a digest: \"sha256:\" and 64 lowercase hexadecimal digits are expected")]
pub struct InvalidDigest(pub String);

/// The mode of a file as git knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileMode {
    /// `644`: a plain file.
    #[serde(rename = "644")]
    Regular,
    /// `755`: an executable one.
    #[serde(rename = "755")]
    Executable,
}

impl FileMode {
    /// The three digits that enter the digest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "644",
            Self::Executable => "755",
        }
    }
}

impl Digest {
    /// The digest of these contents alone, as it is used for parts of documents.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits without `sha256:`.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut out = Vec::with_capacity(64);
        push_hex(&mut out, &self.0);
        out.into_iter().map(char::from).collect()
    }

    /// The first twelve hexadecimal digits, for names and messages.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl std::str::FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDigest(text.to_owned());
        let hex = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// How many bytes of a file's line stand before its path: mode, space, hexadecimal digits, space.
const LINE_BEFORE_PATH: usize = 3 + 1 + 64 + 1;

/// Builds a [`Digest`] from files that are given in byte order of their paths.
#[derive(Debug, Default, Clone)]
pub struct DigestBuilder {
    hasher: Sha256,
    /// What was hashed last: kept to use its memory again, and to notice files out of order.
    line: Vec<u8>,
}

impl DigestBuilder {
    /// A digest over no files yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next file. The caller gives them in byte order of path, each once.
    pub fn file(&mut self, mode: FileMode, sha256: &[u8; 32], path: &str) {
        let previous = self.line.get(LINE_BEFORE_PATH..);
        debug_assert!(
            previous.is_none_or(|previous| previous < [path.as_bytes(), &[0]].concat().as_slice()),
            "{path:?} is out of order"
        );
        self.line.clear();
        self.line.extend_from_slice(mode.as_str().as_bytes());
        self.line.push(b' ');
        push_hex(&mut self.line, sha256);
        self.line.push(b' ');
        self.line.extend_from_slice(path.as_bytes());
        self.line.push(0);
        self.hasher.update(&self.line);
    }

    /// The digest over all files added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn nibble(digit: u8) -> u8 {
    if digit.is_ascii_digit() {
        digit - b'0'
    } else {
        digit - b'a' + 10
    }
}
