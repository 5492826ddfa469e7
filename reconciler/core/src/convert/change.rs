//! What a mapping does to a value: other words, another unit, another type.

use serde_json::Value;

use super::scalar;
use super::tree::{Comments, Content, Entry, Group, Node, Scalar};

/// What is done to a value, in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Change {
    /// Old values as text, and what they become.
    pub(super) values: Vec<(String, Scalar)>,
    /// A text becomes a list, parted here.
    pub(super) split: Option<String>,
    pub(super) multiply: Option<f64>,
    pub(super) divide: Option<f64>,
    pub(super) round: Option<Round>,
    /// A number of these becomes a text such as `90m`.
    pub(super) duration: Option<Unit>,
    pub(super) kind: Option<Kind>,
}

/// How a number becomes a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Nearest,
    Up,
    Down,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    Days,
}

/// What a value is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    Datetime,
}

/// The names in a mapping file.
pub(super) const ROUNDS: [(&str, Round); 3] = [
    ("nearest", Round::Nearest),
    ("up", Round::Up),
    ("down", Round::Down),
];
pub(super) const UNITS: [(&str, Unit); 5] = [
    ("milliseconds", Unit::Milliseconds),
    ("seconds", Unit::Seconds),
    ("minutes", Unit::Minutes),
    ("hours", Unit::Hours),
    ("days", Unit::Days),
];
pub(super) const KINDS: [(&str, Kind); 5] = [
    ("text", Kind::Text),
    ("integer", Kind::Integer),
    ("float", Kind::Float),
    ("boolean", Kind::Boolean),
    ("datetime", Kind::Datetime),
];

impl Unit {
    fn milliseconds(self) -> f64 {
        match self {
            Self::Milliseconds => 1.0,
            Self::Seconds => 1_000.0,
            Self::Minutes => 60_000.0,
            Self::Hours => 3_600_000.0,
            Self::Days => 86_400_000.0,
        }
    }
}

impl Change {
    /// Whether values stay as they are.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// A value as the mapping wants it; else why that cannot be, as a phrase.
    pub(super) fn apply(&self, node: Node) -> Result<Node, String> {
        let Node { content, span } = node;
        let content = match content {
            Content::Null => Content::Null,
            Content::Scalar(scalar) => match &self.split {
                Some(between) => self.split(&scalar, between, &span)?,
                None => Content::Scalar(self.scalar(scalar)?),
            },
            Content::List(mut list) => {
                let without_split = Self {
                    split: None,
                    ..self.clone()
                };
                let mut entries = Vec::with_capacity(list.entries.len());
                for entry in list.entries {
                    let node = without_split.apply(entry.node)?;
                    entries.push(Entry { node, ..entry });
                }
                list.entries = entries;
                Content::List(list)
            }
            Content::Table(_) => {
                return Err("a table has no unit and no type: name the keys in it".to_owned());
            }
        };
        Ok(Node { content, span })
    }

    fn split(
        &self,
        scalar: &Scalar,
        between: &str,
        span: &std::ops::Range<usize>,
    ) -> Result<Content, String> {
        let Scalar::Text(text) = scalar else {
            return Err(format!("{} is no text that could be split", scalar.as_text()));
        };
        let parts = text.split(between).map(str::trim).filter(|part| !part.is_empty());
        let entries = parts.map(|part| {
            Ok(Entry {
                key: String::new(),
                key_span: span.clone(),
                comments: Comments::default(),
                node: Node {
                    content: Content::Scalar(self.scalar(Scalar::Text(part.to_owned()))?),
                    span: span.clone(),
                },
            })
        });
        Ok(Content::List(Group {
            entries: entries.collect::<Result<_, String>>()?,
            flow: true,
            foot: Vec::new(),
        }))
    }

    fn scalar(&self, scalar: Scalar) -> Result<Scalar, String> {
        let mut scalar = scalar;
        if !self.values.is_empty() {
            let text = scalar.as_text();
            let known: Vec<&str> = self.values.iter().map(|(old, _)| old.as_str()).collect();
            scalar = match self.values.iter().find(|(old, _)| *old == text) {
                Some((_, new)) => new.clone(),
                None => return Err(format!("{text:?} is none of its `values`: {}", known.join(", "))),
            };
        }
        if let Some(factor) = self.multiply {
            scalar = calculated(&scalar, |number| number * factor)?;
        }
        if let Some(divisor) = self.divide {
            scalar = calculated(&scalar, |number| number / divisor)?;
        }
        if let Some(round) = self.round {
            scalar = whole(match round {
                Round::Nearest => number(&scalar)?.round(),
                Round::Up => number(&scalar)?.ceil(),
                Round::Down => number(&scalar)?.floor(),
            })?;
        }
        if let Some(unit) = self.duration {
            scalar = Scalar::Text(duration(number(&scalar)? * unit.milliseconds())?);
        }
        match self.kind {
            Some(kind) => cast(scalar, kind),
            None => Ok(scalar),
        }
    }
}

