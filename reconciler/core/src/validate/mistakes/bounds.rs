//! The bounds of a number in words, with its unit.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::super::words::plain;
use super::Explaining;
use crate::document::KeyPath;

impl Explaining<'_> {
    /// "from 0 to 100", "at most 50 requests/s", "more than 0": both bounds of the subschema, with its unit.
    pub(super) fn bounds(&self, error: &ValidationError<'_>, at: &KeyPath) -> String {
        let keyword = error
            .absolute_keyword_location()
            .and_then(|location| self.schema?.keyword(location));
        let node = keyword.and_then(|(_, file, keyword)| file.get(&keyword.parent()?));
        let bound = |name: &str| node.and_then(|node| node.get(name));
        // Up to draft 4 the exclusive ones said yes or no to the others.
        let exclusive = |name: &str| bound(name).is_some_and(|said| *said == Value::Bool(true));
        let number = |name: &str| bound(name).filter(|bound| bound.is_number());
        let either = |inclusive: &str, name: &str| match exclusive(name) {
            true => (None, number(inclusive)),
            false => (number(inclusive), number(name)),
        };
        let unit = bound("x-unit").or_else(|| self.schema?.annotation(at, "x-unit"));
        let unit = unit
            .and_then(Value::as_str)
            .map(|unit| format!(" {unit}"))
            .unwrap_or_default();
        let bounds = match error.kind() {
            Kind::MultipleOf { multiple_of } => return format!("a multiple of {multiple_of}{unit}"),
            _ => {
                let (least, above) = either("minimum", "exclusiveMinimum");
                let (most, below) = either("maximum", "exclusiveMaximum");
                (least, above, most, below)
            }
        };
        match bounds {
            (Some(least), None, Some(most), None) => {
                format!("from {} to {}{unit}", plain(least), plain(most))
            }
            (None, None, None, None) => match error.kind() {
                Kind::Minimum { limit } => format!("at least {}{unit}", plain(limit)),
                Kind::ExclusiveMinimum { limit } => format!("more than {}{unit}", plain(limit)),
                Kind::Maximum { limit } => format!("at most {}{unit}", plain(limit)),
                Kind::ExclusiveMaximum { limit } => format!("less than {}{unit}", plain(limit)),
                _ => "within its bounds".into(),
            },
            (least, above, most, below) => {
                let words = [
                    ("at least", least),
                    ("more than", above),
                    ("at most", most),
                    ("less than", below),
                ];
                let words: Vec<_> = words
                    .into_iter()
                    .filter_map(|(word, bound)| Some(format!("{word} {}", plain(bound?))))
                    .collect();
                format!("{}{unit}", words.join(" and "))
            }
        }
    }
}
