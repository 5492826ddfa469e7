//! Windows: schedules on the clock of a zone, dates that are left out, emergency keys.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use lockstep_core::window::{Emergency, Schedule, Window, Windows};

use super::Resolver;
use crate::settings::{read_text, values, written};

impl Resolver {
    pub(super) fn windows(&mut self, written: Vec<written::Window>) -> Windows {
        let before = self.problems.len();
        let windows = written.into_iter().enumerate();
        let windows: Vec<_> = windows
            .filter_map(|(index, window)| self.window(index, window))
            .collect();
        // What they mean together is judged when each of them means something.
        if self.problems.len() > before {
            return Windows::default();
        }
        Windows::new(windows, Timestamp::now()).unwrap_or_else(|problems| {
            for problem in problems {
                self.wrong("window", &problem);
            }
            Windows::default()
        })
    }

    fn window(&mut self, index: usize, window: written::Window) -> Option<Window> {
        let place = format!("window[{index}] {:?}", window.name);
        let key = |field: &str| format!("{place}: {field}");
        if window.name.trim().is_empty() || window.name.len() > 63 || window.name.contains(char::is_control) {
            self.wrong(
                &key("name"),
                "1 to 63 characters are expected, for example \"market-hours\"",
            );
        }
        let mut except = BTreeSet::new();
        for value in &window.except {
            except.extend(self.fit(&key("except"), date(value)));
        }
        if let Some(file) = window.except_file {
            except.extend(self.dates_in(&key("except_file"), &file));
        }
        let mut emergency = Vec::new();
        for entry in window.emergency {
            let made = values_of(entry.to)
                .and_then(|to| Emergency::new(&entry.key, to).map_err(|error| error.to_string()));
            emergency.extend(self.fit(&key("emergency"), made));
        }
        let zone = self.fit(&key("time_zone"), values::zone(&window.time_zone))?;
        let schedule = Schedule::new(&window.cron, window.duration, (zone, window.time_zone), except);
        let schedule = schedule.map_err(|error| error.to_string());
        Some(Window {
            schedule: self.fit(&place, schedule)?,
            name: window.name,
            kind: window.kind,
            emergency,
        })
    }

    /// One date a line; what follows a `#` is a comment.
    fn dates_in(&mut self, key: &str, file: &str) -> Vec<Date> {
        let path = self.path(file);
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) => {
                let why =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                self.wrong(key, &format!("{} cannot be read: {why}", path.display()));
                return Vec::new();
            }
        };
        let mut dates = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let date = line.split('#').next().unwrap_or_default().trim();
            if !date.is_empty() {
                let judged = parsed(date).map_err(|what| format!("{}:{number}: {what}", path.display()));
                dates.extend(self.fit(key, judged));
            }
        }
        dates
    }
}

fn date(value: &toml::Value) -> Result<Date, String> {
    match value {
        toml::Value::String(text) => parsed(text),
        other => parsed(&other.to_string()),
    }
}

fn parsed(text: &str) -> Result<Date, String> {
    // A text with a time of day would be taken as well.
    let date = text.parse().ok().filter(|_| text.len() == "2026-12-25".len());
    date.ok_or_else(|| format!("{text} is no date; write for example \"2026-12-25\""))
}

fn values_of(to: Option<toml::Value>) -> Result<Option<Vec<serde_json::Value>>, String> {
    let values = match to {
        None => return Ok(None),
        Some(toml::Value::Array(values)) => values,
        Some(value) => vec![value],
    };
    let plain = |value| match value {
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_) => serde_json::to_value(value).map_err(|error| error.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => Err(
            "to: texts, numbers and true or false can be compared; write for example to = \"PAPER\""
                .to_owned(),
        ),
    };
    values.into_iter().map(plain).collect::<Result<_, _>>().map(Some)
}
