//! Where a value stands in a document: `trading.risk_per_trade`, `universe.symbols[3]`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A key of a table.
    Key(String),
    /// An entry of a list, counted from 0.
    Index(usize),
}

/// Where a value stands in a document. The empty path is the document itself.
///
/// Written as TOML writes dotted keys, with list entries in brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPath(Vec<Part>);

/// The text is no key path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a key path: {why}; keys are joined by dots, as in `trading.max_positions`")]
pub struct InvalidKeyPath {
    /// The text as it was found.
    pub text: String,
    /// What is wrong with it, as a phrase.
    pub why: String,
}

impl KeyPath {
    /// The document itself.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// The steps from the document's root.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether it is the document itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of a key below this one.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.join(Part::Key(key.to_owned()))
    }

    /// The path of a list entry below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.join(Part::Index(index))
    }

    fn join(&self, part: Part) -> Self {
        let mut parts = Vec::with_capacity(self.0.len() + 1);
        parts.extend_from_slice(&self.0);
        parts.push(part);
        Self(parts)
    }

    /// The path of what lies several steps below this one.
    pub(super) fn below(&self, parts: &[Part]) -> Self {
        Self([&self.0, parts].concat())
    }

    /// The path without its last step; nothing above the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Whether this path is `above` or lies below it.
    #[must_use]
    pub fn starts_with(&self, above: &Self) -> bool {
        self.0.starts_with(&above.0)
    }

    /// The last key with the list positions that follow it, which is how people call the value.
    #[must_use]
    pub fn name(&self) -> String {
        let from = self
            .0
            .iter()
            .rposition(|part| matches!(part, Part::Key(_)))
            .unwrap_or(0);
        Self(self.0[from..].to_vec()).to_string()
    }
}

impl From<Vec<Part>> for KeyPath {
    fn from(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}

impl std::fmt::Display for KeyPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            match part {
                Part::Index(index) => write!(f, "[{index}]")?,
                Part::Key(key) => {
                    if at > 0 {
                        f.write_char('.')?;
                    }
                    f.write_str(&toml_edit::Key::new(key).display_repr())?;
                }
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for KeyPath {
    type Err = InvalidKeyPath;

    /// Takes dotted keys as TOML writes them, with or without `[n]` for list entries.
    fn from_str(text: &str) -> Result<Self, InvalidKeyPath> {
        let refuse = |why: &str| InvalidKeyPath {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let mut parts = Vec::new();
        for piece in split_dots(text) {
            let (key, indices) = split_indices(piece);
            let mut keys = match (key.is_empty(), parts.is_empty()) {
                (true, true) if !indices.is_empty() => Vec::new(),
                _ => toml_edit::Key::parse(key).map_err(|error| refuse(error.message()))?,
            };
            match (keys.pop(), keys.is_empty()) {
                (Some(key), true) => parts.push(Part::Key(key.get().to_owned())),
                (None, _) => {}
                (Some(_), false) => return Err(refuse("a key is not closed")),
            }
            for index in indices.split_terminator(']') {
                let digits = index.strip_prefix('[').ok_or_else(|| refuse("`[` is missing"))?;
                let index = digits
                    .parse()
                    .map_err(|_| refuse("a list position is not a number"))?;
                parts.push(Part::Index(index));
            }
        }
        Ok(Self(parts))
    }
}

impl TryFrom<String> for KeyPath {
    type Error = InvalidKeyPath;
    fn try_from(text: String) -> Result<Self, InvalidKeyPath> {
        if text.is_empty() {
            Ok(Self::root())
        } else {
            text.parse()
        }
    }
}

impl From<KeyPath> for String {
    fn from(path: KeyPath) -> Self {
        path.to_string()
    }
}

/// Splits at the dots that stand outside quotes.
pub(crate) fn split_dots(text: &str) -> Vec<&str> {
    let (mut pieces, mut from, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if open == c && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '.') => {
                pieces.push(&text[from..at]);
                from = at + 1;
            }
            (Some(_) | None, _) => {}
        }
        escaped = false;
    }
    pieces.push(&text[from..]);
    pieces
}

/// Splits `symbols[3][0]` into `symbols` and `[3][0]`.
fn split_indices(piece: &str) -> (&str, &str) {
    let quoted = piece.rfind(['"', '\'']).map_or(0, |at| at + 1);
    match piece[quoted..].find('[') {
        Some(at) if piece.ends_with(']') => piece.split_at(quoted + at),
        Some(_) | None => (piece, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_toml_writes_dotted_keys() {
        let path = KeyPath::root()
            .key("strategy")
            .key("high base")
            .key("rows")
            .index(2)
            .key("min");
        assert_eq!(path.to_string(), "strategy.\"high base\".rows[2].min");
        assert_eq!(path.to_string().parse(), Ok(path));
    }

    #[test]
    fn a_dot_inside_quotes_does_not_part_keys() {
        let path: KeyPath = "a.\"b.c\".'d.e'".parse().unwrap();
        assert_eq!(path, KeyPath::root().key("a").key("b.c").key("d.e"));
    }

    #[test]
    fn an_empty_part_is_refused_with_a_reason() {
        for text in ["", "a..b", ".a", "a.", "a[x]", "a b"] {
            assert!(text.parse::<KeyPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_name_of_a_list_entry_includes_its_list() {
        assert_eq!(KeyPath::root().key("a").key("b").index(1).name(), "b[1]");
        assert_eq!(KeyPath::root().key("a").name(), "a");
    }
}
