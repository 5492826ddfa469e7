//! A lab whose repository is behind a server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Lab, Service};

/// A lab with one service, a web port and a first commit; its reconciler is not started yet.
#[must_use]
pub fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .settings("[web]\nlisten = \"{address}:8080\"")
        .source("interval = \"200ms\"\ntimeout = \"2s\"")
        .unstarted()
        .start()
}

/// Follows a URL instead of the path, with more lines in `[source]`.
///
/// # Panics
/// When that is not so, or cannot be done.
pub fn follow(lab: &Lab, url: &str, lines: &str) {
    let text = fs::read_to_string(lab.settings()).expect("they are there");
    let own = text.lines().find(|line| line.starts_with("url = "));
    let own = own.expect("there is a URL");
    let followed = text.replacen(own, &format!("url = {url:?}\n{lines}"), 1);
    fs::write(lab.settings(), followed).expect("the lab is ours");
}

/// Starts the reconciler, and waits until the first commit is live.
///
/// # Panics
/// When that is not so, or cannot be done.
pub fn start(lab: &Lab) {
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
}

/// Writes a file into the lab's folder that only its owner may read.
///
/// # Panics
/// When that is not so, or cannot be done.
pub fn secret(lab: &Lab, name: &str, contents: &str) -> PathBuf {
    let path = lab.root().join(name);
    // Beside and renamed, as whoever rotates secrets does: a half-written one is never read.
    let beside = lab.root().join(format!("{name}.new"));
    fs::write(&beside, contents).expect("the lab is ours");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::rename(&beside, &path).expect("the lab is ours");
    path
}

/// Waits until the source fails for a reason, and asserts that the status, the events, `sync` and the metrics say
/// so while what is live stays.
///
/// # Panics
/// When that is not so, or cannot be done.
#[track_caller]
pub fn assert_fails(lab: &Lab, code: &str, words: &[&str]) {
    let live = lab.status().live;
    let begins = format!("{code}: ");
    let says = |error: &String| error.starts_with(&begins) && words.iter().all(|word| error.contains(word));
    let status = lab.wait_status(
        &format!("the source fails by {code} and says {words:?}"),
        |status| status.source.error.as_ref().is_some_and(says),
    );
    let error = status.source.error.expect("it was waited for");
    lab.wait_event(&format!("SourceFailed by {code}"), |event| {
        event.kind == "SourceFailed" && event.message == error
    });
    let said = lab.lockstep(&["sync"]).failed(1);
    assert!(said.contains(code), "{said}");
    let metric = format!("lockstep_source_failing{{reason=\"{code}\"}} 1");
    let metrics = metrics(lab);
    assert!(metrics.contains(&metric), "{metric} in\n{metrics}");
    assert_eq!(lab.status().live, live, "what is live stays");
}

/// The same after something changed at the server, which nobody here can know of: a look is asked for.
///
/// # Panics
/// When that is not so, or cannot be done.
#[track_caller]
pub fn assert_fails_when_looked(lab: &Lab, code: &str, words: &[&str]) {
    lab.lockstep(&["sync"]).failed(1);
    assert_fails(lab, code, words);
}

/// Asserts that the source answers again by itself, and that the next commit goes live.
///
/// # Panics
/// When that is not so, or cannot be done.
#[track_caller]
pub fn assert_mended(lab: &Lab, value: i64) {
    let revision = lab.set(&[("a", &format!("value = {value}"))]);
    lab.wait_settled(&revision);
    assert_eq!(lab.value("a"), value);
    assert_eq!(lab.status().source.error, None);
    assert!(
        !metrics(lab).contains("lockstep_source_failing{"),
        "nothing fails"
    );
}

fn metrics(lab: &Lab) -> String {
    let mut stream = TcpStream::connect((lab.address(), 8080)).expect("the web port is open");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// The folder that the servers serve: the lab's, with `origin.git` in it.
#[must_use]
pub fn served(lab: &Lab) -> &Path {
    lab.root()
}
