//! How long to wait before the next request, so that no more than so many are sent in a second.
//!
//! A function of moments, which the caller brings. The rate is asked at each request, so a changed one counts at once.

use std::time::{Duration, Instant};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// When the last request was sent.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// When the next request may be sent, at so many in a second: evenly spaced, so that no second of the broker's
    /// counting ever holds more.
    pub(crate) fn due(&self, rate: u32, now: Instant) -> Instant {
        let gap = Duration::from_nanos(SECOND.div_ceil(rate.max(1).into()));
        self.last.map_or(now, |last| now.max(last + gap))
    }

    /// A request is sent now.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_goes_at_once_and_a_new_rate_counts_for_the_next() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        assert_eq!(pace.due(1, begin), begin);
        pace.sent(begin);
        let ms = |ms: u64| begin + Duration::from_millis(ms);
        assert_eq!(pace.due(1, begin), ms(1000));
        assert_eq!(pace.due(50, begin), ms(20));
        assert_eq!(pace.due(50, ms(30)), ms(30), "who was idle need not wait");
    }

    proptest! {
        #[test]
        fn no_second_holds_more_than_the_rate(rate in 1_u32..=50, idle in prop::collection::vec(0_u64..200, 1..200)) {
            let (mut pace, mut now) = (Pace::default(), Instant::now());
            let mut sent = Vec::new();
            for idle in idle {
                now = pace.due(rate, now + Duration::from_millis(idle));
                pace.sent(now);
                sent.push(now);
            }
            for (at, first) in sent.iter().enumerate() {
                let within = sent[at..].iter().take_while(|other| **other - *first < Duration::from_secs(1));
                prop_assert!(within.count() <= usize::try_from(rate).unwrap());
            }
        }
    }
}
