//! Whether and when a service that ended by itself is started again. Pure.

use crate::wire::{Exit, RestartPolicy};
use std::time::Duration;

/// The wait before the first start after an end; each further one doubles it.
pub(crate) const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// The longest wait.
pub(crate) const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// A process that lived this long begins with the first wait again.
pub(crate) const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// How often in a row a service ended soon after its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BackOff {
    ends: u32,
}

impl BackOff {
    /// Counts an end after such a life, and says how long to wait now.
    pub(crate) fn next(&mut self, lived: Duration) -> Duration {
        if lived >= FORGIVEN_AFTER {
            self.ends = 0;
        }
        let wait = FIRST_BACK_OFF
            .saturating_mul(1 << self.ends.min(16))
            .min(LONGEST_BACK_OFF);
        self.ends = self.ends.saturating_add(1);
        wait
    }
}

/// Whether the policy starts it again after such an end. An unknown end counts as a failure.
pub(crate) fn is_started_again(policy: RestartPolicy, exit: &Exit) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => *exit != Exit::Code(0),
        RestartPolicy::Never => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..9).map(|_| back_off.next(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for _ in 0..100 {
            assert_eq!(back_off.next(Duration::from_secs(59)), LONGEST_BACK_OFF);
        }
    }

    #[test]
    fn a_life_of_a_minute_is_forgiven() {
        let mut back_off = BackOff::default();
        for _ in 0..5 {
            back_off.next(Duration::ZERO);
        }
        assert_eq!(back_off.next(FORGIVEN_AFTER), FIRST_BACK_OFF);
        assert_eq!(back_off.next(Duration::ZERO), FIRST_BACK_OFF * 2);
    }

    #[test]
    fn the_policy_decides_by_the_kind_of_end() {
        let exits = [
            Exit::Code(0),
            Exit::Code(3),
            Exit::Signal("SIGKILL".into()),
            Exit::Unknown,
        ];
        let decide = |policy| exits.each_ref().map(|exit| is_started_again(policy, exit));
        assert_eq!(decide(RestartPolicy::Always), [true, true, true, true]);
        assert_eq!(decide(RestartPolicy::OnFailure), [false, true, true, true]);
        assert_eq!(decide(RestartPolicy::Never), [false, false, false, false]);
    }
}
