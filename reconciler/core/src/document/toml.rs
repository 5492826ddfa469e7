//! TOML to a value and places.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::{Bare, KeyPath, MAX_DEPTH, Place, Reading};
use crate::diagnostic::Code;

/// In a longer text only the first mistake is told: the parser takes memory for each, and two bytes can make one.
const LISTED_IN: usize = 256 << 10;

/// Reads a text; what it returns counts only if no mistake was recorded.
pub(super) fn read(text: &str, reading: &mut Reading<'_>) -> Value {
    let (table, errors) = if text.len() > LISTED_IN {
        match DeTable::parse(text) {
            Ok(table) => (table, Vec::new()),
            Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
        }
    } else {
        DeTable::parse_recoverable(text)
    };
    let span = |error: &toml::de::Error| clip(error.span().unwrap_or(text.len()..text.len()), text);
    let mut placed: Vec<_> = errors.iter().map(|error| (span(error), error)).collect();
    placed.sort_by_key(|(span, _)| span.start);
    let mut before: Option<usize> = None;
    for (span, error) in placed {
        // What goes wrong further on in a line that is broken is an echo.
        let echo =
            before.is_some_and(|before| before < span.start && !text[before..span.start].contains('\n'));
        before = Some(span.start);
        if echo {
            continue;
        }
        if error.message().starts_with("cannot recurse further") {
            reading.too_deep(span);
            continue;
        }
        let (message, help) = reword(error.message(), &text[span.clone()]);
        reading.mistake(Code::TomlSyntax, span, message, help.as_deref());
    }
    if !errors.is_empty() {
        return Value::Null;
    }
    reading.place(
        KeyPath::root(),
        Place {
            key: None,
            value: 0..0,
        },
    );
    read_table(table.get_ref(), &KeyPath::root(), 1, reading)
}

fn read_table(table: &DeTable<'_>, path: &KeyPath, depth: usize, reading: &mut Reading<'_>) -> Value {
    let mut out = Map::new();
    for (key, value) in table.iter() {
        if !reading.fits(key.get_ref(), key.span()) {
            continue;
        }
        let path = path.key(key.get_ref());
        out.insert(
            key.get_ref().to_string(),
            read_value(value, Some(key.span()), path, depth, reading),
        );
    }
    Value::Object(out)
}

fn read_value(
    value: &Spanned<DeValue<'_>>,
    key: Option<Range<usize>>,
    path: KeyPath,
    depth: usize,
    reading: &mut Reading<'_>,
) -> Value {
    let span = value.span();
    if depth >= MAX_DEPTH && matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
        reading.too_deep(key.unwrap_or(span));
        return Value::Null;
    }
    let read = match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Integer(integer) => read_integer(integer, &span, reading),
        DeValue::Float(float) => read_float(float, &span, &path, reading),
        DeValue::Datetime(moment) => {
            reading.bare(&path, Bare::Datetime);
            Value::from(moment.to_string())
        }
        DeValue::Array(entries) => entries
            .iter()
            .enumerate()
            .map(|(at, entry)| read_value(entry, None, path.index(at), depth + 1, reading))
            .collect(),
        DeValue::Table(table) => read_table(table, &path, depth + 1, reading),
    };
    reading.place(path, Place { key, value: span });
    read
}

fn read_integer(integer: &DeInteger<'_>, span: &Range<usize>, reading: &mut Reading<'_>) -> Value {
    let (digits, radix) = (integer.as_str(), integer.radix());
    let number = i64::from_str_radix(digits, radix)
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(digits, radix).map(Number::from));
    number.map(Value::Number).unwrap_or_else(|_| {
        let message = format!("{integer} does not fit into 64 bits");
        let help = "write it as a string if the service can take that";
        reading.mistake(Code::NumberRange, span.clone(), message, Some(help));
        Value::Null
    })
}

fn read_float(float: &DeFloat<'_>, span: &Range<usize>, path: &KeyPath, reading: &mut Reading<'_>) -> Value {
    let digits = float.as_str();
    match digits.parse::<f64>() {
        Ok(number) if number.is_nan() || digits.contains("inf") => {
            reading.bare(path, Bare::NonFinite);
            Value::from(digits)
        }
        Ok(number) if number.is_finite() => Value::from(number),
        Ok(_) | Err(_) => {
            let message = format!("{digits} is beyond what a 64-bit float can hold");
            reading.mistake(Code::NumberRange, span.clone(), message, None);
            Value::Null
        }
    }
}

/// The parser's phrase in this project's words, and what to do about it where that is known.
fn reword(phrase: &str, marked: &str) -> (String, Option<String>) {
    let (message, help): (String, &str) = if phrase.starts_with("duplicate key") {
        (
            format!("`{marked}` is already defined above"),
            "remove one of the two, or merge them",
        )
    } else if phrase.starts_with("string values must be quoted") && marked.is_empty() {
        (
            "the value is missing".into(),
            "write it after the `=`, or remove the key",
        )
    } else if phrase.starts_with("string values must be quoted") {
        let message = format!("`{marked}` is neither a number, `true`, `false` nor a date");
        return (message, Some(format!("put quotes around a text: \"{marked}\"")));
    } else if phrase.starts_with("invalid basic string") && phrase.ends_with("`\"`") {
        (
            "the text is not closed".into(),
            "end it with `\"` on the same line; a longer one stands in `\"\"\"`",
        )
    } else if phrase.starts_with("invalid literal string") && phrase.ends_with("'`") {
        (
            "the text is not closed".into(),
            "end it with `'` on the same line; a longer one stands in `'''`",
        )
    } else if phrase.starts_with("invalid unquoted key") && marked == ":" {
        (
            "`:` does not part a key from its value".into(),
            "write `=` in its place",
        )
    } else if phrase.starts_with("missing comma") {
        (
            "a `,` is missing between two entries".into(),
            "part the entries by `,`",
        )
    } else if phrase.starts_with("invalid boolean") {
        (
            "this is neither `true` nor `false`".into(),
            "write them in small letters; a text stands in quotes",
        )
    } else if phrase.starts_with("unexpected key or value") {
        (
            "nothing may follow a value on its line".into(),
            "begin the next key on a line of its own; a number has no commas: `1_000`",
        )
    } else if phrase.starts_with("unexpected leading zero") {
        (
            "a number does not begin with 0".into(),
            "remove the zeros in front",
        )
    } else if let Some(expected) = phrase.strip_prefix("invalid date, expected ") {
        let message = format!("there is no such date: a {expected} is expected");
        return (
            message,
            Some("a date is year, month, day: `2026-01-31`".to_owned()),
        );
    } else if phrase.starts_with("invalid unquoted key") {
        (
            phrase.into(),
            "put quotes around a key with other characters in it",
        )
    } else if phrase.starts_with("unclosed table") || phrase.starts_with("unclosed array table") {
        (phrase.into(), "close the table's header on the line it begins")
    } else {
        return (phrase.to_owned(), None);
    };
    (message, Some(help.to_owned()))
}

/// A span inside the text, at character boundaries.
fn clip(span: Range<usize>, text: &str) -> Range<usize> {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}
