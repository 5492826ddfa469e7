//! When a window is active: the starts that a cron expression names on the clock of a zone, and for how long each.

use std::collections::BTreeSet;

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::runs::Runs;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);
/// Less is no window: nobody can tell whether a change fell into it.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// A freeze over a whole season is a window; more than a year would never end where it comes each year.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);

/// When a window is active. The duration is time that passes, whatever the clock shows meanwhile.
#[derive(Clone)]
pub struct Schedule {
    cron: Cron,
    text: String,
    duration: SignedDuration,
    zone: TimeZone,
    zone_name: String,
    except: BTreeSet<Date>,
    /// The starts within a day, from midnight.
    starts: Vec<SignedDuration>,
    /// What they make of a day without a change of the clock: runs that do not touch, from midnight.
    day: Vec<(SignedDuration, SignedDuration)>,
}

/// Why a schedule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression cannot be read.
    #[error(
        "cron: {text:?} cannot be read: {why}; five fields are expected: minute, hour, day of the month, month, day of \
         the week, for example \"30 9 * * 1-5\""
    )]
    Cron {
        /// The expression.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The duration is too short or too long.
    #[error("duration: at least 1s and at most 8784h (366 days) is expected, for example \"6h 30m\"")]
    Duration,
}

impl Schedule {
    /// Takes a cron expression of five fields, how long each run lasts, and on which clock.
    ///
    /// # Errors
    /// When the expression cannot be read, or the duration is not within its limits.
    pub fn new(
        text: &str,
        duration: SignedDuration,
        (zone, zone_name): (TimeZone, String),
        except: BTreeSet<Date>,
    ) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let refused = |why: String| ScheduleError::Cron {
            text: text.to_owned(),
            why: why.trim_end_matches('.').to_owned(),
        };
        let cron = parser.parse(text).map_err(|error| refused(error.to_string()))?;
        if !(SHORTEST..=LONGEST).contains(&duration) {
            return Err(ScheduleError::Duration);
        }
        let mut starts = Vec::new();
        for (hour, minute) in (0..24).flat_map(|hour| (0..60).map(move |minute| (hour, minute))) {
            let fits = |fit: Result<bool, _>| fit.unwrap_or(false);
            if fits(cron.pattern.hour_match(hour)) && fits(cron.pattern.minute_match(minute)) {
                starts.push(MINUTE * i32::try_from(hour * 60 + minute).unwrap_or(0));
            }
        }
        let mut day: Vec<(SignedDuration, SignedDuration)> = Vec::new();
        for start in &starts {
            let end = *start + duration;
            match day.last_mut() {
                Some((_, last)) if *start <= *last => *last = end,
                Some(_) | None => day.push((*start, end)),
            }
        }
        Ok(Self {
            cron,
            text: text.to_owned(),
            duration,
            zone,
            zone_name,
            except,
            starts,
            day,
        })
    }

    /// The expression, as it was written.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// All runs that are not over at a moment, and perhaps some before. No day is looked at that begins at `end` or
    /// later.
    pub(super) fn runs(&self, from: Timestamp, end: Timestamp) -> Runs<'_> {
        let from = from.checked_sub(self.duration).unwrap_or(Timestamp::MIN);
        Runs::new(self, from, end)
    }

    /// Whether it begins on a day.
    pub(super) fn fits(&self, date: Date) -> bool {
        let weekday = match date.weekday() {
            jiff::civil::Weekday::Sunday => Weekday::Sunday,
            jiff::civil::Weekday::Monday => Weekday::Monday,
            jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
            jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
            jiff::civil::Weekday::Thursday => Weekday::Thursday,
            jiff::civil::Weekday::Friday => Weekday::Friday,
            jiff::civil::Weekday::Saturday => Weekday::Saturday,
        };
        let (year, month, day) = (
            i32::from(date.year()),
            date.month().unsigned_abs().into(),
            date.day().unsigned_abs().into(),
        );
        let pattern = &self.cron.pattern;
        !self.except.contains(&date)
            && pattern.month_match(month).unwrap_or(false)
            && pattern.day_match(year, month, day, weekday).unwrap_or(false)
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn duration(&self) -> SignedDuration {
        self.duration
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = SignedDuration> {
        self.starts.iter().copied()
    }

    pub(super) fn day(&self) -> &[(SignedDuration, SignedDuration)] {
        &self.day
    }
}

/// What was given, without what was made of it.
impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schedule({self}, except {:?})", self.except)
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} for {:#}, {}", self.text, self.duration, self.zone_name)
    }
}
