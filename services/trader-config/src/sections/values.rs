//! Values with a form of their own: symbols and times of day.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A ticker symbol: capital letters, digits and dots, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbol(String);

/// The text is not a symbol.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{0:?} is not a symbol: a capital letter and up to nine more letters, digits or dots are expected, \
     as in \"AAPL\" or \"BRK.B\""
)]
pub struct InvalidSymbol(String);

impl Symbol {
    const PATTERN: &str = "^[A-Z][A-Z0-9.]{0,9}$";

    /// The symbol as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A symbol of our own defaults, which a test checks against the pattern.
    pub(crate) fn literal(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl TryFrom<String> for Symbol {
    type Error = InvalidSymbol;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_uppercase());
        let rest = bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'.');
        if first && rest && text.len() <= 10 {
            Ok(Self(text))
        } else {
            Err(InvalidSymbol(text))
        }
    }
}

impl From<Symbol> for String {
    fn from(symbol: Symbol) -> Self {
        symbol.0
    }
}

impl std::fmt::Display for Symbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Symbol {
    fn schema_name() -> Cow<'static, str> {
        "Symbol".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN })
    }
}

/// A time of day without seconds, such as "09:30".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay {
    hour: u8,
    minute: u8,
}

/// The text is not a time of day.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} is not a time of day: \"HH:MM\" between \"00:00\" and \"23:59\" is expected")]
pub struct InvalidTime(String);

impl TimeOfDay {
    const PATTERN: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";

    pub(crate) fn literal(hour: u8, minute: u8) -> Self {
        Self { hour, minute }
    }

    /// The minutes since midnight.
    #[must_use]
    pub fn minutes(self) -> u16 {
        u16::from(self.hour) * 60 + u16::from(self.minute)
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = InvalidTime;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = |pair: [u8; 2], limit: u8| {
            let both = pair.iter().all(u8::is_ascii_digit);
            let value = both.then(|| (pair[0] - b'0') * 10 + (pair[1] - b'0'));
            value.filter(|value| *value < limit)
        };
        match *text.as_bytes() {
            [h1, h2, b':', m1, m2] => match (number([h1, h2], 24), number([m1, m2], 60)) {
                (Some(hour), Some(minute)) => Ok(Self { hour, minute }),
                (None, _) | (_, None) => Err(InvalidTime(text)),
            },
            _ => Err(InvalidTime(text)),
        }
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_two_digits_a_colon_and_two_digits_within_a_day() {
        for good in ["00:00", "09:30", "19:05", "23:59"] {
            let time = TimeOfDay::try_from(good.to_owned()).unwrap();
            assert_eq!(time.to_string(), good);
        }
        for bad in [
            "24:00", "9:30", "09:60", "0930", "09:30:00", "aa:bb", "", "+9:30", "0９:30",
        ] {
            assert!(TimeOfDay::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_symbol_is_a_capital_letter_and_up_to_nine_more() {
        for good in ["A", "AAPL", "BRK.B", "ABCDEFGHIJ", "T2"] {
            assert!(Symbol::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "aapl", "2T", ".A", "ABCDEFGHIJK", "A-B", "Ä", "A B"] {
            assert!(Symbol::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_symbol_of_the_defaults_is_a_symbol() {
        for symbol in crate::Universe::default().symbols {
            assert!(Symbol::try_from(String::from(symbol.clone())).is_ok(), "{symbol}");
        }
    }
}
