//! Windows: what is held while one is closed, what passes, and when what was held goes out.

use std::fs;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lockstep_tests::view::Held;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        // What wakes the reconciler is a push, or the window.
        .source("interval = \"1h\"")
        .start()
}

/// A deny window that began a few minutes ago and ends at this time.
fn deny_until(until: Timestamp) -> String {
    let start = Timestamp::now() - SignedDuration::from_mins(3);
    let start = TimeZone::UTC
        .to_datetime(start)
        .with()
        .second(0)
        .subsec_nanosecond(0)
        .build();
    let start = start.expect("a whole minute");
    let long = until - TimeZone::UTC.to_timestamp(start).expect("it is now");
    format!(
        "[[window]]\nname = \"market-hours\"\nkind = \"deny\"\ncron = \"{} {} * * *\"\nduration = \"{:.3}s\"\n",
        start.minute(),
        start.hour(),
        long.as_secs_f64()
    )
}

fn in_an_hour() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(1)
}

/// Has the running reconciler take these tables as well.
fn with_settings(lab: &Lab, tables: &str) {
    let text = fs::read_to_string(lab.settings()).expect("it was written");
    take(lab, &format!("{tables}\n{text}"));
}

/// Has the running reconciler take these settings.
fn take(lab: &Lab, settings: &str) {
    fs::write(lab.settings(), settings).expect("the lab's folder is writable");
    let before = lab.now();
    lab.reconciler().expect("it runs").signal(Signal::HUP);
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
}

fn held(lab: &Lab) -> Held {
    let status = lab.wait_status("something is held", |status| status.held.is_some());
    status.held.expect("it was waited for")
}

fn history(lab: &Lab) -> Vec<serde_json::Value> {
    let out = lab.lockstep(&["history", "--json"]).done();
    out.lines()
        .map(|line| serde_json::from_str(line).expect("an entry a line"))
        .collect()
}

#[test]
fn what_is_held_goes_out_at_the_moment_at_which_the_window_opens_the_newest_commit_alone() {
    let lab = lab();
    let until = Timestamp::now() + SignedDuration::from_secs(25);
    with_settings(&lab, &deny_until(until));
    let before = lab.services();
    let first = lab.set(&[("a", "value = 2")]);
    let told = lab.wait_kind("Held", &first);
    assert!(
        told.message
            .contains("the window \"market-hours\" keeps changes out"),
        "{}",
        told.message
    );
    let second = lab.set(&[("a", "value = 3")]);
    lab.wait_kind("Held", &second);
    let held = held(&lab);
    assert_eq!(held.revision, second);
    let off = (held.until.expect("its end is known") - until).as_secs_f64();
    assert!(off.abs() < 0.002, "{held:?}, not {until}");
    let went = lab.wait_kind("Preparing", &second);
    let late = went.at.duration_since(held.until.expect("its end is known"));
    assert!(
        !late.is_negative() && late < SignedDuration::from_secs(5),
        "it went out {late:#} after the window opened"
    );
    lab.wait_settled(&second);
    assert_eq!(lab.value("a"), 3);
    lab.assert_same_processes(&before);
    let events = lab.events();
    let of_first = |kind: &str| events.iter().filter(|event| event.is(kind, &first)).count();
    assert_eq!((of_first("Held"), of_first("Preparing")), (1, 0));
    let of_second = events.iter().filter(|event| event.is("Held", &second)).count();
    assert_eq!(of_second, 1, "told once");
}

#[test]
fn a_person_lets_the_held_revision_through_and_who_and_why_is_recorded() {
    let lab = lab();
    with_settings(&lab, &deny_until(in_an_hour()));
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_kind("Held", &first);
    lab.lockstep(&["sync", "--now"]).failed(2);
    let wrong = ["sync", "--now", "--reason", "why", "0123456789ab"];
    let said = lab.lockstep(&wrong).failed(1);
    assert!(said.contains("nothing is let through"), "{said}");
    assert!(lab.status().held.is_some());

    let now = ["sync", "--now", "--reason", "the stop is wrong", first.as_str()];
    lab.lockstep(&now).done();
    let told = lab.wait_kind("LetThrough", &first);
    assert!(told.message.contains("the stop is wrong"), "{}", told.message);
    lab.wait_settled(&first);
    assert_eq!(lab.value("a"), 2);
    let last = history(&lab).pop().expect("it settled");
    let passed = last["passed"].as_str().expect("who and why");
    let user = rustix::process::getuid().as_raw().to_string();
    assert!(
        passed.contains(&user) && passed.contains("let it through: the stop is wrong"),
        "{passed}"
    );
    let shown = lab.lockstep(&["history"]).done();
    assert!(shown.contains("passed a closed window:"), "{shown}");

    // That revision, and no other.
    let second = lab.set(&[("a", "value = 3")]);
    lab.wait_kind("Held", &second);
    assert_eq!(held(&lab).revision, second);
    assert_eq!(lab.value("a"), 2);
}

