//! What a plain word of YAML is: by YAML 1.2, and by YAML 1.1 as PyYAML and many other readers still take it.

use std::sync::LazyLock;

use regex::Regex;
use toml_edit::Datetime;

use super::tree::Scalar;

/// By which version of YAML plain words are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `yes`, `0644`, `16:00` and `2026-01-31` have a meaning of their own: true, 420, 960, a date.
    Yaml11,
    /// They do not.
    Yaml12,
}

/// What a word is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Null,
    Scalar(Scalar),
    /// A number that TOML cannot hold; what to say about it.
    TooLarge(&'static str),
}

const INTEGER: &str = "the number needs more than 64 bits";
const FLOAT: &str = "the number is too large for a float of 64 bits";

static FLOAT_12: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"));
static FLOAT_11: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?)$")
});
static SEXAGESIMAL: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$"));
static INTEGER_11: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$"));
static MOMENT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^([0-9]{4}-[0-9]{1,2}-[0-9]{1,2})(?:(?:[Tt]|[ \t]+)([0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?)[ \t]*(Z|[-+][0-9]{1,2}(?::?[0-9]{2})?)?)?$",
    )
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant, and each is used by a test")
}

impl Flavour {
    /// What a plain word without a tag is.
    pub(super) fn word(self, text: &str) -> Word {
        match self {
            Self::Yaml11 => old(text),
            Self::Yaml12 => core(text),
        }
    }
}

fn null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn core(text: &str) -> Word {
    if null(text) {
        return Word::Null;
    }
    match text {
        "true" | "True" | "TRUE" => return Word::Scalar(Scalar::Boolean(true)),
        "false" | "False" | "FALSE" => return Word::Scalar(Scalar::Boolean(false)),
        _ => {}
    }
    let digits = text.trim_start_matches(['+', '-']);
    let signs = text.len() - digits.len();
    if signs <= 1 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return integer(text.parse().ok(), text);
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return integer(i64::from_str_radix(digits, radix).ok(), text);
        }
    }
    if FLOAT_12.is_match(text) {
        return float(text, text);
    }
    special(text).unwrap_or_else(|| Word::Scalar(Scalar::Text(text.to_owned())))
}

/// As PyYAML reads.
fn old(text: &str) -> Word {
    if null(text) {
        return Word::Null;
    }
    match text.to_ascii_lowercase().as_str() {
        lower if lower != text && !one_case(text) => {}
        "true" | "yes" | "on" => return Word::Scalar(Scalar::Boolean(true)),
        "false" | "no" | "off" => return Word::Scalar(Scalar::Boolean(false)),
        _ => {}
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if INTEGER_11.is_match(text) {
        let (digits, radix) = match digits {
            digits if digits.starts_with("0b") => (&digits[2..], 2),
            digits if digits.starts_with("0x") => (&digits[2..], 16),
            digits if digits.starts_with('0') && digits.len() > 1 => (&digits[1..], 8),
            digits => (digits, 10),
        };
        let value = i128::from_str_radix(digits, radix).ok();
        return integer(value.and_then(|value| i64::try_from(sign * value).ok()), &plain);
    }
    if SEXAGESIMAL.is_match(text) {
        let parts = digits.split(':').map(str::parse::<f64>);
        let value = parts.fold(0.0, |sum, part| sum * 60.0 + part.unwrap_or(f64::NAN));
        let value = f64::from(i32::try_from(sign).unwrap_or(1)) * value;
        // Whole and far below 2^53, or as good as a float gets.
        return Word::Scalar(if text.contains('.') || value.abs() > 9e15 {
            Scalar::float(value)
        } else {
            Scalar::integer(value as i64)
        });
    }
    if FLOAT_11.is_match(text) {
        return float(&plain, text);
    }
    if let Some(moment) = moment(text) {
        return Word::Scalar(Scalar::Moment(moment));
    }
    special(text).unwrap_or_else(|| Word::Scalar(Scalar::Text(text.to_owned())))
}

/// `true`, `True` or `TRUE`, but not `tRue`.
fn one_case(text: &str) -> bool {
    let rest: String = text.chars().skip(1).collect();
    text.chars().next().is_some_and(char::is_uppercase)
        && (rest == rest.to_lowercase() || rest == rest.to_uppercase())
}

fn special(text: &str) -> Option<Word> {
    let value = match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        _ => return None,
    };
    Some(Word::Scalar(Scalar::float(value)))
}

/// An integer, written as in the YAML where TOML writes it so too.
fn integer(value: Option<i64>, text: &str) -> Word {
    let Some(value) = value else {
        return Word::TooLarge(INTEGER);
    };
    let kept = text
        .parse::<toml_edit::Value>()
        .ok()
        .and_then(|read| read.as_integer());
    Word::Scalar(if kept == Some(value) {
        Scalar::Integer(value, text.to_owned())
    } else {
        Scalar::integer(value)
    })
}

