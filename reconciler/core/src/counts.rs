//! How far something long has come, for whoever shows it while another thread is at it. Nothing is decided by it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Things done, of so many if that is known, and their bytes.
#[derive(Debug, Default)]
pub struct Counts {
    done: AtomicU64,
    all: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    /// Something begins; `all` is 0 where it is not known how much there is to do.
    pub fn begin(&self, all: u64) {
        self.set(0, all, 0);
    }

    /// Some of it is done.
    pub fn add(&self, done: u64, bytes: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much of it is done.
    pub fn set(&self, done: u64, all: u64, bytes: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        match (load(&self.done), load(&self.all)) {
            (done, 0) => write!(f, "{done}")?,
            (done, all) => write!(f, "{done} of {all}")?,
        }
        match load(&self.bytes) {
            0 => Ok(()),
            bytes if bytes < 1 << 20 => write!(f, ", {} KiB", bytes.div_ceil(1 << 10)),
            bytes => write!(f, ", {} MiB", bytes >> 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let counts = Counts::default();
        assert_eq!(counts.to_string(), "0");
        counts.add(3, 0);
        assert_eq!(counts.to_string(), "3");
        counts.begin(10);
        counts.add(2, 1500);
        assert_eq!(counts.to_string(), "2 of 10, 2 KiB");
        counts.set(10, 10, 5 << 20);
        assert_eq!(counts.to_string(), "10 of 10, 5 MiB");
    }
}
