//! `check` commands: a dry run of a service's own on the candidate.

use std::process::Stdio;
use std::time::Duration;

use lockstep_core::rollout::CheckVerdict;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// As much of a check's output is shown; the rest is read and dropped, so that it never blocks.
const OUTPUT_SHOWN: usize = 4096;

/// Runs a check to its end, or kills it when its time is up.
pub(super) async fn run(command: &[String], within: Duration) -> CheckVerdict {
    let Some((program, arguments)) = command.split_first() else {
        return CheckVerdict::Unknown("its command is empty".to_owned());
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what it started ends with it when its time is up.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return CheckVerdict::Unknown(format!("{program}: {error}")),
    };
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async { tokio::join!(child.wait(), shown(stdout), shown(stderr)) };
    match tokio::time::timeout(within, whole).await {
        Err(_) => {
            if let Some(group) = group {
                // One that ended meanwhile is as good.
                let _ = kill_process_group(group, Signal::KILL);
            }
            CheckVerdict::Unknown(format!("{program}: no end within {within:?}"))
        }
        Ok((Err(error), _, _)) => CheckVerdict::Unknown(format!("{program}: {error}")),
        Ok((Ok(status), _, _)) if status.success() => CheckVerdict::Passed,
        Ok((Ok(status), out, err)) => {
            let text = if err.trim().is_empty() { out } else { err };
            let text = text.trim();
            CheckVerdict::Refused(if text.is_empty() {
                format!("{status}, without a word")
            } else {
                text.to_owned()
            })
        }
    }
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
