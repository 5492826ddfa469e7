//! Commands that the settings name: run with a time limit, as a whole tree, their output bounded.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// As much of a command's output is shown; the rest is read and dropped, so that it never blocks.
const OUTPUT_SHOWN: usize = 4096;

/// How a command did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsuccessful {
    /// It ended with another status than 0: what it said.
    Said(String),
    /// It could not be run to its end: why.
    NotRun(String),
}

/// Runs a command to its end, or kills it with all that it started when its time is up.
pub(super) async fn run(mut command: Command, within: Duration) -> Result<(), Unsuccessful> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let not_run = |error: &dyn std::fmt::Display| Unsuccessful::NotRun(format!("{program}: {error}"));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what it started ends with it when its time is up.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| not_run(&error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Declared after the child, and so dropped before it: its number is still its own then.
    let mut tree = Tree(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
    let whole = async {
        // Reaped only once nobody holds its output any more: until then its number names it and its group.
        let (out, err) = tokio::join!(shown(stdout), shown(stderr));
        (child.wait().await, out, err)
    };
    let (status, out, err) = tokio::time::timeout(within, whole)
        .await
        .map_err(|_| not_run(&format_args!("no end within {within:?}")))?;
    tree.0 = None;
    let status = status.map_err(|error| not_run(&error))?;
    if status.success() {
        return Ok(());
    }
    let text = if err.trim().is_empty() { out } else { err };
    let text = text.trim();
    Err(Unsuccessful::Said(if text.is_empty() {
        format!("{status}, without a word")
    } else {
        text.to_owned()
    }))
}

/// A command that was not reaped, with all that it started: dropping this kills them.
struct Tree(Option<Pid>);

impl Drop for Tree {
    fn drop(&mut self) {
        let Some(leader) = self.0 else { return };
        // Some have left its group. Whoever is stopped reaps nobody, so no number found here is given to another
        // process meanwhile. Whoever has ended is as good, here and below.
        let mut all = vec![leader];
        let mut looked = 0;
        while let Some(&pid) = all.get(looked) {
            let _ = kill_process(pid, Signal::STOP);
            all.extend(children(pid));
            looked += 1;
        }
        let _ = kill_process_group(leader, Signal::KILL);
        for pid in all {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The children of all threads of a process.
fn children(pid: Pid) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|number| Pid::from_raw(number.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}

async fn shown(pipe: Option<impl AsyncReadExt + Unpin>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    // An error ends the output like its end does.
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        let room = OUTPUT_SHOWN.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn shell(script: &str, within: Duration) -> Result<(), Unsuccessful> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, within).await
    }

    #[tokio::test]
    async fn what_it_says_is_shown_up_to_a_bound() {
        assert_eq!(shell("echo fine", LONG).await, Ok(()));
        let said = |text: &str| Err(Unsuccessful::Said(text.to_owned()));
        assert_eq!(shell("echo out; echo err >&2; exit 3", LONG).await, said("err"));
        assert_eq!(shell("echo out; exit 3", LONG).await, said("out"));
        assert_eq!(
            shell("exit 3", LONG).await,
            said("exit status: 3, without a word")
        );
        let flood = shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 3", LONG).await;
        assert_eq!(flood, said(&"x".repeat(OUTPUT_SHOWN)));
    }

    #[tokio::test]
    async fn one_that_cannot_be_run_says_why() {
        let error = run(Command::new("/no/such/program"), LONG).await;
        assert!(
            matches!(&error, Err(Unsuccessful::NotRun(why)) if why.starts_with("/no/such/program: ")),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("held");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        // One child stays in the group, one leaves it: both hold the pipe open as long as they live.
        let script = format!(
            "exec 9<>{0}; sleep 600 & setsid sleep 600 & echo ready >&9; sleep 600",
            pipe.display()
        );
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut reader = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(&pipe)
            .unwrap();
        let error = shell(&script, Duration::from_secs(1)).await;
        assert_eq!(
            error,
            Err(Unsuccessful::NotRun("sh: no end within 1s".to_owned()))
        );
        // The pipe ends when the last who holds it has ended.
        let ended = tokio::time::timeout(LONG, async {
            let mut text = String::new();
            while std::io::Read::read_to_string(&mut reader, &mut text).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            text
        });
        assert_eq!(ended.await.as_deref(), Ok("ready\n"), "all have ended");
    }
}
