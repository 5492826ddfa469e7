//! Bars, and the CSV that they are kept in.
//!
//! From text to values and back; files are read in [`crate::folder`].

use jiff::civil::DateTime;

/// What happened in one day or one minute of trading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    /// When it began; a day begins at midnight. In the exchange's own time, so nobody has to convert a date.
    pub(crate) begun: DateTime,
    pub(crate) open: f64,
    pub(crate) high: f64,
    pub(crate) low: f64,
    pub(crate) close: f64,
    /// Shares traded.
    pub(crate) volume: f64,
}

/// A line that is not what it must be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct BadLine {
    /// Counted from 1, the heading.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The heading of a file of bars.
pub(crate) const HEADING: &str = "begun,open,high,low,close,volume";

/// Reads bars, the oldest first.
pub(crate) fn read(text: &str) -> Result<Vec<Bar>, BadLine> {
    let bars = rows(text, HEADING, |[begun, open, high, low, close, volume]| {
        let begun = begun
            .parse()
            .map_err(|_| format!("{begun:?} is no date, or date and time"))?;
        let bar = Bar {
            begun,
            open: number(open)?,
            high: number(high)?,
            low: number(low)?,
            close: number(close)?,
            volume: number(volume)?,
        };
        let whole = bar.low > 0.0
            && bar.low <= bar.open.min(bar.close)
            && bar.high >= bar.open.max(bar.close)
            && bar.volume >= 0.0;
        if whole {
            Ok(bar)
        } else {
            Err("0 < low <= open, close <= high and volume >= 0 is expected".to_owned())
        }
    })?;
    match bars.windows(2).position(|pair| pair[0].begun >= pair[1].begun) {
        Some(at) => Err(BadLine {
            line: at + 3,
            what: "it is not later than the line before".to_owned(),
        }),
        None => Ok(bars),
    }
}

/// Writes what [`read`] reads, to a hundredth of a cent.
pub(crate) fn write(bars: &[Bar]) -> String {
    let mut text = format!("{HEADING}\n");
    for Bar {
        begun,
        open,
        high,
        low,
        close,
        volume,
    } in bars
    {
        text.push_str(&format!(
            "{begun},{open:.4},{high:.4},{low:.4},{close:.4},{volume:.0}\n"
        ));
    }
    text
}

/// Reads the lines below a heading, each of so many fields. No field holds a comma, so none is quoted.
pub(crate) fn rows<T, const FIELDS: usize>(
    text: &str,
    heading: &str,
    row: impl Fn([&str; FIELDS]) -> Result<T, String>,
) -> Result<Vec<T>, BadLine> {
    let mut lines = text.lines();
    if lines.next() != Some(heading) {
        return Err(BadLine {
            line: 1,
            what: format!("the heading {heading:?} is expected"),
        });
    }
    let read = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let fields = fields
            .try_into()
            .map_err(|_| format!("{FIELDS} fields are expected"))?;
        row(fields)
    };
    lines
        .enumerate()
        .map(|(at, line)| read(line).map_err(|what| BadLine { line: at + 2, what }))
        .collect()
}

/// A finite number.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let said = |lines: &str| read(&format!("{HEADING}\n{lines}")).unwrap_err().to_string();
        assert_eq!(
            read("").unwrap_err().to_string(),
            "line 1: the heading \"begun,open,high,low,close,volume\" is expected"
        );
        assert_eq!(said("2026-01-02,1,2,1\n"), "line 2: 6 fields are expected");
        assert_eq!(
            said("x,1,2,1,1,5\n"),
            "line 2: \"x\" is no date, or date and time"
        );
        assert_eq!(said("2026-01-02,1,NaN,1,1,5\n"), "line 2: \"NaN\" is no number");
        let good = "2026-01-02,1,2,1,1,5\n";
        assert_eq!(
            said(&format!("{good}2026-01-05,1,1,1,2,5\n")),
            "line 3: 0 < low <= open, close <= high and volume >= 0 is expected"
        );
        assert_eq!(
            said(&format!("{good}2026-01-05,1,1,1,1,5\n2026-01-05,1,1,1,1,5\n")),
            "line 4: it is not later than the line before"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            cents in prop::collection::vec((1_u32..100_000, 0_u32..500, 0_u32..500, 0_u32..9_000_000), 0..40),
        ) {
            let first: DateTime = "2026-01-02".parse().unwrap();
            let bars: Vec<Bar> = cents.iter().zip(0_i64..).map(|(&(low, above, more, volume), day)| {
                let price = |cents: u32| f64::from(cents) / 100.0;
                Bar {
                    begun: first.saturating_add(jiff::Span::new().days(day)),
                    open: price(low + above),
                    high: price(low + above + more),
                    low: price(low),
                    close: price(low),
                    volume: f64::from(volume),
                }
            }).collect();
            prop_assert_eq!(read(&write(&bars)), Ok(bars));
        }
    }
}
