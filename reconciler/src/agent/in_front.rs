//! Processes that stand in front of the one that serves: a shell, `uv run` and the like.
//!
//! A reload signal goes to the first process of a service. A shell does not pass it on; others do, and then it is the
//! process behind them that has to handle it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Shells: a signal stays with them.
const SHELLS: [&str; 8] = ["ash", "bash", "busybox", "dash", "fish", "ksh", "sh", "zsh"];
/// Programs that stay in front of another and pass signals on to it.
const FORWARDERS: [&str; 9] = [
    "catatonit",
    "dumb-init",
    "npm",
    "runuser",
    "su",
    "sudo",
    "timeout",
    "tini",
    "uv",
];

/// What stands there, if it is known to stand in front of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InFront {
    /// A shell, by the name of its file.
    Shell(String),
    /// A program that passes signals on to its only child.
    Forwarder {
        /// The name of its file.
        name: String,
        /// The child.
        child: u32,
    },
}

/// What this process is, in front of others.
pub(crate) fn in_front(pid: u32) -> Option<InFront> {
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = executable.file_name().and_then(OsStr::to_str)?.to_owned();
    if SHELLS.contains(&name.as_str()) {
        return Some(InFront::Shell(name));
    }
    if !FORWARDERS.contains(&name.as_str()) {
        return None;
    }
    match children(pid)[..] {
        [child] => Some(InFront::Forwarder { name, child }),
        _ => None,
    }
}

/// What to do where a signal would kill a shell.
pub(crate) fn hint(shell: &str) -> String {
    format!(
        "it is a shell ({shell}), which passes no signal on. If the service runs behind it, write `exec` in front of the \
         program (`exec ./service`), or name the program itself in `command`; a script that is the service itself \
         sets a `trap`"
    )
}

/// Why a signal that the first process survives would not be survived by the one behind it.
pub(crate) fn would_kill_behind(pid: u32, signal: &str) -> Option<String> {
    match in_front(pid)? {
        InFront::Shell(_) => None,
        InFront::Forwarder { name, child } => match lockstep_guard::would_kill(child, signal) {
            Some(true) => {
                let behind = fs::read_link(format!("/proc/{child}/exe")).unwrap_or_default();
                let behind = behind
                    .file_name()
                    .unwrap_or(Path::new("?").as_os_str())
                    .to_string_lossy()
                    .into_owned();
                Some(format!(
                    "{name} passes {signal} on to process {child} ({behind}), which it would kill: it is neither caught, \
                     ignored nor blocked there. Set the handler up first thing at start"
                ))
            }
            Some(false) | None => None,
        },
    }
}

/// The children of all threads of a process.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|number| number.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_shell_is_known_and_what_a_program_passes_signals_on_to() {
        // It says so once its child is there, and waits for it. What runs behind has no input but what it is given by
        // another number than 0: it would end at once.
        let script = "exec 3<&0; read x <&3 & echo ready; wait";
        let shell = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut shell = Ended(shell.unwrap());
        let mut word = [0; 6];
        let mut said = shell.0.stdout.take().unwrap();
        std::io::Read::read_exact(&mut said, &mut word).unwrap();
        assert!(matches!(in_front(shell.0.id()), Some(InFront::Shell(_))));
        assert_eq!(in_front(std::process::id()), None);

        let folder = tempfile::tempdir().unwrap();
        let timeout = folder.path().join("timeout");
        fs::copy("/usr/bin/timeout", &timeout).unwrap();
        let front = Ended(
            Command::new(&timeout)
                .args(["60", "sleep", "60"])
                .spawn()
                .unwrap(),
        );
        let began = std::time::Instant::now();
        let why = loop {
            if let Some(why) = would_kill_behind(front.0.id(), "SIGUSR1")
                && why.contains("(sleep)")
            {
                break why;
            }
            assert!(
                began.elapsed() < std::time::Duration::from_secs(10),
                "its child is never seen"
            );
            std::thread::yield_now();
        };
        assert!(why.starts_with("timeout passes SIGUSR1 on to process"), "{why}");
        let Some(InFront::Forwarder { child, .. }) = in_front(front.0.id()) else {
            panic!("it has a child");
        };
        let child = rustix::process::Pid::from_raw(child.cast_signed()).unwrap();
        rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    }
}
