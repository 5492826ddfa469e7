//! How values, types and suggestions read in a message.

use jsonschema::JsonType;
use jsonschema::error::TypeKind;
use serde_json::{Number, Value};

/// What a schema's type is called.
pub(super) fn of_type(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Null => "nothing",
        JsonType::Number => "a number",
        JsonType::Object => "a table",
        JsonType::String => "a text in quotes",
    }
}

/// What the types that a schema allows are called. "Nothing" is left out: a document cannot say it.
pub(super) fn of_types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => of_type(*one).to_owned(),
        TypeKind::Multiple(types) => {
            let words = types
                .iter()
                .filter(|kind| !matches!(kind, JsonType::Null))
                .map(of_type);
            or(words.map(str::to_owned))
        }
    }
}

/// What was found instead, with the value if it is short.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(_) => format!("`{value}`"),
        Value::Number(number) => format!("the {} {number}", kind_of(number)),
        Value::String(_) => format!("the text {}", literal(value)),
        Value::Array(list) if list.is_empty() => "an empty list".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}

fn kind_of(number: &Number) -> &'static str {
    if number.is_f64() { "number" } else { "whole number" }
}

/// A value as TOML writes it, cut if it is long.
pub fn literal(value: &Value) -> String {
    const LONGEST: usize = 60;
    let mut text = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => toml::Value::from(text.replace('\n', " ")).to_string(),
        Value::Array(entries) => {
            let entries: Vec<_> = entries.iter().map(literal).collect();
            format!("[{}]", entries.join(", "))
        }
        Value::Object(table) => {
            let pairs: Vec<_> = table
                .iter()
                .map(|(key, value)| {
                    format!("{} = {}", toml_edit::Key::new(key).display_repr(), literal(value))
                })
                .collect();
            if pairs.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", pairs.join(", "))
            }
        }
    };
    if text.chars().count() > LONGEST {
        text = text.chars().take(LONGEST - 1).collect();
        text.push('…');
    }
    text
}

/// A bound or a default as people write it: `100` where the schema has `100.0`.
pub fn plain(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        Some(_) | None => literal(value),
    }
}

/// `a`, `b` or `c`.
pub(super) fn or(words: impl IntoIterator<Item = String>) -> String {
    let mut words: Vec<_> = words.into_iter().collect();
    match (words.pop(), words.is_empty()) {
        (None, _) => String::new(),
        (Some(last), true) => last,
        (Some(last), false) => format!("{} or {last}", words.join(", ")),
    }
}

/// The candidate that somebody most likely meant; none if nothing is near.
pub(crate) fn nearest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = typed.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
    // A third of the letters may be wrong, as rustc has it; of a very short word, one.
    let allowed = (typed.chars().count().max(3)) / 3;
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_the_word_that_was_meant() {
        let keys = ["max_positions", "max_daily_trades", "mode"];
        assert_eq!(nearest("max_position", keys), Some("max_positions"));
        assert_eq!(nearest("MODE", keys), Some("mode"));
        assert_eq!(nearest("maxpositions", keys), Some("max_positions"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn a_value_reads_as_toml_and_is_cut_when_long() {
        assert_eq!(
            literal(&serde_json::json!({"a b": [1, "x"], "c": 0.5})),
            "{ \"a b\" = [1, \"x\"], c = 0.5 }"
        );
        assert_eq!(literal(&Value::from("x".repeat(200))).chars().count(), 60);
    }

    #[test]
    fn a_whole_bound_has_no_fraction() {
        let plain = |value: serde_json::Value| plain(&value);
        assert_eq!(
            [plain(100.0.into()), plain(0.05.into()), plain((-3).into())],
            ["100", "0.05", "-3"]
        );
        assert_eq!(plain(1e300.into()), "1e+300");
        assert_eq!(plain("a".into()), "\"a\"");
    }

    #[test]
    fn alternatives_are_joined_as_people_do() {
        assert_eq!(or(["a".into(), "b".into(), "c".into()]), "a, b or c");
        assert_eq!(or(["a".into()]), "a");
    }
}
