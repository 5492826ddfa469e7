//! What windows say, beside what a clock says that is looked at minute by minute.

use jiff::ToSpan;
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

const NEW_YORK: &str = "America/New_York";

fn zone(name: &str) -> (TimeZone, String) {
    (TimeZone::get(name).unwrap(), name.to_owned())
}

fn hours(hours: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(hours * 3600.0)
}

fn schedule(cron: &str, duration: SignedDuration, name: &str, except: &[&str]) -> Schedule {
    let except = except.iter().map(|date| date.parse().unwrap()).collect();
    Schedule::new(cron, duration, zone(name), except).unwrap()
}

fn window(kind: Kind, cron: &str, duration: SignedDuration) -> Window {
    Window {
        name: format!("{kind:?} {cron}"),
        kind,
        schedule: schedule(cron, duration, NEW_YORK, &[]),
        emergency: Vec::new(),
    }
}

fn windows(windows: impl IntoIterator<Item = Window>) -> Windows {
    Windows(windows.into_iter().collect())
}

/// A moment as New York's clock shows it.
fn at(text: &str) -> Timestamp {
    let local: DateTime = text.parse().unwrap();
    zone(NEW_YORK).0.to_timestamp(local).unwrap()
}

fn utc(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn runs(schedule: &Schedule, from: &str, to: &str) -> Vec<(String, String)> {
    let (from, to) = (utc(from), utc(to));
    let runs = schedule.runs(from, to).filter(|run| run.end > from);
    runs.map(|run| (run.start.to_string(), run.end.to_string()))
        .collect()
}

fn pair(start: &str, end: &str) -> (String, String) {
    (start.to_owned(), end.to_owned())
}

fn closed(gate: Gate) -> Closed {
    match gate {
        Gate::Closed(closed) => closed,
        Gate::Open { until } => panic!("it is open until {until:?}"),
    }
}

#[test]
fn market_hours_follow_new_york_through_both_changes_of_its_clock_and_leave_holidays_out() {
    let market = schedule("30 9 * * 1-5", hours(6.5), NEW_YORK, &["2026-11-26"]);
    // 8 March 2026 is a Sunday: 14:30 UTC before, 13:30 UTC after.
    assert_eq!(
        runs(&market, "2026-03-06T00:00:00Z", "2026-03-10T00:00:00Z"),
        [
            pair("2026-03-06T14:30:00Z", "2026-03-06T21:00:00Z"),
            pair("2026-03-09T13:30:00Z", "2026-03-09T20:00:00Z"),
        ]
    );
    // 1 November 2026 is a Sunday.
    assert_eq!(
        runs(&market, "2026-10-30T00:00:00Z", "2026-11-03T00:00:00Z"),
        [
            pair("2026-10-30T13:30:00Z", "2026-10-30T20:00:00Z"),
            pair("2026-11-02T14:30:00Z", "2026-11-02T21:00:00Z"),
        ]
    );
    // Thanksgiving.
    assert_eq!(
        runs(&market, "2026-11-25T22:00:00Z", "2026-11-28T00:00:00Z"),
        [pair("2026-11-27T14:30:00Z", "2026-11-27T21:00:00Z")]
    );
}

#[test]
fn a_start_that_the_clock_skips_is_at_the_skip_and_one_that_it_shows_twice_is_twice() {
    let night = schedule("30 2 * * *", hours(0.5), NEW_YORK, &[]);
    assert_eq!(
        runs(&night, "2026-03-08T00:00:00Z", "2026-03-09T12:00:00Z"),
        [
            pair("2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z"),
            pair("2026-03-09T06:30:00Z", "2026-03-09T07:00:00Z"),
        ]
    );
    let twice = schedule("30 1 * * *", hours(0.25), NEW_YORK, &[]);
    assert_eq!(
        runs(&twice, "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"),
        [
            pair("2026-11-01T05:30:00Z", "2026-11-01T05:45:00Z"),
            pair("2026-11-01T06:30:00Z", "2026-11-01T06:45:00Z"),
        ]
    );
    // The duration is time that passes: from 22:00 on, the clock shows 07:00 after the night of the skip.
    let over = schedule("0 22 * * 6", hours(8.0), NEW_YORK, &[]);
    assert_eq!(
        runs(&over, "2026-03-07T00:00:00Z", "2026-03-09T00:00:00Z"),
        [pair("2026-03-08T03:00:00Z", "2026-03-08T11:00:00Z")]
    );
    // A holiday that is skipped with its start begins nothing.
    let holiday = schedule("30 2 * * *", hours(0.5), NEW_YORK, &["2026-03-08"]);
    assert_eq!(
        runs(&holiday, "2026-03-08T00:00:00Z", "2026-03-09T06:45:00Z"),
        [pair("2026-03-09T06:30:00Z", "2026-03-09T07:00:00Z")]
    );
}

#[test]
fn a_whole_day_may_be_skipped() {
    // Samoa had no 30 December 2011.
    let noon = schedule("0 12 * * *", hours(1.0), "Pacific/Apia", &[]);
    assert_eq!(
        runs(&noon, "2011-12-30T00:00:00Z", "2011-12-31T09:00:00Z"),
        [
            pair("2011-12-30T10:00:00Z", "2011-12-30T11:00:00Z"),
            pair("2011-12-30T22:00:00Z", "2011-12-30T23:00:00Z"),
        ]
    );
}

#[test]
fn a_run_over_midnight_belongs_to_the_day_on_which_it_begins() {
    let night = schedule("0 22 * * 5", hours(10.0), NEW_YORK, &["2026-06-12"]);
    let found = runs(&night, "2026-06-06T06:00:00Z", "2026-06-21T00:00:00Z");
    assert_eq!(
        found,
        [
            pair("2026-06-06T02:00:00Z", "2026-06-06T12:00:00Z"),
            pair("2026-06-20T02:00:00Z", "2026-06-20T12:00:00Z"),
        ]
    );
}

#[test]
fn runs_that_touch_are_one() {
    let always = schedule("* * * * *", SignedDuration::from_secs(60), NEW_YORK, &[]);
    let (from, to) = (utc("2026-01-01T00:00:00Z"), utc("2027-01-01T00:00:00Z"));
    let run = always.runs(from, to).next().unwrap();
    assert!(run.start <= from && run.end >= to, "{run:?}");
}

#[test]
fn without_windows_it_is_open_for_good() {
    assert_eq!(
        Windows::default().at(utc("2026-01-01T00:00:00Z")),
        Gate::Open { until: None }
    );
}

#[test]
fn a_deny_window_holds_from_its_first_moment_to_its_last() {
    let market = windows([window(Kind::Deny, "30 9 * * 1-5", hours(6.5))]);
    let (opens, closes) = (at("2026-11-24T09:30:00"), at("2026-11-24T16:00:00"));
    let moment = jiff::SignedDuration::from_nanos(1);
    assert_eq!(market.at(opens - moment), Gate::Open { until: Some(opens) });
    for within in [opens, closes - moment] {
        let closed = closed(market.at(within));
        assert_eq!(closed.until, Some(closes));
        assert!(!closed.outside);
        assert_eq!(
            closed.reason(),
            "the window \"Deny 30 9 * * 1-5\" keeps changes out (30 9 * * 1-5 for 6h 30m, America/New_York); \
             `lockstep sync --now --reason WHY` lets this one through"
        );
    }
    let next = at("2026-11-25T09:30:00");
    assert_eq!(market.at(closes), Gate::Open { until: Some(next) });
}

#[test]
fn outside_of_all_allow_windows_it_is_closed_and_a_deny_window_beats_them() {
    let evening = window(Kind::Allow, "0 18 * * *", hours(2.0));
    let night = window(Kind::Allow, "0 23 * * *", hours(2.0));
    let backup = window(Kind::Deny, "30 17 * * *", hours(1.0));
    let all = windows([evening, night, backup]);
    let day = closed(all.at(at("2026-11-24T12:00:00")));
    assert_eq!(day.until, Some(at("2026-11-24T18:30:00")));
    assert!(day.outside && day.denied_by.is_empty());
    let both = closed(all.at(at("2026-11-24T17:45:00")));
    assert!(both.outside);
    assert_eq!(both.denied_by, ["Deny 30 17 * * *"]);
    let denied = closed(all.at(at("2026-11-24T18:10:00")));
    assert!(!denied.outside);
    assert_eq!(denied.until, Some(at("2026-11-24T18:30:00")));
    let until = Some(at("2026-11-24T20:00:00"));
    assert_eq!(all.at(at("2026-11-24T18:30:00")), Gate::Open { until });
    // Over midnight.
    let until = Some(at("2026-11-25T01:00:00"));
    assert_eq!(all.at(at("2026-11-25T00:30:00")), Gate::Open { until });
}

#[test]
fn deny_windows_that_overlap_hold_to_the_end_of_the_last() {
    let all = windows([
        window(Kind::Deny, "0 9 * * *", hours(2.0)),
        window(Kind::Deny, "0 10 * * *", hours(2.0)),
        window(Kind::Deny, "0 12 * * *", hours(1.0)),
    ]);
    let closed = closed(all.at(at("2026-11-24T09:15:00")));
    assert_eq!(closed.denied_by, ["Deny 0 9 * * *"]);
    assert_eq!(closed.until, Some(at("2026-11-24T13:00:00")));
}

#[test]
fn what_never_begins_or_never_opens_is_refused() {
    let now = utc("2026-11-24T12:00:00Z");
    let refused = |all: Vec<Window>| Windows::new(all, now).unwrap_err().join("\n");
    assert_eq!(
        refused(vec![window(Kind::Allow, "0 0 30 2 *", hours(1.0))]),
        "\"Allow 0 0 30 2 *\" never begins: no day that is to come fits \"0 0 30 2 *\""
    );
    let never = refused(vec![window(Kind::Deny, "0 0 * * *", hours(25.0))]);
    assert!(never.starts_with("no change could ever go out"), "{never}");
    let never = refused(vec![
        window(Kind::Deny, "0 9 * * *", hours(3.0)),
        window(Kind::Allow, "0 10 * * *", hours(1.0)),
    ]);
    assert!(never.starts_with("no change could ever go out"), "{never}");
    let twice = refused(vec![
        window(Kind::Deny, "0 9 * * *", hours(3.0)),
        window(Kind::Deny, "0 9 * * *", hours(3.0)),
    ]);
    assert!(twice.contains("used twice"), "{twice}");
    // Rare is not never.
    let leap = windows([window(Kind::Allow, "0 0 29 2 *", hours(1.0))]);
    let closed = closed(leap.at(now));
    assert_eq!(closed.until, Some(at("2028-02-29T00:00:00")));
    Windows::new(leap.0, now).unwrap();
}

#[test]
fn what_is_no_schedule_is_refused_with_what_is_expected() {
    let new = |cron: &str, duration| {
        let made = Schedule::new(cron, duration, zone(NEW_YORK), BTreeSet::new());
        made.unwrap_err().to_string()
    };
    for cron in [
        "",
        "* * * *",
        "0 * * * * *",
        "60 * * * *",
        "0 25 * * *",
        "a b c d e",
        "0 0 1 13 *",
    ] {
        let error = new(cron, hours(1.0));
        assert!(
            error.starts_with(&format!("cron: {cron:?} cannot be read")),
            "{error}"
        );
        assert!(error.contains("five fields are expected"), "{error}");
    }
    for duration in [hours(0.0), hours(-1.0), hours(24.0 * 367.0)] {
        assert!(new("* * * * *", duration).contains("at least 1s and at most 8784h"));
    }
}

/// A schedule whose fields are at hand, and the window that says the same.
#[derive(Debug, Clone)]
struct Plain {
    kind: Kind,
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    weekdays: BTreeSet<i8>,
    minutes_long: i64,
    except: bool,
}

fn plain() -> impl Strategy<Value = Plain> {
    let some = |below: i8, most| proptest::collection::btree_set(0..below, 1..most);
    (
        prop_oneof![Just(Kind::Deny), Just(Kind::Allow)],
        some(60, 4),
        some(24, 5),
        some(7, 7),
        prop_oneof![1..90i64, 1..3000i64],
        any::<bool>(),
    )
        .prop_map(|(kind, minutes, hours, weekdays, minutes_long, except)| Plain {
            kind,
            minutes,
            hours,
            weekdays,
            minutes_long,
            except,
        })
}

impl Plain {
    fn window(&self, name: usize, zone: &(TimeZone, String), holiday: jiff::civil::Date) -> Window {
        let list = |values: &BTreeSet<i8>| {
            let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
            texts.join(",")
        };
        let cron = format!(
            "{} {} * * {}",
            list(&self.minutes),
            list(&self.hours),
            list(&self.weekdays)
        );
        let except = self.except.then_some(holiday).into_iter().collect();
        let duration = SignedDuration::from_mins(self.minutes_long);
        Window {
            name: name.to_string(),
            kind: self.kind,
            schedule: Schedule::new(&cron, duration, zone.clone(), except).unwrap(),
            emergency: Vec::new(),
        }
    }

    /// Whether it begins when the clock shows this.
    fn begins(&self, shown: DateTime, holiday: jiff::civil::Date) -> bool {
        let weekday = shown.date().weekday().to_sunday_zero_offset();
        self.minutes.contains(&shown.minute())
            && self.hours.contains(&shown.hour())
            && self.weekdays.contains(&weekday)
            && !(self.except && shown.date() == holiday)
    }

    /// Each minute of a stretch, whether it is active then: found by looking at the clock alone.
    fn active(&self, zone: &TimeZone, minutes: &[Timestamp], holiday: jiff::civil::Date) -> Vec<bool> {
        let mut ends = minutes[0];
        let mut before = zone.to_datetime(minutes[0]).checked_sub(1.minute()).unwrap();
        let mut found = Vec::new();
        for now in minutes {
            let shown = zone.to_datetime(*now);
            let mut begins = self.begins(shown, holiday);
            // What the clock skipped since the minute before.
            let mut skipped = before.checked_add(1.minute()).unwrap();
            while skipped < shown {
                begins |= self.begins(skipped, holiday);
                skipped = skipped.checked_add(1.minute()).unwrap();
            }
            if begins {
                ends = *now + SignedDuration::from_mins(self.minutes_long);
            }
            found.push(*now < ends);
            before = shown;
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn windows_say_what_a_clock_says_that_is_looked_at_minute_by_minute(
        all in proptest::collection::vec(plain(), 1..4),
        around in prop_oneof![
            // Both changes of New York, those of Lord Howe (half an hour) and of Troll (two), a quiet week.
            Just((NEW_YORK, date(2026, 3, 8))),
            Just((NEW_YORK, date(2026, 11, 1))),
            Just(("Australia/Lord_Howe", date(2026, 4, 5))),
            Just(("Australia/Lord_Howe", date(2026, 10, 4))),
            Just(("Antarctica/Troll", date(2026, 3, 29))),
            Just(("Pacific/Apia", date(2011, 12, 30))),
            Just(("Asia/Kolkata", date(2026, 6, 1))),
        ],
        away in -1i64..=1,
    ) {
        let (name, day) = around;
        let zone = zone(name);
        let holiday = day.checked_add(away.days()).unwrap();
        let from = zone.0.to_timestamp(day.checked_sub(5.days()).unwrap().at(0, 0, 0, 0)).unwrap();
        let minute = |n: i64| from + SignedDuration::from_mins(n);
        let minutes: Vec<_> = (0..9 * 24 * 60).map(minute).collect();
        // The longest run takes two days: what began before the stretch is over by then.
        let settled = 2 * 24 * 60 + 120;
        let active: Vec<_> = all.iter().map(|one| one.active(&zone.0, &minutes, holiday)).collect();
        let open: Vec<bool> = (0..minutes.len())
            .map(|n| {
                let is = |kind| all.iter().zip(&active).any(|(one, active)| one.kind == kind && active[n]);
                let allowed = all.iter().all(|one| one.kind == Kind::Deny) || is(Kind::Allow);
                allowed && !is(Kind::Deny)
            })
            .collect();
        let made = windows(all.iter().enumerate().map(|(n, one)| one.window(n, &zone, holiday)));
        for n in (settled..minutes.len()).step_by(31) {
            let changes = (n..minutes.len()).find(|m| open[*m] != open[n]).map(|m| minutes[m]);
            match made.at(minutes[n]) {
                Gate::Open { until } => {
                    prop_assert!(open[n], "open at {}", minutes[n]);
                    if let Some(changes) = changes {
                        prop_assert_eq!(until, Some(changes));
                    }
                }
                Gate::Closed(closed) => {
                    prop_assert!(!open[n], "closed at {}", minutes[n]);
                    if let Some(changes) = changes {
                        prop_assert_eq!(closed.until, Some(changes));
                    }
                    for (m, one) in all.iter().enumerate().filter(|(_, one)| one.kind == Kind::Deny) {
                        prop_assert_eq!(closed.denied_by.contains(&m.to_string()), active[m][n], "{:?}", one);
                    }
                }
            }
        }
    }
}
