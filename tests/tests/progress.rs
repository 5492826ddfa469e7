//! What takes long says how far it has come: in the log, and on the terminal of whoever waits.

use std::fs;
use std::process::{Command, Stdio};

use lockstep_source::testing::Relay;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Remote, Service};

/// A lab whose repository is reached through a relay.
fn lab() -> (Lab, Relay) {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .remote(Remote::Daemon)
        .unstarted()
        .start();
    let settings = fs::read_to_string(lab.settings()).expect("they are there");
    let server = settings
        .split("git://")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let server = server.expect("the URL has an address").to_owned();
    let relay = Relay::to(server.parse().expect("it is one"));
    let settings = settings.replace(&server, &relay.address().to_string());
    fs::write(lab.settings(), settings).expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    (lab, relay)
}

#[test]
fn a_fetch_that_takes_long_is_told_with_what_has_come_and_whoever_waits_sees_it() {
    let (lab, relay) = lab();
    let log = || fs::read_to_string(lab.root().join("run.log")).expect("it is there");
    assert!(!log().contains("so far"), "what is fast says nothing");

    // Nothing that git can make smaller, beside what is published.
    let mut random = fastrand::Rng::with_seed(7);
    let large: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(1 << 20).collect();
    lab.origin().write_file("large", large);
    relay.hold_after(64 * 1024);
    let revision = lab.set(&[("a", "value = 2")]);
    eventually("the log says that it is fetching", || {
        let log = log();
        let line = log.lines().find(|line| line.contains("fetching from git://"));
        line.is_some_and(|line| line.contains(" of ") && line.contains("KiB") && line.ends_with("s so far"))
    });

    let seen = lab.root().join("seen");
    let command = format!(
        "{}/bin/lockstep wait --settings {}",
        lab.root().display(),
        lab.settings().display()
    );
    let terminal = Command::new("script")
        .args(["-q", "-e", "-f", "-c", &command])
        .arg(&seen)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let text = || String::from_utf8_lossy(&fs::read(&seen).unwrap_or_default()).into_owned();
    let terminal = match terminal {
        Ok(terminal) => Some(terminal),
        Err(error) => {
            eprintln!("no terminal was looked at: script cannot be run: {error}");
            None
        }
    };
    if terminal.is_some() {
        eventually("the terminal says that it waits", || {
            text().contains("waiting until it is live: ")
        });
    }
    relay.let_go();
    lab.wait_settled(&revision);
    if let Some(mut terminal) = terminal {
        let ended = terminal.wait().expect("it is our child");
        assert!(ended.success(), "{}", text());
        assert!(text().contains(&format!("{revision} is live")), "{}", text());
    }
    assert!(log().contains("done, "), "{}", log());
}