fn float(text: &str, written: &str) -> Word {
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    if !value.is_finite() {
        return Word::TooLarge(FLOAT);
    }
    let kept = written
        .parse::<toml_edit::Value>()
        .ok()
        .and_then(|read| read.as_float());
    Word::Scalar(if kept == Some(value) {
        Scalar::Float(value, written.to_owned())
    } else {
        Scalar::float(value)
    })
}

/// A date, or a date and a time, as YAML 1.1 writes them.
pub(super) fn moment(text: &str) -> Option<Datetime> {
    let parts = MOMENT.captures(text)?;
    let two = |text: &str| format!("{text:0>2}");
    let date: Vec<String> = parts[1].split('-').map(two).collect();
    let mut toml = date.join("-");
    if let Some(time) = parts.get(2) {
        let time = time.as_str().trim_end_matches('.');
        let (hour, rest) = time.split_once(':')?;
        toml.push_str(&format!("T{}:{rest}", two(hour)));
        if let Some(zone) = parts.get(3).map(|zone| zone.as_str()) {
            let (hours, minutes) = match zone.split_once(':') {
                Some(parts) => parts,
                None if zone.len() == 5 => zone.split_at(3),
                None => (zone, "00"),
            };
            match zone {
                "Z" => toml.push('Z'),
                _ => toml.push_str(&format!("{}{}:{minutes}", &hours[..1], two(&hours[1..]))),
            }
        }
    }
    toml.parse().ok()
}

/// What a person calls it.
pub(super) fn name(word: &Word) -> String {
    match word {
        Word::Null => "null".to_owned(),
        Word::TooLarge(_) => "a very large number".to_owned(),
        Word::Scalar(scalar) => match scalar {
            Scalar::Boolean(yes) => yes.to_string(),
            Scalar::Integer(_, _) | Scalar::Float(_, _) => format!("the number {}", scalar.as_text()),
            Scalar::Text(text) => format!("the text {text:?}"),
            Scalar::Moment(moment) => format!("the date {moment}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> (String, String) {
        (
            name(&Flavour::Yaml12.word(text)),
            name(&Flavour::Yaml11.word(text)),
        )
    }

    #[test]
    fn words_are_read_as_each_version_of_yaml_has_them() {
        let cases = [
            ("yes", "the text \"yes\"", "true"),
            ("Off", "the text \"Off\"", "false"),
            ("oFF", "the text \"oFF\"", "the text \"oFF\""),
            ("True", "true", "true"),
            ("0644", "the number 644", "the number 420"),
            ("0o17", "the number 0o17", "the text \"0o17\""),
            ("0x1F", "the number 0x1F", "the number 0x1F"),
            ("0b101", "the text \"0b101\"", "the number 0b101"),
            ("1_000", "the text \"1_000\"", "the number 1000"),
            ("16:00", "the text \"16:00\"", "the number 960"),
            ("09:30", "the text \"09:30\"", "the text \"09:30\""),
            (
                "190:20:30.15",
                "the text \"190:20:30.15\"",
                "the number 685230.15",
            ),
            ("1e10", "the number 1e10", "the text \"1e10\""),
            ("0.30", "the number 0.30", "the number 0.30"),
            (".5", "the number 0.5", "the number 0.5"),
            ("1.", "the number 1.0", "the number 1.0"),
            ("-.inf", "the number -inf", "the number -inf"),
            ("~", "null", "null"),
            ("2026-01-31", "the text \"2026-01-31\"", "the date 2026-01-31"),
            ("+12", "the number +12", "the number +12"),
            ("--1", "the text \"--1\"", "the text \"--1\""),
            (
                "9223372036854775808",
                "a very large number",
                "a very large number",
            ),
            ("1e999", "a very large number", "the text \"1e999\""),
        ];
        for (text, new, old) in cases {
            assert_eq!(both(text), (new.to_owned(), old.to_owned()), "{text}");
        }
    }

    #[test]
    fn dates_are_read_in_each_form_of_yaml() {
        let cases = [
            ("2001-12-15T02:59:43.1Z", "2001-12-15T02:59:43.1Z"),
            ("2001-12-14t21:59:43.10-05:00", "2001-12-14T21:59:43.1-05:00"),
            ("2001-12-14 21:59:43.10 -5", "2001-12-14T21:59:43.1-05:00"),
            ("2001-12-14 9:05:00", "2001-12-14T09:05:00"),
            ("2001-1-4", "2001-01-04"),
        ];
        for (text, toml) in cases {
            assert_eq!(moment(text).unwrap().to_string(), toml, "{text}");
        }
        assert!(moment("2001-13-41").is_none());
    }
}
