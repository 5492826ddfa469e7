//! At most so many at one time, where the number may change while some are at work.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Counts who is at work.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    working: Mutex<u32>,
    /// Rung once for each that leaves.
    left: Notify,
}

/// Somebody at work; leaves when dropped.
#[must_use = "whoever drops it has left"]
#[derive(Debug)]
pub(crate) struct Working<'a>(&'a Limit);

impl Limit {
    /// Waits until fewer than `most()` are at work. The limit is asked again at each look, so a new one counts.
    pub(crate) async fn enter(&self, most: impl Fn() -> u32) -> Working<'_> {
        loop {
            // Registered before the look: whoever leaves in between is not missed.
            let left = self.left.notified();
            if let Some(working) = self.try_enter(most()) {
                // A raised limit has room for more than one, and one bell rings for one.
                self.left.notify_one();
                return working;
            }
            left.await;
        }
    }

    fn try_enter(&self, most: u32) -> Option<Working<'_>> {
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        (*working < most).then(|| {
            *working += 1;
            Working(self)
        })
    }

    /// The limit has changed: those who wait look again.
    pub(crate) fn changed(&self) {
        self.left.notify_one();
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        *self.0.working.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_finds_it_full_waits_until_somebody_leaves() {
        let limit = Limit::default();
        let Poll::Ready(first) = poll(&mut Box::pin(limit.enter(|| 1))) else {
            panic!("there was room")
        };
        let mut second = Box::pin(limit.enter(|| 1));
        assert!(poll(&mut second).is_pending());
        drop(first);
        assert!(poll(&mut second).is_ready());
    }

    #[test]
    fn a_raised_limit_lets_all_in_who_fit_and_a_lowered_one_waits_for_enough_to_leave() {
        let limit = Limit::default();
        let most = AtomicU32::new(1);
        let enter = || Box::pin(limit.enter(|| most.load(Ordering::SeqCst)));
        let Poll::Ready(first) = poll(&mut enter()) else {
            panic!("there was room")
        };
        let (mut second, mut third, mut fourth) = (enter(), enter(), enter());
        for waiting in [&mut second, &mut third, &mut fourth] {
            assert!(poll(waiting).is_pending());
        }

        most.store(3, Ordering::SeqCst);
        limit.changed();
        let Poll::Ready(second) = poll(&mut second) else {
            panic!("the second fits")
        };
        let Poll::Ready(third) = poll(&mut third) else {
            panic!("the third fits")
        };
        assert!(poll(&mut fourth).is_pending());

        most.store(1, Ordering::SeqCst);
        limit.changed();
        drop(first);
        assert!(poll(&mut fourth).is_pending());
        drop(second);
        assert!(poll(&mut fourth).is_pending());
        drop(third);
        assert!(poll(&mut fourth).is_ready());
    }
}
