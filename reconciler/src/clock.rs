//! The program's monotonic clock: the only place where core's moments come from.

use std::time::Instant;

use lockstep_core::rollout::Moment;

/// A clock whose moments count from its creation.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now. Moments start well above zero, so that "an hour ago" can be said.
    #[must_use]
    pub fn start() -> Self {
        let origin = Instant::now();
        Self {
            origin: origin
                .checked_sub(std::time::Duration::from_hours(1))
                .unwrap_or(origin),
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    /// When a moment comes, for timers.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.0
    }
}