fn number(scalar: &Scalar) -> Result<f64, String> {
    match scalar {
        Scalar::Integer(integer, _) => Ok(*integer as f64),
        Scalar::Float(float, _) => Ok(*float),
        Scalar::Text(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is no number, and a unit was to be converted")),
        Scalar::Boolean(_) | Scalar::Moment(_) => Err(format!(
            "{} is no number, and a unit was to be converted",
            scalar.as_text()
        )),
    }
}

/// The result of an arithmetic step: an integer stays one as long as it comes out even.
fn calculated(scalar: &Scalar, step: impl Fn(f64) -> f64) -> Result<Scalar, String> {
    let exact = step(number(scalar)?);
    // What the last bits say is noise of the factor: 7 * 0.01 is 0.07.
    let value: f64 = format!("{exact:.14e}").parse().unwrap_or(exact);
    if !value.is_finite() {
        return Err(format!(
            "{} cannot be converted: the result is no number",
            scalar.as_text()
        ));
    }
    match scalar {
        Scalar::Integer(..) if value.fract() == 0.0 && value.abs() < 9e15 => whole(value),
        _ => Ok(Scalar::float(value)),
    }
}

fn whole(value: f64) -> Result<Scalar, String> {
    if value.fract() == 0.0 && value.abs() < 9.2e18 {
        Ok(Scalar::integer(value as i64))
    } else {
        Err(format!(
            "{value} is no whole number; `round` says what to do with it"
        ))
    }
}

fn duration(milliseconds: f64) -> Result<String, String> {
    let whole = milliseconds.round();
    if (milliseconds - whole).abs() > 1e-6 || !(0.0..9e15).contains(&whole) {
        return Err(format!("{milliseconds} milliseconds are no duration"));
    }
    let count = whole as u64;
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let fits = units
        .iter()
        .find(|(size, _)| count.is_multiple_of(*size) && count > 0);
    Ok(fits.map_or_else(
        || "0s".to_owned(),
        |(size, name)| format!("{}{name}", count / size),
    ))
}

fn cast(scalar: Scalar, kind: Kind) -> Result<Scalar, String> {
    let text = scalar.as_text();
    let not = |what: &str| format!("{text:?} is no {what}");
    match (kind, &scalar) {
        (Kind::Text, _) => Ok(Scalar::Text(text)),
        (Kind::Integer, Scalar::Integer(..)) | (Kind::Float, Scalar::Float(..)) => Ok(scalar),
        (Kind::Integer, _) => whole(number(&scalar)?),
        (Kind::Float, _) => Ok(Scalar::float(number(&scalar)?)),
        (Kind::Boolean, Scalar::Boolean(_)) => Ok(scalar),
        (Kind::Boolean, _) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Scalar::Boolean(true)),
            "false" | "no" | "off" | "0" => Ok(Scalar::Boolean(false)),
            _ => Err(not("boolean")),
        },
        (Kind::Datetime, _) => scalar::moment(&text)
            .or_else(|| text.parse().ok())
            .map(Scalar::Moment)
            .ok_or_else(|| not("date or time")),
    }
}

/// A value of the mapping file.
pub(super) fn of_json(value: &Value) -> Option<Scalar> {
    match value {
        Value::Bool(yes) => Some(Scalar::Boolean(*yes)),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(Scalar::integer(integer)),
            None => number.as_f64().map(Scalar::float),
        },
        Value::String(text) => Some(Scalar::Text(text.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: &Change, scalar: Scalar) -> String {
        match change.scalar(scalar) {
            Ok(Scalar::Text(text)) => format!("{text:?}"),
            Ok(scalar) => scalar.as_text(),
            Err(why) => why,
        }
    }

    #[test]
    fn units_are_converted_without_noise() {
        let divide = |divisor| Change {
            divide: Some(divisor),
            ..Change::default()
        };
        assert_eq!(changed(&divide(100.0), Scalar::integer(2)), "0.02");
        assert_eq!(changed(&divide(1_048_576.0), Scalar::integer(10_485_760)), "10");
        let multiply = Change {
            multiply: Some(0.01),
            ..Change::default()
        };
        assert_eq!(changed(&multiply, Scalar::integer(7)), "0.07");
        assert_eq!(changed(&multiply, Scalar::Text("7.5".into())), "0.075");
        assert!(changed(&multiply, Scalar::Boolean(true)).contains("no number"));
    }

    #[test]
    fn a_duration_takes_the_largest_unit_that_fits() {
        let of = |unit, value| {
            let change = Change {
                duration: Some(unit),
                ..Change::default()
            };
            changed(&change, value)
        };
        assert_eq!(of(Unit::Minutes, Scalar::integer(90)), "\"90m\"");
        assert_eq!(of(Unit::Minutes, Scalar::integer(120)), "\"2h\"");
        assert_eq!(of(Unit::Seconds, Scalar::float(0.25)), "\"250ms\"");
        assert_eq!(of(Unit::Seconds, Scalar::integer(0)), "\"0s\"");
        assert!(of(Unit::Seconds, Scalar::integer(-1)).contains("no duration"));
    }

    #[test]
    fn what_does_not_come_out_even_has_to_be_rounded() {
        let mut change = Change {
            divide: Some(1_048_576.0),
            kind: Some(Kind::Integer),
            ..Change::default()
        };
        assert!(changed(&change, Scalar::integer(10_000_000)).contains("`round`"));
        change.round = Some(Round::Up);
        assert_eq!(changed(&change, Scalar::integer(10_000_000)), "10");
    }
}
