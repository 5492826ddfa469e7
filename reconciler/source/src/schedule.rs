//! When to look at the source next: pure, without a clock.
//!
//! Wake-ups come on top of it; they may be lost, the schedule may not.

use std::time::Duration;

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(300);
/// How far a wait is moved at most, so that many reconcilers do not ask one server in step.
const JITTER: f64 = 0.1;

/// The waits between looks: the interval while they succeed, twice as long after each failure, at most five
/// minutes (or the interval, if that is longer); each up to a tenth shorter or longer.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Schedule {
    /// A schedule; the seed makes its jitter.
    #[must_use]
    pub fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            failures: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The wait after a look that succeeded.
    pub fn succeeded(&mut self) -> Duration {
        self.failures = 0;
        self.jittered(self.interval)
    }

    /// The wait after a look that failed.
    pub fn failed(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.jittered(
            self.interval
                .saturating_mul(factor)
                .min(LONGEST.max(self.interval)),
        )
    }

    /// How many looks have failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn jittered(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(wait: Duration, seconds: u64) -> bool {
        let expected = Duration::from_secs(seconds);
        wait >= expected.mul_f64(0.9) && wait <= expected.mul_f64(1.1)
    }

    #[test]
    fn the_interval_is_kept_within_a_tenth_and_not_always_the_same() {
        let mut schedule = Schedule::new(Duration::from_secs(5), 7);
        let waits: Vec<_> = (0..1000).map(|_| schedule.succeeded()).collect();
        assert!(waits.iter().all(|wait| around(*wait, 5)));
        assert!(waits.iter().max() > waits.iter().min());
    }

    #[test]
    fn failures_double_the_wait_up_to_five_minutes_and_success_resets_it() {
        let mut schedule = Schedule::new(Duration::from_secs(5), 7);
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert!(around(schedule.failed(), seconds), "{seconds}");
        }
        assert_eq!(schedule.failures(), 8);
        assert!(around(schedule.succeeded(), 5));
        assert!(around(schedule.failed(), 5));
    }

    #[test]
    fn endless_failures_do_not_overflow() {
        let mut schedule = Schedule::new(Duration::from_secs(5), 7);
        assert!(
            (0..10_000)
                .map(|_| schedule.failed())
                .skip(10)
                .all(|wait| around(wait, 300))
        );
    }

    #[test]
    fn an_interval_above_five_minutes_is_not_shortened_by_failures() {
        let mut schedule = Schedule::new(Duration::from_secs(3600), 7);
        assert!(around(schedule.failed(), 3600) && around(schedule.failed(), 3600));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let mut schedule = Schedule::new(Duration::from_secs(5), seed);
            (0..5).map(|_| schedule.succeeded()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
