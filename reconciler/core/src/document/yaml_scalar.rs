//! What a text without quotes stands for in YAML: the core schema of version 1.2, chapter 10.3.2.

use serde_json::{Number, Value};

/// What a text without quotes stands for.
pub(super) enum Scalar {
    /// A value of JSON.
    Value(Value),
    /// `.inf` or `.nan`, which JSON has no word for.
    NonFinite,
    /// A number that no service can read, as a message.
    Beyond(String),
}

pub(super) fn resolve(text: &str) -> Scalar {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Scalar::NonFinite,
        number => match number.strip_prefix(['+', '-']).unwrap_or(number) {
            ".inf" | ".Inf" | ".INF" => return Scalar::NonFinite,
            digits if is_whole(digits) => return whole(number, 10, number),
            digits if is_float(digits) => return float(number),
            _ => match (number.get(..2), number.get(2..)) {
                (Some("0o"), Some(digits)) if all(digits, |c| matches!(c, '0'..='7')) => {
                    return whole(digits, 8, number);
                }
                (Some("0x"), Some(digits)) if all(digits, |c| c.is_ascii_hexdigit()) => {
                    return whole(digits, 16, number);
                }
                (_, _) => Value::from(number),
            },
        },
    };
    Scalar::Value(value)
}

fn whole(digits: &str, radix: u32, written: &str) -> Scalar {
    let number = i64::from_str_radix(digits, radix)
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(digits, radix).map(Number::from));
    number.map_or_else(
        |_| Scalar::Beyond(format!("{written} does not fit into 64 bits")),
        |number| Scalar::Value(Value::Number(number)),
    )
}

fn float(written: &str) -> Scalar {
    match written.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Scalar::Value(Value::Number(number)),
        None => Scalar::Beyond(format!("{written} is beyond what a 64-bit float can hold")),
    }
}

fn all(text: &str, is: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is)
}

fn is_whole(text: &str) -> bool {
    all(text, |c| c.is_ascii_digit())
}

/// `12.5`, `.5`, `12.`, `1e3`.
fn is_float(text: &str) -> bool {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (text, None),
    };
    let exponent = exponent.is_none_or(|digits| is_whole(digits.strip_prefix(['+', '-']).unwrap_or(digits)));
    let number = match number.split_once('.') {
        Some(("", digits)) => is_whole(digits),
        Some((whole, digits)) => is_whole(whole) && (digits.is_empty() || is_whole(digits)),
        None => is_whole(number),
    };
    exponent && number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_quotes_is_what_the_core_schema_says() {
        let read = |text: &str| match resolve(text) {
            Scalar::Value(value) => value.to_string(),
            Scalar::NonFinite => "not finite".to_owned(),
            Scalar::Beyond(message) => message,
        };
        for (text, value) in [
            ("", "null"),
            ("~", "null"),
            ("True", "true"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("-12", "-12"),
            ("+12", "12"),
            ("012", "12"),
            ("1.", "1.0"),
            ("-.5", "-0.5"),
            ("1e3", "1000.0"),
            ("+.INF", "not finite"),
            (".nan", "not finite"),
            ("18446744073709551615", "18446744073709551615"),
            (
                "18446744073709551616",
                "18446744073709551616 does not fit into 64 bits",
            ),
            ("1e400", "1e400 is beyond what a 64-bit float can hold"),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
        // What an older YAML, or a number of another language, would be.
        for text in [
            "no",
            "on",
            "y",
            "1_000",
            "12:30",
            "0b1",
            "-0x1",
            "2026-01-31",
            "e3",
            ".",
            "1e",
            "-",
            "0x",
            "inf",
            "NaN",
        ] {
            assert_eq!(read(text), format!("\"{text}\""), "{text}");
        }
    }
}
