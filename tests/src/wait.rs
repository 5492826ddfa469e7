//! Waiting for a condition with a deadline: the one place of this crate that sleeps.

use std::time::{Duration, Instant};

/// How long anything may take before a test fails: generous, since machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is an answer, and gives none when the time is up.
pub fn until<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if began.elapsed() >= within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Looks until it is so.
///
/// # Panics
/// With `what` when it is not so in time.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    assert!(
        until(PATIENCE, || so().then_some(())).is_some(),
        "not within {PATIENCE:?}: {what}"
    );
}

/// Looks for a while, and asserts that something stays so.
///
/// # Panics
/// With `what` as soon as it is not so.
pub fn stays(what: &str, time: Duration, mut so: impl FnMut() -> bool) {
    let broken = until(time, || (!so()).then_some(()));
    assert!(broken.is_none(), "it did not stay so for {time:?}: {what}");
}
