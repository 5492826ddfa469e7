//! At most so many at one time, and as many again who wait; both numbers may change while some are at work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts who is at work and who waits.
#[derive(Debug, Default)]
pub(crate) struct Limit {
    places: Mutex<Places>,
    /// Rung once for each that leaves.
    left: Notify,
}

#[derive(Debug, Default)]
struct Places {
    working: u32,
    waiting: u32,
}

/// Somebody at work; leaves when dropped.
#[must_use = "whoever drops it has left"]
#[derive(Debug)]
pub(crate) struct Working(Arc<Limit>);

/// Somebody who waits; goes when dropped, also when nobody is interested any more.
struct Waiting<'a>(&'a Limit);

/// All places are taken, those to wait in as well.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0} calls are at work and as many wait (scanner.max_concurrency)")]
pub(crate) struct Full(u32);

impl Limit {
    /// Waits until fewer than `most()` are at work. The limit is asked again at each look, so a new one counts.
    pub(crate) async fn enter(self: &Arc<Self>, most: impl Fn() -> u32) -> Result<Working, Full> {
        let Some(_waiting) = self.wait(most())? else {
            return Ok(Working(Arc::clone(self)));
        };
        loop {
            // Registered before the look: whoever leaves in between is not missed.
            let left = self.left.notified();
            if self.places().take(most()) {
                // A raised limit has room for more than one, and one bell rings for one.
                self.left.notify_one();
                return Ok(Working(Arc::clone(self)));
            }
            left.await;
        }
    }

    /// A place to wait in; none if a place at work was free.
    fn wait(&self, most: u32) -> Result<Option<Waiting<'_>>, Full> {
        let mut places = self.places();
        if places.waiting == 0 && places.take(most) {
            return Ok(None);
        }
        if places.waiting >= most {
            return Err(Full(most));
        }
        places.waiting += 1;
        Ok(Some(Waiting(self)))
    }

    /// The limit has changed: those who wait look again.
    pub(crate) fn changed(&self) {
        self.left.notify_one();
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn take(&mut self, most: u32) -> bool {
        let free = self.working < most;
        self.working += u32::from(free);
        free
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.places().waiting -= 1;
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.places().working -= 1;
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
        let limit = Arc::new(Limit::default());
        let Poll::Ready(Ok(first)) = poll(&mut Box::pin(limit.enter(|| 1))) else {
            panic!("there was room")
        };
        let mut second = Box::pin(limit.enter(|| 1));
        assert!(poll(&mut second).is_pending());
        drop(first);
        assert!(poll(&mut second).is_ready());
    }

    #[test]
    fn as_many_wait_as_work_and_the_next_is_refused_until_one_goes() {
        let limit = Arc::new(Limit::default());
        let enter = || Box::pin(limit.enter(|| 1));
        let Poll::Ready(Ok(_first)) = poll(&mut enter()) else {
            panic!("there was room")
        };
        let mut second = enter();
        assert!(poll(&mut second).is_pending());
        let Poll::Ready(Err(full)) = poll(&mut enter()) else {
            panic!("there was no room")
        };
        assert_eq!(
            full.to_string(),
            "1 calls are at work and as many wait (scanner.max_concurrency)"
        );
        // Whoever waited is not interested any more: a caller's deadline has passed.
        drop(second);
        assert!(poll(&mut enter()).is_pending());
    }

    #[test]
    fn a_raised_limit_lets_all_in_who_fit_and_a_lowered_one_waits_for_enough_to_leave() {
        let limit = Arc::new(Limit::default());
        let most = AtomicU32::new(3);
        let enter = || Box::pin(limit.enter(|| most.load(Ordering::SeqCst)));
        let mut working = Vec::new();
        let mut waiting = vec![enter(), enter(), enter(), enter(), enter(), enter()];
        for one in &mut waiting[..3] {
            let Poll::Ready(Ok(one)) = poll(one) else {
                panic!("there was room")
            };
            working.push(one);
        }
        let mut waiting = waiting.split_off(3);
        for one in &mut waiting {
            assert!(poll(one).is_pending());
        }
        let mut come_in = |waiting: &mut Vec<_>| {
            let before = waiting.len();
            waiting.retain_mut(|one| match poll(one) {
                Poll::Ready(Ok(one)) => {
                    working.push(one);
                    false
                }
                Poll::Ready(Err(full)) => panic!("{full}"),
                Poll::Pending => true,
            });
            let came = before - waiting.len();
            (came, working.len())
        };

        most.store(5, Ordering::SeqCst);
        limit.changed();
        assert_eq!(come_in(&mut waiting), (2, 5));
        most.store(4, Ordering::SeqCst);
        limit.changed();
        assert_eq!(come_in(&mut waiting), (0, 5));
        working.pop();
        assert!(
            poll(&mut waiting[0]).is_pending(),
            "four are the limit, and four are at work"
        );
        working.pop();
        assert!(poll(&mut waiting[0]).is_ready());
    }
}
