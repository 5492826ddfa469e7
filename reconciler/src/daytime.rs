//! A timer by the time of day, for what is to happen when the clock on the wall says so.
//!
//! Timers of a runtime count time that passes: after the machine slept, or somebody set its clock, they ring at the
//! wrong time of day. This one is the kernel's: it rings when the clock reaches the time, also right after a sleep, and
//! it rings when the clock is set, so that whoever waits looks at it anew.

use std::io;
use std::os::fd::OwnedFd;

use jiff::Timestamp;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The timer.
#[derive(Debug)]
pub struct DayTimer {
    timer: AsyncFd<OwnedFd>,
    at: Option<Timestamp>,
}

impl DayTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        // SAFETY: the descriptor is owned by what owns the registration: it stays the same, and open, as long as that.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, at: None })
    }

    /// Sets it: it rings once, when the clock shows this time or a later one; at once if it does already.
    pub fn set(&mut self, at: Option<Timestamp>) {
        if self.at == at {
            return;
        }
        let value = at.map_or(
            Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            |at| Timespec {
                tv_sec: at.as_second(),
                tv_nsec: at.subsec_nanosecond().max(0).into(),
            },
        );
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        match timerfd_settime(self.timer.get_ref(), flags, &once) {
            Ok(_) => self.at = at,
            Err(error) => {
                tracing::error!(%error, "the timer by the time of day cannot be set: what is held may be held longer");
            }
        }
    }

    /// Waits until it rings, by its time or because the clock was set. It has to be set again then.
    pub async fn rung(&mut self) {
        loop {
            let Ok(mut ready) = self.timer.readable().await else {
                // The runtime ends.
                return std::future::pending().await;
            };
            let read =
                ready.try_io(|timer| rustix::io::read(timer.get_ref(), &mut [0; 8]).map_err(io::Error::from));
            match read {
                Ok(Err(error)) if Errno::from_io_error(&error) == Some(Errno::CANCELED) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "the timer by the time of day cannot be read");
                    return std::future::pending().await;
                }
                Ok(Ok(_)) => {}
                // Somebody else was meant.
                Err(_) => continue,
            }
            self.at = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_when_the_clock_reaches_the_time_and_not_before() {
        let mut timer = DayTimer::new().unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(150)] {
            let at = Timestamp::now() + wait;
            timer.set(Some(at));
            timer.rung().await;
            let now = Timestamp::now();
            assert!(now >= at, "{now} is before {at}");
        }
        // What is over rings at once; what was unset does not ring at all.
        timer.set(Some(Timestamp::now() - Duration::from_secs(60)));
        timer.rung().await;
        timer.set(Some(Timestamp::now() + Duration::from_millis(50)));
        timer.set(None);
        let rings = tokio::time::timeout(Duration::from_millis(200), timer.rung());
        assert!(rings.await.is_err());
    }
}
