//! Signals by name, and whether one would kill.
//!
//! Pure: what `/proc` said comes in as [`SignalSets`].

use rustix::process::Signal;

const NAMES: [(&str, Signal); 29] = [
    ("SIGHUP", Signal::HUP),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGILL", Signal::ILL),
    ("SIGTRAP", Signal::TRAP),
    ("SIGABRT", Signal::ABORT),
    ("SIGBUS", Signal::BUS),
    ("SIGFPE", Signal::FPE),
    ("SIGKILL", Signal::KILL),
    ("SIGUSR1", Signal::USR1),
    ("SIGSEGV", Signal::SEGV),
    ("SIGUSR2", Signal::USR2),
    ("SIGPIPE", Signal::PIPE),
    ("SIGALRM", Signal::ALARM),
    ("SIGTERM", Signal::TERM),
    ("SIGCHLD", Signal::CHILD),
    ("SIGCONT", Signal::CONT),
    ("SIGSTOP", Signal::STOP),
    ("SIGTSTP", Signal::TSTP),
    ("SIGTTIN", Signal::TTIN),
    ("SIGTTOU", Signal::TTOU),
    ("SIGURG", Signal::URG),
    ("SIGXCPU", Signal::XCPU),
    ("SIGXFSZ", Signal::XFSZ),
    ("SIGVTALRM", Signal::VTALARM),
    ("SIGPROF", Signal::PROF),
    ("SIGWINCH", Signal::WINCH),
    ("SIGIO", Signal::IO),
    ("SIGSYS", Signal::SYS),
];

/// The signal of this name, written as in `SIGUSR1`.
pub(crate) fn by_name(name: &str) -> Option<Signal> {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, signal)| *signal)
}

/// The name of a signal's number; real-time signals have none and keep the number.
pub(crate) fn name(number: i32) -> String {
    NAMES
        .iter()
        .find(|(_, signal)| signal.as_raw() == number)
        .map_or_else(|| format!("signal {number}"), |(name, _)| (*name).to_owned())
}

/// What a process does with each signal: bit `n - 1` stands for signal `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalSets {
    pub(crate) caught: u64,
    pub(crate) ignored: u64,
    /// Blocked in every thread: such a signal waits for `sigwait` or a signalfd.
    pub(crate) blocked: u64,
}

impl SignalSets {
    /// The sets in the text of `/proc/PID/status`. Its blocked set is the one thread's that was asked.
    pub(crate) fn parse(status: &[u8]) -> Option<Self> {
        Some(Self {
            caught: set(status, b"SigCgt:")?,
            ignored: set(status, b"SigIgn:")?,
            blocked: set(status, b"SigBlk:")?,
        })
    }

    /// The same process with one more of its threads taken into account.
    pub(crate) fn with_thread(self, thread: Self) -> Self {
        Self {
            blocked: self.blocked & thread.blocked,
            ..self
        }
    }

    /// Whether the process would die of this signal, or be stopped by it.
    ///
    /// Necessary, not sufficient: a handler may be there and still do no good.
    pub(crate) fn would_kill(self, signal: Signal) -> bool {
        // Neither can be caught; what the sets say of them means nothing.
        if signal == Signal::KILL || signal == Signal::STOP {
            return true;
        }
        // What the kernel does by default with these is nothing.
        if [Signal::CHILD, Signal::CONT, Signal::URG, Signal::WINCH].contains(&signal) {
            return false;
        }
        let bit = 1u64 << (signal.as_raw() - 1);
        (self.caught | self.ignored | self.blocked) & bit == 0
    }
}

fn set(status: &[u8], key: &[u8]) -> Option<u64> {
    let line = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(key))?;
    u64::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(caught: u64, ignored: u64, blocked: u64) -> SignalSets {
        SignalSets {
            caught,
            ignored,
            blocked,
        }
    }

    fn bit(signal: Signal) -> u64 {
        1 << (signal.as_raw() - 1)
    }

    #[test]
    fn the_sets_are_read_from_a_status_file() {
        let status = b"Name:\tx\nThreads:\t1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n\
            SigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180004602\nCapInh:\t0\n";
        assert_eq!(
            SignalSets::parse(status),
            Some(sets(0x1_8000_4602, 0x1000, 0x10000))
        );
        assert_eq!(SignalSets::parse(b"Name:\tx\n"), None);
    }

    #[test]
    fn a_signal_that_is_caught_ignored_or_blocked_in_all_threads_is_survived() {
        let usr1 = bit(Signal::USR1);
        assert!(sets(0, 0, 0).would_kill(Signal::USR1));
        assert!(!sets(usr1, 0, 0).would_kill(Signal::USR1));
        assert!(!sets(0, usr1, 0).would_kill(Signal::USR1));
        let one = sets(0, 0, usr1);
        assert!(!one.would_kill(Signal::USR1));
        assert!(
            one.with_thread(sets(0, 0, 0)).would_kill(Signal::USR1),
            "another thread takes it"
        );
        assert!(!one.with_thread(sets(0, 0, usr1)).would_kill(Signal::USR1));
    }

    #[test]
    fn what_the_kernel_ignores_by_default_never_kills_and_what_cannot_be_caught_always_does() {
        assert!(!sets(0, 0, 0).would_kill(Signal::WINCH));
        assert!(!sets(0, 0, 0).would_kill(Signal::CHILD));
        assert!(sets(u64::MAX, u64::MAX, u64::MAX).would_kill(Signal::KILL));
        assert!(sets(u64::MAX, u64::MAX, u64::MAX).would_kill(Signal::STOP));
        assert!(
            sets(0, 0, 0).would_kill(Signal::TSTP),
            "it would be stopped for ever"
        );
    }

    #[test]
    fn names_go_both_ways() {
        for (text, signal) in NAMES {
            assert_eq!(by_name(text), Some(signal));
            assert_eq!(name(signal.as_raw()), text);
        }
        assert_eq!(by_name("USR1"), None);
        assert_eq!(name(35), "signal 35");
    }
}
