//! When schedules are active, as a sequence of runs, each the longest stretch without a break.
//!
//! A zone's clock is followed from one change of its offset to the next. So a start that the clock shows twice begins
//! twice, and one that the clock skips begins at the moment of the skip.

use std::collections::VecDeque;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use super::schedule::Schedule;

/// A stretch of time; `end` is the first moment after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// The runs of one schedule, in their order.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    schedule: &'a Schedule,
    /// What is between two changes of the offset: its beginning, its end if there is one, its offset.
    from: Timestamp,
    to: Option<(Timestamp, Offset)>,
    offset: Offset,
    /// The day that is looked at next.
    date: Date,
    /// No day is looked at that begins here or later.
    end: Timestamp,
    found: VecDeque<Run>,
    /// The run that may still grow.
    growing: Option<Run>,
    /// No start is to come that is earlier.
    seen: Timestamp,
}

impl<'a> Runs<'a> {
    /// The runs of all starts in a stretch of time.
    pub(super) fn new(schedule: &'a Schedule, from: Timestamp, end: Timestamp) -> Self {
        let offset = schedule.zone().to_offset(from);
        Self {
            schedule,
            from,
            to: change_after(schedule, from),
            offset,
            date: offset.to_datetime(from).date(),
            end,
            found: VecDeque::new(),
            growing: None,
            seen: from,
        }
    }

    /// Looks at one more day, or what of it has one offset. False when there is none.
    fn look(&mut self) -> bool {
        let midnight = |date: Date| self.offset.to_timestamp(date.at(0, 0, 0, 0)).ok();
        let tomorrow = self.date.tomorrow().ok();
        let (Some(begin), Some(over)) = (midnight(self.date), tomorrow.and_then(midnight)) else {
            return false;
        };
        let from = begin.max(self.from);
        let to = self.to.map_or(over, |(to, _)| over.min(to));
        if from >= self.end {
            return false;
        }
        if self.schedule.fits(self.date) {
            if (from, to) == (begin, over) {
                let day = self.schedule.day().iter();
                self.found.extend(day.map(|(start, end)| Run {
                    start: begin + *start,
                    end: end_of(begin, *end),
                }));
            } else {
                let starts = self.schedule.starts().map(|start| begin + start);
                let duration = self.schedule.duration();
                let starts = starts.filter(|start| (from..to).contains(start));
                self.found.extend(starts.map(|start| Run {
                    start,
                    end: end_of(start, duration),
                }));
            }
        }
        self.seen = to;
        match (self.to, tomorrow) {
            (Some((change, offset)), _) if change <= over => self.change(change, offset),
            (_, Some(tomorrow)) => self.date = tomorrow,
            (_, None) => return false,
        }
        true
    }

    /// The clock changes.
    fn change(&mut self, at: Timestamp, offset: Offset) {
        let (mut skipped, shown) = (self.offset.to_datetime(at), offset.to_datetime(at));
        let mut begins = false;
        while skipped < shown {
            let midnight = skipped.date().at(0, 0, 0, 0);
            let over = skipped.date().tomorrow().map(|date| date.at(0, 0, 0, 0));
            let over = over.unwrap_or(shown).min(shown);
            let mut starts = self.schedule.starts();
            begins |= self.schedule.fits(skipped.date())
                && starts.any(|start| (skipped..over).contains(&midnight.saturating_add(start)));
            skipped = over;
        }
        if begins {
            self.found.push_back(Run {
                start: at,
                end: end_of(at, self.schedule.duration()),
            });
        }
        self.from = at;
        self.to = change_after(self.schedule, at);
        self.offset = offset;
        self.date = shown.date();
    }
}

fn change_after(schedule: &Schedule, at: Timestamp) -> Option<(Timestamp, Offset)> {
    let change = schedule.zone().following(at).next()?;
    Some((change.timestamp(), change.offset()))
}

fn end_of(start: Timestamp, duration: jiff::SignedDuration) -> Timestamp {
    start.checked_add(duration).unwrap_or(Timestamp::MAX)
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        loop {
            while let Some(run) = self.found.pop_front() {
                match &mut self.growing {
                    Some(growing) if run.start <= growing.end => growing.end = growing.end.max(run.end),
                    Some(_) => return self.growing.replace(run),
                    None => self.growing = Some(run),
                }
            }
            // Whatever begins later does not touch it.
            if self.growing.is_some_and(|growing| growing.end < self.seen) || !self.look() {
                return self.growing.take();
            }
        }
    }
}

/// The runs of several schedules as one.
#[derive(Debug)]
pub(super) struct Union<'a> {
    all: Vec<std::iter::Peekable<Runs<'a>>>,
    last: Option<Run>,
}

impl<'a> Union<'a> {
    pub(super) fn of(all: impl Iterator<Item = Runs<'a>>) -> Self {
        Self {
            all: all.map(Iterator::peekable).collect(),
            last: None,
        }
    }

    /// The first run that is not over at a moment. The moments of one union only grow.
    pub(super) fn after(&mut self, at: Timestamp) -> Option<Run> {
        while self.last.is_none_or(|run| run.end <= at) {
            self.last = Some(self.pull()?);
        }
        self.last
    }

    fn pull(&mut self) -> Option<Run> {
        let mut run = self.earliest(None)?;
        while let Some(more) = self.earliest(Some(run.end)) {
            run.end = run.end.max(more.end);
        }
        Some(run)
    }

    /// Takes the run that begins first, if it begins early enough.
    fn earliest(&mut self, by: Option<Timestamp>) -> Option<Run> {
        let starts = self.all.iter_mut().map(|runs| runs.peek().map(|run| run.start));
        let (index, start) = starts
            .enumerate()
            .filter_map(|(index, start)| start.map(|start| (index, start)))
            .min_by_key(|(_, start)| *start)?;
        if by.is_some_and(|by| start > by) {
            return None;
        }
        self.all[index].next()
    }
}
