//! The table at the end of the tour.

use owo_colors::OwoColorize;

use crate::cli::moment;

/// One line of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) step: String,
    pub(super) expected: String,
    pub(super) outcome: String,
    pub(super) pause_us: Option<u64>,
    pub(super) total_us: Option<u64>,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
}

/// All rows in columns, with a mark that says at a glance which of them are wrong.
pub(super) fn table(rows: &[Row]) -> String {
    let time = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), moment::micros);
    let head = ["", "STEP", "EXPECTED", "OUTCOME", "PAUSE", "TOTAL"].map(str::to_owned);
    let cells: Vec<[String; 6]> = rows
        .iter()
        .map(|row| {
            let mark = if row.wrong.is_none() { "ok" } else { "WRONG" };
            [
                mark.to_owned(),
                row.step.clone(),
                row.expected.clone(),
                row.outcome.clone(),
                time(row.pause_us),
                time(row.total_us),
            ]
        })
        .collect();
    let width = |column: usize| {
        cells
            .iter()
            .chain([&head])
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 6]| {
        let padded: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<0$}", *width))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut out = format!("{}\n", line(&head).dimmed());
    for (row, cells) in rows.iter().zip(&cells) {
        let text = line(cells);
        match &row.wrong {
            None => out.push_str(&format!(
                "{}{}\n",
                "ok".green().bold(),
                text.trim_start_matches("ok")
            )),
            Some(wrong) => out.push_str(&format!("{}\n       {wrong}\n", text.red().bold())),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_row_stands_out_with_what_is_wrong() {
        let row = |step: &str, wrong: Option<&str>| Row {
            step: step.to_owned(),
            expected: "live".to_owned(),
            outcome: "Settled".to_owned(),
            pause_us: Some(812),
            total_us: None,
            wrong: wrong.map(str::to_owned),
        };
        let text = table(&[
            row("1. Good", None),
            row("2. Not so", Some("somebody was touched")),
        ]);
        let expected = "       STEP       EXPECTED  OUTCOME  PAUSE   TOTAL
ok     1. Good    live      Settled  812 µs  -
WRONG  2. Not so  live      Settled  812 µs  -
       somebody was touched
";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }
}
