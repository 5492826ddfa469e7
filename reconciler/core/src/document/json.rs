//! JSON to a value and places.
//!
//! The parser judges the text. It tells no places, so a text that it took is walked once more: there a value
//! begins at its first character and ends where its kind says.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::{Map, Number, Value};

use super::{KeyPath, MAX_DEPTH, Place, Reading};
use crate::diagnostic::Code;

/// Reads a text; what it returns counts only if no mistake was recorded.
pub(super) fn read(text: &str, reading: &mut Reading<'_>) -> Value {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let at = offset(text, error.line(), error.column());
        let (at, message, help) = reword(text, at, &error.to_string());
        let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        reading.mistake(Code::JsonSyntax, at..end, message, help);
        return Value::Null;
    }
    let mut walk = Walk { text, at: 0, reading };
    walk.value(None, KeyPath::root(), 0)
}

/// A way through a text that is JSON for certain.
struct Walk<'t, 'r, 'p> {
    text: &'t str,
    at: usize,
    reading: &'r mut Reading<'p>,
}

impl<'t> Walk<'t, '_, '_> {
    fn value(&mut self, key: Option<Range<usize>>, path: KeyPath, depth: usize) -> Value {
        let start = self.blank();
        let first = self.text.as_bytes().get(start).copied();
        if depth >= MAX_DEPTH && matches!(first, Some(b'{' | b'[')) {
            self.reading.too_deep(key.unwrap_or(start..start + 1));
            // What follows is not read.
            self.at = self.text.len();
            return Value::Null;
        }
        let value = match first {
            Some(b'{') => self.object(&path, depth),
            Some(b'[') => self.list(&path, depth),
            Some(b'"') => Value::String(self.string().1),
            Some(_) | None => self.bare(),
        };
        let value_span = start..self.at;
        self.reading.place(
            path,
            Place {
                key,
                value: value_span,
            },
        );
        value
    }

    fn object(&mut self, path: &KeyPath, depth: usize) -> Value {
        let mut table = Map::new();
        self.at += 1;
        while self.entry(b'}') {
            let (span, name) = self.string();
            self.blank();
            self.at += 1;
            if !self.reading.fits(&name, span.clone()) {
                let _ = self.value(Some(span), path.clone(), depth + 1);
                continue;
            }
            if table.contains_key(&name) {
                let message = format!("`{name}` is already defined above");
                let help = Some("remove one of the two: parsers differ in which one they take");
                self.reading
                    .mistake(Code::JsonSyntax, span.clone(), message, help);
            }
            let value = self.value(Some(span), path.key(&name), depth + 1);
            table.insert(name, value);
        }
        Value::Object(table)
    }

    fn list(&mut self, path: &KeyPath, depth: usize) -> Value {
        let mut list = Vec::new();
        self.at += 1;
        while self.entry(b']') {
            let at = path.index(list.len());
            list.push(self.value(None, at, depth + 1));
        }
        Value::Array(list)
    }

    /// Goes to the next entry; not if the end comes first, and then behind it.
    fn entry(&mut self, end: u8) -> bool {
        self.blank();
        match self.text.as_bytes().get(self.at) {
            Some(b',') => {
                self.at += 1;
                self.blank();
                true
            }
            Some(c) if *c == end => {
                self.at += 1;
                false
            }
            Some(_) => true,
            None => false,
        }
    }

    fn string(&mut self) -> (Range<usize>, String) {
        let start = self.at;
        let mut escaped = false;
        let inside = self.text.as_bytes().iter().skip(start + 1);
        let length = inside
            .take_while(|byte| {
                let goes_on = escaped || **byte != b'"';
                escaped = !escaped && **byte == b'\\';
                goes_on
            })
            .count();
        self.at = (start + length + 2).min(self.text.len());
        let span = start..self.at;
        let text = serde_json::from_str(&self.text[span.clone()]).unwrap_or_else(|_| {
            let message = "the text has half of a pair of `\\u` escapes in it";
            let help = "write the character itself";
            self.reading
                .mistake(Code::JsonSyntax, span.clone(), message, Some(help));
            String::new()
        });
        (span, text)
    }

