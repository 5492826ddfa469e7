//! Durations and moments as people type and read them.

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};

/// A duration as in `500ms`, `10s`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it as in \"500ms\", \"60s\" or \"1h 30m\"");
    let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

/// A moment to come: a duration from now, a time of day, or a whole date and time. What names no time zone
/// is local.
pub(super) fn future(text: &str) -> Result<Timestamp, String> {
    let now = ZonedDateTime::now();
    let at = moment(text, &now, Direction::Future)?;
    if at <= now.timestamp() {
        return Err(format!(
            "{text:?} is over already: name a moment that is still to come"
        ));
    }
    Ok(at)
}

/// A moment that is over: a duration before now, a time of day, or a whole date and time.
pub(super) fn past(text: &str) -> Result<Timestamp, String> {
    moment(text, &ZonedDateTime::now(), Direction::Past)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Past,
    Future,
}

fn moment(text: &str, now: &ZonedDateTime, direction: Direction) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "{text:?} is no moment: write a duration as in \"2h\", a time of day as in \"17:30\", or a whole one as \
             in \"2026-01-31T17:30\""
        )
    };
    if let Ok(duration) = duration(text) {
        let duration = SignedDuration::try_from(duration).map_err(|_| wrong())?;
        let at = match direction {
            Direction::Past => now.timestamp().checked_sub(duration),
            Direction::Future => now.timestamp().checked_add(duration),
        };
        return at.map_err(|_| wrong());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A text with a date is no time of day, although it holds one.
    if let (Ok(time), false) = (text.parse::<Time>(), text.contains('-')) {
        let today = now.with().time(time).build().map_err(|_| wrong())?;
        let step = match direction {
            Direction::Past if today > *now => -1,
            Direction::Future if today <= *now => 1,
            Direction::Past | Direction::Future => 0,
        };
        return Ok(today.checked_add(step.days()).map_err(|_| wrong())?.timestamp());
    }
    let local: DateTime = text.parse().map_err(|_| wrong())?;
    Ok(local
        .to_zoned_datetime(now.time_zone().clone())
        .map_err(|_| wrong())?
        .timestamp())
}

/// A moment as people read it: the local time of day, with the date if that is not today.
pub(super) fn local(at: Timestamp) -> String {
    let zone = TimeZone::system();
    let (at, today) = (
        at.to_zoned_datetime(zone.clone()),
        Timestamp::now().to_zoned_datetime(zone).date(),
    );
    let form = if at.date() == today {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    at.strftime(form).to_string()
}

/// A duration as people read it, from microseconds: three digits that mean something.
pub(super) fn micros(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "only three digits are shown")]
    let us = us as f64;
    let (value, unit) = match us {
        us if us < 1e3 => return format!("{us:.0} µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us if us < 120e6 => (us / 1e6, "s"),
        us => (us / 60e6, "min"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> ZonedDateTime {
        "2026-03-05T12:00:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str, direction: Direction) -> String {
        let at = moment(text, &now(), direction).unwrap();
        at.to_zoned_datetime(now().time_zone().clone())
            .datetime()
            .to_string()
    }

    #[test]
    fn a_duration_counts_from_now_in_the_direction_that_is_meant() {
        assert_eq!(at("90m", Direction::Future), "2026-03-05T13:30:00");
        assert_eq!(at("1h 30m", Direction::Past), "2026-03-05T10:30:00");
    }

    #[test]
    fn a_time_of_day_is_the_nearest_one_in_the_direction_that_is_meant() {
        assert_eq!(at("17:30", Direction::Future), "2026-03-05T17:30:00");
        assert_eq!(at("09:00", Direction::Future), "2026-03-06T09:00:00");
        assert_eq!(at("17:30", Direction::Past), "2026-03-04T17:30:00");
    }

    #[test]
    fn a_whole_moment_is_local_unless_it_names_a_zone() {
        assert_eq!(at("2026-04-01T08:00", Direction::Future), "2026-04-01T08:00:00");
        assert_eq!(
            at("2026-04-01T08:00:00Z", Direction::Future),
            "2026-04-01T10:00:00"
        );
    }

    #[test]
    fn what_is_no_moment_is_refused_with_how_to_write_one() {
        let message = moment("soon", &now(), Direction::Future).unwrap_err();
        assert!(
            message.contains("\"soon\" is no moment: write a duration as in \"2h\""),
            "{message}"
        );
        assert!(duration("-5s").is_err());
        assert!(duration("5").is_err());
    }

    #[test]
    fn durations_are_shown_with_three_digits_that_mean_something() {
        let shown: Vec<_> = [7, 999, 1_500, 42_350, 987_000, 1_000_000, 75_000_000, 600_000_000]
            .into_iter()
            .map(micros)
            .collect();
        assert_eq!(
            shown,
            [
                "7 µs", "999 µs", "1.50 ms", "42.4 ms", "987 ms", "1.00 s", "75.0 s", "10.0 min"
            ]
        );
    }
}
