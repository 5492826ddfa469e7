//! `/proc/PID/stat` and `/proc/PID/task/TID/stat`, parsed.

/// What a thread is doing, as far as a pause cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It runs, or may run any moment.
    Active,
    /// Stopped (`T`), or stopped by a tracer (`t`).
    Stopped,
    /// Dead, though perhaps not yet collected (`Z`, `X`).
    Dead,
}

/// The fields that are used. For a thread of its own, `pid` is the thread's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    /// The state of the first thread alone: others may still run.
    pub(crate) state: State,
    pub(crate) threads: u32,
    /// Clock ticks since boot at its start: with the pid, who it is.
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// The command's name may hold blanks and parentheses; nothing after it does.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let name_from = text.iter().position(|byte| *byte == b'(')?;
        let name_to = text.iter().rposition(|byte| *byte == b')')?;
        let pid = number(text.get(..name_from)?)?;
        let mut fields = text
            .get(name_to + 1..)?
            .split(|byte| *byte == b' ')
            .filter(|field| !field.is_empty());
        let state = match fields.next()? {
            b"T" | b"t" => State::Stopped,
            b"Z" | b"X" | b"x" => State::Dead,
            _ => State::Active,
        };
        // proc(5) counts from 1: the state is field 3, so the next one taken here is field 4.
        let parent = number(fields.next()?)?;
        // One that is being collected this moment belongs to no session any more.
        let session = match fields.nth(1)? {
            b"-1" => {
                return Some(Self {
                    pid,
                    parent,
                    session: 0,
                    state: State::Dead,
                    threads: 0,
                    start_ticks: 0,
                });
            }
            session => number(session)?,
        };
        let threads = number(fields.nth(13)?)?;
        let start_ticks = number(fields.nth(1)?)?;
        Some(Self {
            pid,
            parent,
            session,
            state,
            threads,
            start_ticks,
        })
    }

    /// Whether nothing of it will ever run again.
    pub(crate) fn is_dead(&self) -> bool {
        self.state == State::Dead && self.threads <= 1
    }

    /// Whether it is known from this alone that all of it is stopped.
    pub(crate) fn is_wholly_stopped(&self) -> bool {
        self.state == State::Stopped && self.threads == 1
    }
}

fn number<N: std::str::FromStr>(field: &[u8]) -> Option<N> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, state: &str) -> String {
        format!(
            "4711 ({name}) {state} 12 4711 4700 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 98765 1000 200 184467 1 2"
        )
    }

    #[test]
    fn the_fields_are_found_behind_any_command_name() {
        for name in ["sh", "a b", "x) R 1 (", "((", ""] {
            let stat = Stat::parse(line(name, "S").as_bytes()).unwrap();
            let expected = Stat {
                pid: 4711,
                parent: 12,
                session: 4700,
                state: State::Active,
                threads: 3,
                start_ticks: 98765,
            };
            assert_eq!(stat, expected, "{name}");
        }
    }

    #[test]
    fn both_kinds_of_stop_and_all_kinds_of_death_are_known() {
        for (letter, state) in [
            ("R", State::Active),
            ("D", State::Active),
            ("T", State::Stopped),
            ("t", State::Stopped),
            ("Z", State::Dead),
            ("X", State::Dead),
        ] {
            assert_eq!(Stat::parse(line("x", letter).as_bytes()).unwrap().state, state);
        }
    }

    #[test]
    fn one_that_is_being_collected_is_dead() {
        let stat = Stat::parse(b"7 (x) S 1 -1 -1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 0 0 9 1000").unwrap();
        assert!(stat.is_dead());
    }

    #[test]
    fn a_truncated_line_is_nothing() {
        let whole = line("x", "S");
        assert_eq!(Stat::parse(&whole.as_bytes()[..30]), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn the_own_process_parses() {
        let text = std::fs::read("/proc/self/stat").unwrap();
        let stat = Stat::parse(&text).unwrap();
        assert_eq!(stat.pid, std::process::id());
        assert!(stat.start_ticks > 0);
    }
}
