//! Whether a moment is one for trading. A function of schedule and time, which the caller brings.

use jiff::Timestamp;
use jiff::civil::Weekday;
use trader_config::Schedule;

/// How long before the end it is late.
const LATE_MINUTES: u16 = 60;

/// What a moment is to the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hours {
    /// Nothing is opened.
    Closed,
    /// Positions may be opened.
    Open,
    /// The last hour: positions may be opened if the configuration allows it.
    Late,
}

/// What this moment is to the schedule.
pub(crate) fn hours(schedule: &Schedule, now: Timestamp) -> Hours {
    // Validated before: a zone that does not exist never gets here, and would mean closed.
    let Some(zone) = schedule.zone() else {
        return Hours::Closed;
    };
    let local = now.to_zoned_datetime(zone);
    let weekend = matches!(local.weekday(), Weekday::Saturday | Weekday::Sunday);
    // Neither is ever negative.
    let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
    let (start, end) = (schedule.trading_start.minutes(), schedule.trading_end.minutes());
    if (weekend && !schedule.weekend_trading) || minute < start || minute >= end {
        Hours::Closed
    } else if end - minute <= LATE_MINUTES {
        Hours::Late
    } else {
        Hours::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Hours {
        hours(&Schedule::default(), time.parse().unwrap())
    }

    #[test]
    fn trading_is_from_start_to_end_in_the_schedules_own_zone() {
        // New York is at UTC-4 in July and at UTC-5 in January.
        assert_eq!(at("2026-07-01T13:29:59Z"), Hours::Closed);
        assert_eq!(at("2026-07-01T13:30:00Z"), Hours::Open);
        assert_eq!(at("2026-07-01T18:59:00Z"), Hours::Open);
        assert_eq!(at("2026-07-01T19:00:00Z"), Hours::Late);
        assert_eq!(at("2026-07-01T20:00:00Z"), Hours::Closed);
        assert_eq!(at("2026-01-07T14:29:00Z"), Hours::Closed);
        assert_eq!(at("2026-01-07T14:30:00Z"), Hours::Open);
    }

    #[test]
    fn a_weekend_is_no_trading_day_unless_the_schedule_says_so() {
        let saturday: Timestamp = "2026-07-04T15:00:00Z".parse().unwrap();
        assert_eq!(hours(&Schedule::default(), saturday), Hours::Closed);
        let schedule = Schedule {
            weekend_trading: true,
            ..Schedule::default()
        };
        assert_eq!(hours(&schedule, saturday), Hours::Open);
    }
}
