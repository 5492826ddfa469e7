//! What time it is: the only place that asks.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// The machine's time, or one that began at a given moment when the process did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Option<(Timestamp, Instant)>);

impl Clock {
    /// With `as_of`, it was that moment just now.
    pub(crate) fn new(as_of: Option<Timestamp>) -> Self {
        Self(as_of.map(|begin| (begin, Instant::now())))
    }

    pub(crate) fn now(&self) -> Timestamp {
        match self.0 {
            Some((begin, since)) => {
                let passed = SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX);
                begin.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
            None => Timestamp::now(),
        }
    }
}
