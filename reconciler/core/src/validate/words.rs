//! How values, types and suggestions read in a message.

use jsonschema::JsonType;
use jsonschema::error::TypeKind;
use serde_json::{Number, Value};

use crate::document::{KeyPath, Syntax};

/// What a schema's type is called by those who write this syntax.
pub(super) fn of_type(kind: JsonType, syntax: Syntax) -> &'static str {
    match (kind, syntax) {
        (JsonType::Array, _) => "a list",
        (JsonType::Boolean, _) => "`true` or `false`",
        (JsonType::Integer, _) => "a whole number",
        (JsonType::Null, Syntax::Toml) => "nothing",
        (JsonType::Null, Syntax::Json | Syntax::Yaml) => "`null`",
        (JsonType::Number, _) => "a number",
        (JsonType::Object, _) => table_word(syntax),
        (JsonType::String, Syntax::Toml | Syntax::Json) => "a text in quotes",
        (JsonType::String, Syntax::Yaml) => "a text",
    }
}

/// What keys and their values are called together.
pub(super) fn table_word(syntax: Syntax) -> &'static str {
    match syntax {
        Syntax::Toml => "a table",
        Syntax::Json => "an object",
        Syntax::Yaml => "a mapping",
    }
}

/// What the types that a schema allows are called. "Nothing" is left out where a document cannot say it.
pub(super) fn of_types(kind: &TypeKind, syntax: Syntax) -> String {
    match kind {
        TypeKind::Single(one) => of_type(*one, syntax).to_owned(),
        TypeKind::Multiple(types) => {
            let sayable = |kind: &JsonType| syntax != Syntax::Toml || !matches!(kind, JsonType::Null);
            let words = types.iter().filter(sayable);
            or(words.map(|kind| of_type(kind, syntax).to_owned()))
        }
    }
}

/// What a known format is called.
pub(super) fn of_format(format: &str) -> String {
    match format {
        "date" => "a date (`2026-01-31`)".into(),
        "time" => "a time with its offset (`09:30:00Z`)".into(),
        "date-time" => "a date and time with its offset (`2026-01-31T09:30:00Z`)".into(),
        "email" => "an e-mail address".into(),
        "hostname" => "a host name".into(),
        "ipv4" => "an IPv4 address".into(),
        "ipv6" => "an IPv6 address".into(),
        "uri" => "a URI".into(),
        "uuid" => "a UUID".into(),
        "regex" => "a regular expression".into(),
        other => format!("of the format `{other}`"),
    }
}

/// What was found instead, with the value if it is short.
pub(super) fn found(value: &Value, syntax: Syntax) -> String {
    match value {
        Value::Null if syntax == Syntax::Toml => "nothing".into(),
        Value::Null | Value::Bool(_) => format!("`{value}`"),
        Value::Number(number) => format!("the {} {number}", kind_of(number)),
        Value::String(_) => format!("the text {}", literal(value)),
        Value::Array(list) if list.is_empty() => "an empty list".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => table_word(syntax).into(),
    }
}

fn kind_of(number: &Number) -> &'static str {
    if number.is_f64() { "number" } else { "whole number" }
}

/// A value as this syntax writes it, cut if it is long.
pub(super) fn written(value: &Value, syntax: Syntax) -> String {
    match (syntax, value) {
        (Syntax::Toml, value) => literal(value),
        (Syntax::Json, value) => cut(value.to_string()),
        (Syntax::Yaml, Value::String(text)) if plain_in_yaml(text) => cut(text.clone()),
        // JSON is YAML.
        (Syntax::Yaml, value) => cut(value.to_string()),
    }
}

/// How to write a value as the wanted type, where that is obvious.
pub(super) fn retype(kind: &TypeKind, value: &Value, at: &KeyPath, syntax: Syntax) -> Option<String> {
    let wanted = |one: JsonType| match kind {
        TypeKind::Single(kind) => *kind == one,
        TypeKind::Multiple(kinds) => kinds.contains(one),
    };
    let number = wanted(JsonType::Number) || wanted(JsonType::Integer);
    let tables = |list: &[Value]| !list.is_empty() && list.iter().all(Value::is_object);
    match value {
        Value::String(text) if number && text.parse::<f64>().is_ok() => {
            Some(format!("write the number without quotes: `{text}`"))
        }
        Value::String(text) if wanted(JsonType::Boolean) && matches!(text.as_str(), "true" | "false") => {
            Some(format!("write it without quotes: `{text}`"))
        }
        Value::String(text) if wanted(JsonType::Boolean) => {
            let meant = match text.to_lowercase().as_str() {
                "yes" | "y" | "on" => "true",
                "no" | "n" | "off" => "false",
                _ => return None,
            };
            Some(match syntax {
                Syntax::Yaml => format!("in YAML 1.2 `{text}` is a text: write `{meant}`"),
                Syntax::Toml | Syntax::Json => format!("write `{meant}`, without quotes"),
            })
        }
        Value::Array(list) if wanted(JsonType::Object) && tables(list) && syntax == Syntax::Toml => {
            Some(format!("a header in single brackets makes a table: `[{at}]`"))
        }
        Value::Object(_) if wanted(JsonType::Array) && syntax == Syntax::Toml => Some(format!(
            "a header in double brackets makes an entry of a list: `[[{at}]]`"
        )),
        Value::Bool(_) | Value::Number(_) if wanted(JsonType::String) => {
            Some(format!("put it in quotes: `\"{value}\"`"))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) if wanted(JsonType::Array) => {
            Some(format!("write it as a list: `[{}]`", written(value, syntax)))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

/// A key as this syntax writes it.
pub(super) fn key(name: &str, syntax: Syntax) -> String {
    match syntax {
        Syntax::Toml => toml_edit::Key::new(name).display_repr().into_owned(),
        Syntax::Json | Syntax::Yaml => written(&Value::from(name), syntax),
    }
}

/// How a key with its value is written; the value is some text.
pub(super) fn entry(key: &str, value: &str, syntax: Syntax) -> String {
    match syntax {
        Syntax::Toml => format!("{key} = {value}"),
        Syntax::Json => format!("\"{key}\": {value}"),
        Syntax::Yaml => format!("{key}: {value}"),
    }
}

/// Whether a text needs no quotes in YAML, whichever version reads it.
fn plain_in_yaml(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let known = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(word)
        && !known.contains(&text.to_lowercase().as_str())
}

/// A value as TOML writes it, cut if it is long.
pub fn literal(value: &Value) -> String {
    cut(match value {
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
    })
}

fn cut(mut text: String) -> String {
    const LONGEST: usize = 60;
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
