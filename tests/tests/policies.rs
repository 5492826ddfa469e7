//! How a service is started again, and what it is started with, from end to end.

use std::collections::BTreeMap;
use std::fs;

use lockstep_tests::{Lab, Service};

fn ended(lab: &Lab, after: u64) -> lockstep_tests::events::Event {
    lab.wait_event_after(after, "it ended", |event| event.is_of("Ended", "a"))
}

#[test]
fn a_service_that_ends_again_and_again_is_started_more_and_more_rarely() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a").args(&["--exit-after", "700"]))
        .start();
    let first = ended(&lab, 0);
    assert!(
        first
            .message
            .contains("exited with status 7 (started again in 1000 ms)"),
        "{first:?}"
    );
    let second = ended(&lab, first.seq);
    assert!(
        second.message.contains("(started again in 2000 ms)"),
        "{second:?}"
    );
    let third = ended(&lab, second.seq);
    assert!(third.message.contains("(started again in 4000 ms)"), "{third:?}");
    assert_ne!(
        first.instance, second.instance,
        "each start is an instance of its own"
    );
    let status = lab.status();
    let a = status.instance("a");
    assert_eq!((a.state.as_str(), a.restarts), ("dead", 2), "{a:?}");
}

#[test]
fn a_failure_is_followed_by_a_start_where_failures_are() {
    let lab = Lab::builder()
        .service(
            Service::acknowledged("a")
                .args(&["--exit-after", "700"])
                .restart("on-failure"),
        )
        .service(
            Service::acknowledged("b")
                .args(&["--exit-after", "700"])
                .restart("never"),
        )
        .start();
    let first = ended(&lab, 0);
    assert!(
        first
            .message
            .contains("exited with status 7 (started again in 1000 ms)"),
        "{first:?}"
    );
    let for_good = lab.wait_event("b ended", |event| event.is_of("Ended", "b"));
    assert_eq!(for_good.message, "exited with status 7");
    lab.wait_status("it was started again", |status| {
        status.instance("a").restarts == 1
    });
    let status = lab.status();
    let b = status.instance("b");
    assert_eq!(
        (b.state.as_str(), b.restarts, b.error.as_deref()),
        ("dead", 0, Some("exited with status 7"))
    );
}

#[test]
fn a_service_has_the_values_that_the_settings_say_over_clean_ones() {
    let lab = Lab::builder()
        .service(
            Service::acknowledged("a")
                .env("PATH", "/opt/bin:/bin")
                .env("LANG", "de_DE.UTF-8")
                .env("TEXT", "a b=c 'd' \\\"e\\\" $HOME"),
        )
        .service(Service::acknowledged("b"))
        .start();
    let values = |service: &str| -> BTreeMap<String, String> {
        let bytes = fs::read(format!("/proc/{}/environ", lab.process(service).pid)).expect("it lives");
        let text = String::from_utf8(bytes).expect("all of it is ours");
        let pairs = text.split('\0').filter_map(|entry| entry.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let (a, b) = (values("a"), values("b"));
    assert_eq!(
        (a["PATH"].as_str(), a["LANG"].as_str()),
        ("/opt/bin:/bin", "de_DE.UTF-8")
    );
    // Nothing of it is read by a shell.
    assert!(
        a["TEXT"].ends_with("$HOME") && a["TEXT"].starts_with("a b=c 'd' "),
        "{a:?}"
    );
    assert_eq!(
        b["PATH"],
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    assert_eq!(b["LANG"], "C.UTF-8");
    for (name, of) in [("a", &a), ("b", &b)] {
        assert_eq!(of["LOCKSTEP_CONFIG"], lab.volume().to_string_lossy());
        let folder = lab.instance_folder(name);
        assert_eq!(
            of["LOCKSTEP_STATUS_FILE"],
            folder.join("status.json").to_string_lossy()
        );
        assert_eq!(
            of["LOCKSTEP_OFFER_FILE"],
            folder.join("offer.json").to_string_lossy()
        );
        assert_eq!(
            Some(&of["LOCKSTEP_INSTANCE"]),
            lab.status().instance(name).id.as_ref()
        );
    }
}
