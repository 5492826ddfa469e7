//! Processes as a test sees them, from outside.

use std::fs;
use std::process::{Command, Stdio};

/// All pids there are.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

pub fn command_of(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

pub(super) fn alive_with(entry: &str) -> Vec<u32> {
    pids().into_iter().filter(|pid| carries(*pid, entry)).collect()
}

pub(super) fn carries(pid: u32, entry: &str) -> bool {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .any(|variable| variable == entry.as_bytes())
}

/// The letter that `/proc/PID/stat` gives, none for a process that is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// A field of `/proc/PID/stat`, counted as proc(5) does.
fn stat_field(pid: u32, field: usize) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..]
        .split(' ')
        .nth(field - 3)?
        .parse()
        .ok()
}

/// The session that a process is in.
pub fn session(pid: u32) -> Option<u32> {
    stat_field(pid, 6)
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    stat_field(pid, 4)
}

pub fn is_gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// Sends a signal to a process.
pub fn kill(pid: u32, signal: &str) {
    send(&pid.to_string(), signal);
}

pub(super) fn kill_group(group: u32) {
    send(&format!("-{group}"), "KILL");
}

fn send(to: &str, signal: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{signal}"), "--", to])
        .stderr(Stdio::null())
        .status();
}
