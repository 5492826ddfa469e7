//! Managers that end a process which is silent for too long: a pause must be over long before that.

use std::path::Path;
use std::time::Duration;

/// Why a pause may be too long for an instance: its watchdog bites, by systemd's `WATCHDOG_USEC` in its environment, and
/// half of that is how often it has to be heard.
pub(crate) fn bites_within(pid: u32, limit: Duration) -> Option<String> {
    let environment = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).ok()?;
    bites(&environment, pid, limit)
}

fn bites(environment: &[u8], pid: u32, limit: Duration) -> Option<String> {
    let value = |name: &str| {
        let entries = environment.split(|byte| *byte == 0);
        let mut values = entries.filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='));
        values.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let watchdog = Duration::from_micros(value("WATCHDOG_USEC")?.parse().ok().filter(|us| *us > 0)?);
    // It is another process that is watched.
    if value("WATCHDOG_PID").is_some_and(|watched| watched.parse() != Ok(pid)) {
        return None;
    }
    (limit > watchdog / 2).then(|| {
        format!(
            "it is watched: its manager ends it when it is silent for {watchdog:?} (WATCHDOG_USEC), and a pause may last \
             {limit:?}; set `[rollout] pause_limit` to at most {:?}, or a longer watchdog",
            watchdog / 2
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_longer_than_half_a_watchdog_is_too_long() {
        let why = |environment: &str, limit| {
            bites(environment.as_bytes(), 7, Duration::from_millis(limit)).is_some()
        };
        let second = "A=b\0WATCHDOG_USEC=1000000\0WATCHDOG_PID=7\0";
        assert!(!why(second, 500));
        assert!(why(second, 501));
        assert!(why("WATCHDOG_USEC=1000000", 600));
        assert!(!why("WATCHDOG_USEC=1000000\0WATCHDOG_PID=8\0", 600));
        assert!(!why("WATCHDOG_USEC=0\0", 600));
        assert!(!why("A=b\0", 600));
    }
}