#[test]
fn a_restart_keeps_holding_and_a_way_back_passes() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    with_settings(&lab, &deny_until(in_an_hour()));
    let new = lab.set(&[("a", "value = 3")]);
    lab.wait_kind("Held", &new);
    lab.kill_reconciler();
    lab.start_reconciler();
    assert_eq!(held(&lab).revision, new);
    assert_eq!(lab.value("a"), 2);

    let back = lab.set(&[("a", "value = 1")]);
    lab.wait_settled(&back);
    let told = lab.wait_kind("Passed", &back);
    assert!(
        told.message.contains("its files settled before"),
        "{}",
        told.message
    );
    let new = lab.set(&[("a", "value = 4")]);
    lab.wait_kind("Held", &new);
    lab.lockstep(&["rollback"]).done();
    lab.wait_status("nothing is held", |status| status.held.is_none());
    assert_eq!(lab.value("a"), 1);
}

#[test]
fn a_change_of_emergency_keys_alone_passes_if_it_sets_them_to_what_is_listed() {
    let lab = lab();
    let emergency = "emergency = [{ key = \"config.toml#a.value\", to = [8, 9] }]\n";
    with_settings(&lab, &format!("{}{emergency}", deny_until(in_an_hour())));
    let more = lab.set(&[("a", "value = 9"), ("b", "value = 2")]);
    lab.wait_kind("Held", &more);
    // What is held and an emergency on top of it are one change.
    let both = lab.set(&[("a", "value = 8"), ("b", "value = 2")]);
    lab.wait_kind("Held", &both);
    let alone = lab.set(&[("a", "value = 9"), ("b", "value = 1")]);
    lab.wait_settled(&alone);
    let told = lab.wait_kind("Passed", &alone);
    assert!(told.message.contains("emergency keys alone"), "{}", told.message);
    let other = lab.set(&[("a", "value = 7")]);
    lab.wait_kind("Held", &other);
    assert_eq!(lab.value("a"), 9);
}

#[test]
fn outside_of_an_allow_window_a_change_is_held_and_the_plan_says_so() {
    let lab = lab();
    let plan = lab.lockstep(&["plan"]).done();
    assert!(!plan.contains("Goes out"), "no windows, no word of them: {plan}");
    let later = TimeZone::UTC.to_datetime(Timestamp::now() + SignedDuration::from_hours(5));
    let allow = format!(
        "[[window]]\nname = \"evening\"\nkind = \"allow\"\ncron = \"0 {} * * *\"\nduration = \"1h\"\n",
        later.hour()
    );
    with_settings(&lab, &allow);
    let new = lab.set(&[("a", "value = 2")]);
    let told = lab.wait_kind("Held", &new);
    assert!(
        told.message
            .contains("changes go out only in the window \"evening\""),
        "{}",
        told.message
    );
    let until = held(&lab).until.expect("the next evening");
    let plan = lab.lockstep(&["plan"]).done();
    assert!(plan.contains(&format!("Goes out: held until {until}")), "{plan}");
    let plan = lab.lockstep(&["plan", new.as_str(), "--json"]).done();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("a plan");
    assert_eq!(plan["goes_out"]["when"], "held");
    assert_eq!(plan["goes_out"]["until"], until.to_string());
    assert_eq!(lab.value("a"), 1);

    // The settings are read again, without it.
    let text = fs::read_to_string(lab.settings()).expect("it was written");
    take(&lab, &text.replace(&allow, ""));
    lab.wait_settled(&new);
}

#[test]
fn what_is_let_through_passes_windows_and_nothing_else_and_is_remembered_across_a_crash() {
    let lab = lab();
    with_settings(&lab, &deny_until(in_an_hour()));
    lab.lockstep(&["suspend", "--reason", "maintenance"]).done();
    let new = lab.set(&[("a", "value = 2")]);
    lab.wait_kind("Held", &new);
    let said = lab
        .lockstep(&["sync", "--now", "--reason", "the stop is wrong"])
        .failed(1);
    assert!(
        said.contains("held all the same") && said.contains("maintenance"),
        "{said}"
    );
    lab.kill_reconciler();
    lab.start_reconciler();
    lab.lockstep(&["resume"]).done();
    lab.wait_settled(&new);
    let last = history(&lab).pop().expect("it settled");
    let passed = last["passed"].as_str().expect("who and why");
    assert!(passed.contains("the stop is wrong"), "{passed}");
}

#[test]
fn whoever_observes_is_told_what_a_window_would_hold() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .settings(&format!(
            "[rollout]\nobserve = true\n{}",
            deny_until(in_an_hour())
        ))
        .unstarted()
        .start();
    lab.start_reconciler();
    let first = lab.origin().revision("HEAD");
    let told = lab.wait_kind("Observed", &first);
    assert!(told.message.contains("the first release"), "{}", told.message);
    let next = lab.set(&[("a", "value = 2")]);
    let told = lab.wait_kind("Observed", &next);
    assert!(
        told.message.contains("it would be held until") && told.message.contains("it would reload a"),
        "{}",
        told.message
    );
}
