//! Bounds of numbers, texts, lists and tables: which of two is the narrower.

use serde_json::{Map, Value};

/// A bound that moved.
pub(super) struct Moved {
    pub(super) keyword: &'static str,
    pub(super) breaks: (bool, bool),
    pub(super) message: String,
}

/// How far up or down values go, and whether the end itself is out.
type End = (f64, bool);

/// Every bound that moved between two schemas.
pub(super) fn bounds(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Moved> {
    let mut moved = Vec::new();
    let number = |table: &Map<String, Value>, name: &str| table.get(name).and_then(Value::as_f64);
    let end = |table: &Map<String, Value>, closed: &str, open: &str, upper: bool| -> Option<End> {
        let ends = [(number(table, closed), false), (number(table, open), true)];
        let ends = ends.into_iter().filter_map(|(value, out)| Some((value?, out)));
        ends.reduce(|one, other| if narrower(other, one, upper) { other } else { one })
    };
    for (closed, open, upper) in [
        ("minimum", "exclusiveMinimum", false),
        ("maximum", "exclusiveMaximum", true),
    ] {
        let keyword = if new.contains_key(open) || old.contains_key(open) {
            open
        } else {
            closed
        };
        push(
            &mut moved,
            keyword,
            upper,
            end(old, closed, open, upper),
            end(new, closed, open, upper),
        );
    }
    for (keyword, upper) in [
        ("minLength", false),
        ("maxLength", true),
        ("minItems", false),
        ("maxItems", true),
        ("minProperties", false),
        ("maxProperties", true),
    ] {
        let end = |table| number(table, keyword).map(|value| (value, false));
        push(&mut moved, keyword, upper, end(old), end(new));
    }
    let (before, after) = (number(old, "multipleOf"), number(new, "multipleOf"));
    if before != after {
        // Multiples of 6 are multiples of 3.
        let within = |inner: Option<f64>, outer: Option<f64>| match (inner, outer) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner % outer == 0.0,
        };
        let said =
            |step: Option<f64>| step.map_or("any number".to_owned(), |step| format!("multiples of {step}"));
        moved.push(Moved {
            keyword: "multipleOf",
            breaks: (!within(before, after), !within(after, before)),
            message: format!("{} instead of {}", said(after), said(before)),
        });
    }
    moved
}

fn narrower(one: End, other: End, upper: bool) -> bool {
    if one.0 == other.0 {
        return one.1 && !other.1;
    }
    (one.0 < other.0) == upper
}

fn push(moved: &mut Vec<Moved>, keyword: &'static str, upper: bool, old: Option<End>, new: Option<End>) {
    let said = |(value, out): End| match (upper, out) {
        (true, false) => format!("at most {value}"),
        (true, true) => format!("below {value}"),
        (false, false) => format!("at least {value}"),
        (false, true) => format!("above {value}"),
    };
    let (breaks, message) = match (old, new) {
        (old, new) if old == new => return,
        (None, Some(new)) => (
            (true, false),
            format!("{} now, without such a bound before", said(new)),
        ),
        (Some(old), None) => ((false, true), format!("the bound is gone: it was {}", said(old))),
        (Some(old), Some(new)) => {
            let narrow = narrower(new, old, upper);
            ((narrow, !narrow), format!("{}, it was {}", said(new), said(old)))
        }
        (None, None) => return,
    };
    moved.push(Moved {
        keyword,
        breaks,
        message,
    });
}
