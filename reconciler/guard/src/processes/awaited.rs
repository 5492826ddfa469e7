//! What a thread awaits by `sigwait` or `sigtimedwait`.
//!
//! For as long as a thread waits that way, the kernel takes the awaited signals out of the blocked set that
//! `/proc` shows of it. They do not kill all the same, so whoever judges by that set has to add them. In a stopped
//! thread the wait was interrupted, and its set is whole.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// The signals that this thread awaits at the moment; none when it does anything else, or is gone.
pub(crate) fn by(pid: u32, thread: u32) -> u64 {
    let folder = format!("/proc/{pid}/task/{thread}");
    match fs::read_to_string(format!("{folder}/syscall")) {
        Ok(call) => address_of_set(&call)
            .and_then(|address| {
                let mut set = [0; size_of::<u64>()];
                let memory = File::open(format!("{folder}/mem")).ok()?;
                memory.read_exact_at(&mut set, address).ok()?;
                Some(u64::from_ne_bytes(set))
            })
            .unwrap_or_default(),
        // Where only a parent may look that closely (Yama) and another guard was the parent: which signals it
        // awaits is not seen then, that it awaits some is.
        Err(_) => fs::read_to_string(format!("{folder}/wchan")).map_or(0, |place| {
            if place.starts_with("do_sigtimedwait") {
                u64::MAX
            } else {
                0
            }
        }),
    }
}

/// Where the set lies that a waiting thread gave to the kernel, by the text of its `syscall` file.
fn address_of_set(call: &str) -> Option<u64> {
    let mut words = call.split_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let address = words.next()?.strip_prefix("0x")?;
    (number == libc::SYS_rt_sigtimedwait).then(|| u64::from_str_radix(address, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    #[test]
    fn only_a_wait_for_signals_names_a_set() {
        let wait = format!(
            "{} 0x7ffe6d472280 0x0 0x0 0x8 0x0 0x0 0x7f 0x7e\n",
            libc::SYS_rt_sigtimedwait
        );
        assert_eq!(address_of_set(&wait), Some(0x7ffe_6d47_2280));
        assert_eq!(address_of_set("0 0x3 0x7ffe 0x400 0x0 0x0 0x0 0x7f 0x7e\n"), None);
        assert_eq!(address_of_set("running\n"), None);
    }

    #[test]
    fn what_a_thread_awaits_is_seen() {
        let (tell, told) = mpsc::channel();
        // It waits until the test's process ends: nobody sends that signal.
        std::thread::spawn(move || {
            // SAFETY: the set is emptied before it is read, and lives as long as the calls.
            unsafe {
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGUSR2);
                libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
                let _ = tell.send(u32::try_from(libc::gettid()));
                let mut number = 0;
                libc::sigwait(&set, &mut number);
            }
        });
        let thread = told.recv().unwrap().unwrap();
        let wanted = 1 << (libc::SIGUSR2 - 1);
        let began = Instant::now();
        while by(std::process::id(), thread) & wanted == 0 {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "it is never seen to wait"
            );
            std::thread::yield_now();
        }
        assert_eq!(
            by(std::process::id(), std::process::id()) & wanted,
            0,
            "the main thread awaits nothing"
        );
    }
}