    /// A number, `true`, `false` or `null`.
    fn bare(&mut self) -> Value {
        let start = self.at;
        let rest = self.text.as_bytes().iter().skip(start);
        self.at += rest
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
            .count();
        let word = &self.text[start..self.at];
        match word {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            digits => self.number(digits, start..self.at),
        }
    }

    fn number(&mut self, digits: &str, span: Range<usize>) -> Value {
        let whole = !digits.contains(['.', 'e', 'E']);
        let message = match serde_json::from_str::<Number>(digits) {
            Ok(number) if whole && number.is_f64() && digits != "-0" => {
                format!("{digits} does not fit into 64 bits")
            }
            Ok(number) => return Value::Number(number),
            Err(_) => format!("{digits} is beyond what a 64-bit float can hold"),
        };
        let help = whole.then_some("write it as a string if the service can take that");
        self.reading.mistake(Code::NumberRange, span, message, help);
        Value::Null
    }

    /// Goes over white space.
    fn blank(&mut self) -> usize {
        let rest = self.text.as_bytes().iter().skip(self.at);
        self.at += rest
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.at
    }
}

/// Where the mistake is, the parser's phrase in this project's words, and what to do about it where that is known.
fn reword(text: &str, at: usize, phrase: &str) -> (usize, String, Option<&'static str>) {
    let phrase = phrase.split(" at line ").next().unwrap_or(phrase);
    let rest = &text[at..];
    let before = text[..at].trim_end();
    if text.starts_with('\u{feff}') {
        let help = "save it as UTF-8 without one";
        return (0, "the file begins with a byte order mark".into(), Some(help));
    }
    let said = |message: &str, help| (at, message.to_owned(), Some(help));
    match rest.chars().next() {
        Some('/' | '#') => said(
            "JSON has no comments",
            "remove it, or write the document as TOML or YAML",
        ),
        Some('\'') => said("a text in JSON stands in double quotes", "write \" instead of '"),
        Some('}' | ']') if before.ends_with(',') => (
            before.len() - 1,
            "there is nothing after the last `,`".into(),
            Some("remove the comma: JSON takes none before `}` or `]`"),
        ),
        Some('N' | 'I' | 'i') | Some('n') if !phrase.starts_with("control") && not_finite(rest) => said(
            "JSON has no word for what is not a finite number",
            "write a number, or leave the key out",
        ),
        Some('T' | 'F') if rest.starts_with("True") || rest.starts_with("False") => {
            said("`true` and `false` are written small", "write it in lower case")
        }
        Some('N') if rest.starts_with("None") => {
            said("this is no value of JSON", "write `null`, or leave the key out")
        }
        Some('0'..='9') if phrase.starts_with("invalid number") => {
            said("a number does not begin with 0", "remove the zeros in front")
        }
        None if phrase.starts_with("EOF while parsing a string") => {
            said("the text is not closed", "end it with `\"`")
        }
        None if phrase.starts_with("EOF") && text.trim().is_empty() => {
            said("the file is empty", "an object without keys is `{}`")
        }
        None if phrase.starts_with("EOF") => said("the file ends too early", "close each `{` and `[`"),
        Some('"') if phrase.starts_with("expected `,`") => {
            said("a `,` is missing before this", "part entries by `,`")
        }
        Some(c) if c.is_alphabetic() && phrase.starts_with("key must be a string") => {
            said("a key in JSON stands in double quotes", "put quotes around it")
        }
        Some(c) if c.is_alphabetic() && phrase.starts_with("expected value") => {
            said("this is no value of JSON", "put double quotes around a text")
        }
        Some('\n' | '\r' | '\t') if phrase.starts_with("control character") => said(
            "a text in JSON goes on to the end of its line at most",
            "write `\\n` for a new line and `\\t` for a tab",
        ),
        Some(_) if phrase.starts_with("trailing characters") => said(
            "something follows after the end of the document",
            "remove it: a file holds one document",
        ),
        Some(_) | None => (at, phrase.to_owned(), None),
    }
}

fn not_finite(rest: &str) -> bool {
    ["NaN", "nan", "Infinity", "Inf", "inf"]
        .iter()
        .any(|word| rest.starts_with(word))
}

/// The parser counts lines and bytes in them from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
