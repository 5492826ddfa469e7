//! A scalar of YAML, with or without a tag, as a value of TOML.

use std::ops::Range;

use granit_parser::{ScalarStyle, Tag};

use super::Reader;
use crate::convert::scalar::{self, Flavour, Word};
use crate::convert::tree::{Content, Scalar};

const CORE: &str = "tag:yaml.org,2002:";

impl Reader<'_, '_> {
    pub(super) fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Range<usize>,
    ) -> Content {
        let flavour = self.flavour.unwrap_or(Flavour::Yaml12);
        let as_text = || Content::Scalar(Scalar::Text(text.to_owned()));
        let Some(tag) = tag.filter(|tag| tag.original() != "!") else {
            if style != ScalarStyle::Plain || tag.is_some() {
                return as_text();
            }
            let word = flavour.word(text);
            let (new, old) = (
                scalar::name(&Flavour::Yaml12.word(text)),
                scalar::name(&Flavour::Yaml11.word(text)),
            );
            if self.flavour.is_none() && new != old {
                let message =
                    format!("`{text}` is {new} in YAML 1.2 and {old} in YAML 1.1, as PyYAML reads it");
                let help = format!(
                    "taken for {new}; `--yaml 1.1` takes it for {old}, quotes in the YAML make it a text"
                );
                self.warn(span.clone(), message, &help);
            }
            return self.content(word, span);
        };
        let word = match (tag.handle(), tag.suffix()) {
            (CORE, "str") | ("!", "") => return as_text(),
            (CORE, "timestamp") => scalar::moment(text).map(|moment| Word::Scalar(Scalar::Moment(moment))),
            (CORE, kind) => match (kind, flavour.word(text)) {
                ("null", Word::Null) => Some(Word::Null),
                ("float", Word::Scalar(Scalar::Integer(value, _))) => {
                    Some(Word::Scalar(Scalar::float(value as f64)))
                }
                ("bool", word @ Word::Scalar(Scalar::Boolean(_)))
                | ("int", word @ Word::Scalar(Scalar::Integer(..)))
                | ("float", word @ Word::Scalar(Scalar::Float(..)))
                | ("int" | "float", word @ Word::TooLarge(_)) => Some(word),
                _ => None,
            },
            _ => None,
        };
        match word {
            Some(word) => self.content(word, span),
            None => {
                self.tag(tag, span);
                refused()
            }
        }
    }

    fn content(&mut self, word: Word, span: &Range<usize>) -> Content {
        match word {
            Word::Null => Content::Null,
            Word::Scalar(scalar) => Content::Scalar(scalar),
            Word::TooLarge(why) => {
                let help = "put it in quotes to keep its digits as a text, or write it in another unit";
                self.refuse(span.clone(), why, help);
                refused()
            }
        }
    }

    pub(super) fn collection_tag(&mut self, tag: Option<&Tag>, plain: &str, span: &Range<usize>) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(plain)
            && tag.original() != "!"
        {
            self.tag(tag, span);
        }
    }

    fn tag(&mut self, tag: &Tag, span: &Range<usize>) {
        let (name, help) = match (tag.handle(), tag.suffix()) {
            (CORE, "binary") => (
                "!!binary".to_owned(),
                "TOML has no binary data: without the tag its base64 becomes a text",
            ),
            (CORE, suffix) => (
                format!("!!{suffix}"),
                "write the value so that it needs no tag, or put it in quotes",
            ),
            (handle, suffix) => (
                format!("{handle}{suffix}"),
                "only the program that reads the YAML knows what it means: write its result, without the tag",
            ),
        };
        self.refuse(
            span.clone(),
            &format!("the tag `{name}` cannot be said in TOML here"),
            help,
        );
    }
}

/// What stands for a value that was refused: not null, of which more would be said.
pub(super) fn refused() -> Content {
    Content::Scalar(Scalar::integer(0))
}
