//! The text in which programs show their metrics (Prometheus exposition format, and OpenMetrics): the series of one
//! metric, out of an answer whose length somebody else has bounded.
//!
//! Only what a probe needs is understood: names, labels, values. What other lines say, and whether their types fit,
//! is nobody's business here, so a mistake in another metric fails no probe.

use std::collections::BTreeMap;

/// One series: its labels and its value.
#[derive(Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// All series of a metric.
///
/// # Errors
/// When a line of this metric cannot be understood: the line is named.
pub(super) fn series(text: &str, metric: &str) -> Result<Vec<Series>, String> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let Some(rest) = after_name(line, metric) else {
            continue;
        };
        let read = labels(rest).and_then(|(labels, rest)| {
            // Behind the value there may be a time, and an exemplar.
            let value = rest.split_ascii_whitespace().next()?;
            Some(Series {
                labels,
                value: value.parse().ok()?,
            })
        });
        all.push(read.ok_or_else(|| format!("line {} is no sample of {metric}", number + 1))?);
    }
    Ok(all)
}

/// What follows the name, if the line is about this metric: its labels, or its value.
fn after_name<'a>(line: &'a str, metric: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(metric)?;
    rest.starts_with(['{', ' ', '\t']).then(|| rest.trim_start())
}

/// The labels, and what follows them.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return Some((labels, text));
    };
    loop {
        rest = rest.trim_start();
        // The last one may be followed by a comma as well.
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        labels.insert(name.trim().to_owned(), value);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// A value between quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                // A backslash, a quote, or what somebody escaped without need.
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(labels: &[(&str, &str)], value: f64) -> Series {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Series {
            labels: labels.collect(),
            value,
        }
    }

    #[test]
    fn the_series_of_one_metric_are_found_among_others() {
        let text = "# HELP app_config_info What runs.\n# TYPE app_config_info gauge\n\
                    app_config_info_total{digest=\"no\"} 1\n\
                    app_config_info{digest=\"sha256:ab\",revision=\"9f3c\"} 1\n\
                    app_config_info { digest = \"old\" , } 0 1395066363000\n\
                    app_config 1\napp_config_info 2.5e0\n\
                    app_config_info{} +Inf # {trace=\"x\"} 1\n\
                    this is {nothing\n";
        let found = series(text, "app_config_info").unwrap();
        assert_eq!(
            found,
            [
                one(&[("digest", "sha256:ab"), ("revision", "9f3c")], 1.0),
                one(&[("digest", "old")], 0.0),
                one(&[], 2.5),
                one(&[], f64::INFINITY),
            ]
        );
        assert_eq!(series(text, "app_other"), Ok(Vec::new()));
    }

    #[test]
    fn values_of_labels_are_unescaped() {
        let found = series("m{a=\"x\\\"y\\\\z\\n}, b=\\\"\",c=\"ä\"} 1\r\n", "m").unwrap();
        assert_eq!(found, [one(&[("a", "x\"y\\z\n}, b=\""), ("c", "ä")], 1.0)]);
    }

    #[test]
    fn a_line_that_cannot_be_understood_is_named() {
        for line in [
            "m{a=\"x\" 1",
            "m{a=x} 1",
            "m{a} 1",
            "m{a=\"x\"b=\"y\"} 1",
            "m{a=\"x\\",
            "m{a=\"x\"}",
            "m one",
            "m ",
        ] {
            let error = series(&format!("\nm 1\n{line}"), "m").unwrap_err();
            assert_eq!(error, "line 3 is no sample of m", "{line}");
        }
    }
}
