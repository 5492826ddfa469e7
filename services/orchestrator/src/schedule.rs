//! When there is trading: whether a moment is one for it, which day it belongs to, and when the next one begins.
//!
//! Functions of schedule and time, which the caller brings. What counts is the clock on the wall of the schedule's own
//! zone; holidays of an exchange are not known here.

use jiff::Timestamp;
use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
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
    // Neither is ever negative.
    let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
    let (start, end) = (schedule.trading_start.minutes(), schedule.trading_end.minutes());
    if !trades_on(schedule, local.date()) || minute < start || minute >= end {
        Hours::Closed
    } else if end - minute <= LATE_MINUTES {
        Hours::Late
    } else {
        Hours::Open
    }
}

/// The day of trading that this moment belongs to: the date on the wall.
pub(crate) fn day(schedule: &Schedule, now: Timestamp) -> Option<Date> {
    Some(now.to_zoned_datetime(schedule.zone()?).date())
}

/// When trading begins next: the first beginning after this moment.
pub(crate) fn opens(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let zone = schedule.zone()?;
    let today = now.to_zoned_datetime(zone.clone()).date();
    let minutes = i64::from(schedule.trading_start.minutes());
    // A weekend at the longest, and a day for a beginning that has passed.
    (0..=4)
        .map(|days| today.saturating_add(days.days()))
        .filter(|date| trades_on(schedule, *date))
        .filter_map(|date| {
            let beginning = date.at(0, 0, 0, 0).saturating_add(minutes.minutes());
            // A time that the change to summer leaves out is taken as the one that clocks show then.
            Some(beginning.to_zoned_datetime(zone.clone()).ok()?.timestamp())
        })
        .find(|beginning| *beginning > now)
}

fn trades_on(schedule: &Schedule, date: Date) -> bool {
    schedule.weekend_trading || !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use trader_config::TimeOfDay;

    fn moment(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn at(time: &str) -> Hours {
        hours(&Schedule::default(), moment(time))
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
        let saturday = moment("2026-07-04T15:00:00Z");
        assert_eq!(hours(&Schedule::default(), saturday), Hours::Closed);
        let schedule = Schedule {
            weekend_trading: true,
            ..Schedule::default()
        };
        assert_eq!(hours(&schedule, saturday), Hours::Open);
    }

    #[test]
    fn the_next_beginning_is_today_tomorrow_or_on_monday() {
        let next = |time: &str| opens(&Schedule::default(), moment(time)).unwrap();
        let wednesday = "2026-07-01T13:30:00Z";
        assert_eq!(next("2026-07-01T04:00:00Z"), moment(wednesday));
        assert_eq!(next(wednesday), moment("2026-07-02T13:30:00Z"));
        assert_eq!(next("2026-07-03T20:00:00Z"), moment("2026-07-06T13:30:00Z"));
        // The night in which New York's clocks go forward, and the one in which they go back.
        assert_eq!(next("2026-03-06T22:00:00Z"), moment("2026-03-09T13:30:00Z"));
        assert_eq!(next("2026-10-30T22:00:00Z"), moment("2026-11-02T14:30:00Z"));
        let early = Schedule {
            trading_start: TimeOfDay::try_from("02:30".to_owned()).unwrap(),
            weekend_trading: true,
            ..Schedule::default()
        };
        // There is no 02:30 on that Sunday: clocks show 03:30 then.
        let sunday = opens(&early, moment("2026-03-08T05:00:00Z"));
        assert_eq!(sunday, Some(moment("2026-03-08T07:30:00Z")));
    }

    #[test]
    fn a_day_is_the_one_on_the_wall() {
        let day = |time: &str| day(&Schedule::default(), moment(time)).unwrap().to_string();
        assert_eq!(day("2026-07-01T03:59:59Z"), "2026-06-30");
        assert_eq!(day("2026-07-01T04:00:00Z"), "2026-07-01");
    }

    proptest! {
        /// Whatever the schedule: at its next beginning it is open, a second before it is not, and between now and
        /// then it is closed once it has closed.
        #[test]
        fn a_beginning_is_where_closed_becomes_open(
            seconds in 1_700_000_000_i64..1_900_000_000,
            start in 0_u32..1439,
            length in 1_u32..1439,
            zone in prop::sample::select(vec!["America/New_York", "Europe/Berlin", "Asia/Tokyo", "UTC"]),
            weekend_trading: bool,
        ) {
            let time = |minutes: u32| TimeOfDay::try_from(format!("{:02}:{:02}", minutes / 60, minutes % 60)).unwrap();
            // Clocks change between one and four at night, where a day may lack its beginning.
            prop_assume!(!(60..240).contains(&start));
            let schedule = Schedule {
                trading_start: time(start),
                trading_end: time((start + length).min(1439)),
                timezone: zone.to_owned(),
                weekend_trading,
            };
            prop_assume!(schedule.trading_start < schedule.trading_end);
            let now = Timestamp::from_second(seconds).unwrap();
            let beginning = opens(&schedule, now).unwrap();
            prop_assert!(beginning > now);
            prop_assert_ne!(hours(&schedule, beginning), Hours::Closed);
            prop_assert_eq!(hours(&schedule, beginning - 1.second()), Hours::Closed);
            if hours(&schedule, now) == Hours::Closed {
                let halfway = now + (beginning - now) / 2;
                prop_assert_eq!(hours(&schedule, halfway), Hours::Closed);
            }
        }
    }
}
