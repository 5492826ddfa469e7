//! The road of a good commit.

use lockstep_tests::{Lab, Remote, Service};
use rustix::process::Signal;

/// Two services of which each reads its own table.
fn pair() -> Lab {
    Lab::builder()
        .service(Service::voting("a"))
        .service(Service::acknowledged("b"))
        .start()
}

#[test]
fn the_first_commit_starts_the_services_on_it() {
    let lab = pair();
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    let status = lab.status();
    assert_eq!(
        status.live.as_ref().map(|live| live.revision.clone()),
        Some(lab.origin().revision("HEAD"))
    );
    assert!(
        status.services.iter().all(|service| service.current),
        "{status:#?}"
    );
    assert_eq!((status.candidate, status.rollout), (None, None));
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

#[test]
fn a_change_goes_live_in_both_services_without_a_restart() {
    let lab = pair();
    let before = lab.services();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 3")]);
    let settled = lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 3));
    assert!(
        settled
            .pause_us
            .is_some_and(|pause| pause > 0 && pause < 2_000_000),
        "{settled:?}"
    );
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
}

#[test]
fn whoever_reads_nothing_of_a_change_is_not_told() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    let before = lab.services();
    let revision = lab.set(&[("b", "value = 7")]);
    lab.wait_settled(&revision);
    assert_eq!((lab.ask("a").rings, lab.ask("b").rings), (0, 1));
    assert!(lab.status().service("a").current, "what it runs is right, to it");
    lab.assert_same_processes(&before);
}

#[test]
fn a_commit_outside_the_published_path_settles_without_touching_anybody() {
    let lab = pair();
    let before = (lab.status().live, lab.ask("a"), lab.ask("b"));
    let revision = lab.publish(&[("README.md", "what all of this is for\n")]);
    let settled = lab.wait_settled(&revision);
    assert_eq!(settled.pause_us, Some(0));
    let (live, was) = (lab.status().live, before.0);
    let (live, was) = (live.expect("it is live"), was.expect("it was live"));
    assert_eq!(live.revision, revision);
    assert_eq!((live.switch, &live.published), (was.switch, &was.published));
    assert_eq!((lab.ask("a"), lab.ask("b")), (before.1, before.2));
}

#[test]
fn a_revert_is_an_ordinary_commit_and_takes_the_values_back() {
    let lab = pair();
    let before = lab.services();
    let first = lab.status().live.expect("it is live");
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!((lab.value("a"), lab.value("b")), (1, 1));
    let live = lab.status().live.expect("it is live");
    assert_eq!(live.digest, first.digest, "the same files");
    assert!(live.switch > first.switch, "a number of its own: {live:?}");
    lab.assert_same_processes(&before);
}

#[test]
fn a_file_url_and_a_git_daemon_are_followed_like_a_path() {
    for remote in [Remote::File, Remote::Daemon] {
        let lab = Lab::builder()
            .service(Service::acknowledged("a"))
            .remote(remote)
            .source("interval = \"100ms\"")
            .start();
        lab.wait_settled(&lab.set(&[("a", "value = 5")]));
        assert_eq!(lab.value("a"), 5, "{remote:?}");
    }
}

#[test]
fn commits_that_arrive_during_a_rollout_become_one_candidate_the_newest() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let slow = lab.set(&[("a", "value = 2\ndelay = 1000")]);
    lab.wait_kind("Verifying", &slow);
    // It cannot acknowledge before all three are there.
    lab.process("a").signal(Signal::STOP);
    let [third, fourth, fifth] = [3, 4, 5].map(|value| lab.set(&[("a", &format!("value = {value}"))]));
    lab.lockstep(&["sync"]).done();
    lab.process("a").signal(Signal::CONT);
    lab.wait_settled(&fifth);
    lab.wait_settled(&slow);
    assert_eq!(lab.value("a"), 5);
    let tried = |revision| lab.events().iter().any(|event| event.is("Preparing", revision));
    assert_eq!(
        [&slow, &third, &fourth, &fifth].map(tried),
        [true, false, false, true]
    );
}

#[test]
fn each_tier_takes_a_change_in_its_own_way() {
    let lab = Lab::builder()
        .service(Service::voting("voting"))
        .service(Service::acknowledged("acknowledged"))
        .service(Service::by_hand("by-hand").arg("--vote").tier("voting"))
        .service(Service::watching("watching"))
        .service(Service::probed("probed"))
        .service(Service::running("running"))
        .service(Service::acknowledged("unpaused").pause("none"))
        .start();
    let before = lab.services();
    let names = [
        "voting",
        "acknowledged",
        "by-hand",
        "watching",
        "probed",
        "running",
        "unpaused",
    ];
    let revision = lab.set(&names.map(|name| (name, "value = 2")));
    lab.wait_settled(&revision);
    for name in names {
        assert_eq!(lab.value(name), 2, "{name}");
        let tier = lab.status().service(name).tier.clone();
        let reached = lab.wait_event(name, |event| {
            event.is_of("Reached", name) && event.revision == Some(revision.clone())
        });
        assert_eq!(reached.message, tier, "the report says which tier was reached");
    }
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
}

#[test]
fn a_service_that_takes_a_change_by_a_restart_comes_last() {
    let lab = Lab::builder()
        .service(Service::restarted("a"))
        .service(Service::acknowledged("b"))
        .start();
    let before = lab.services();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2\ndelay = 300")]);
    lab.wait_settled(&revision);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    let after = lab.services();
    assert_ne!(after["a"], before["a"], "it was restarted");
    assert_eq!(after["b"], before["b"]);
    let reached = |name| {
        lab.wait_event(name, |event| {
            event.is_of("Reached", name) && event.revision == Some(revision.clone())
        })
    };
    assert!(reached("b").seq < reached("a").seq);
    assert_eq!(
        lab.status().instance("a").restarts,
        0,
        "it was no restart of its own"
    );
}

#[test]
fn a_key_whose_schema_says_restart_restarts_its_readers_and_no_other_does() {
    let schema = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": { "$ref": "#/$defs/service" },
        "$defs": { "service": { "type": "object", "properties": {
            "value": { "type": "integer" },
            "crash": { "type": "boolean", "x-lockstep-effect": "restart" } } } }
    }"##;
    let policy =
        "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \".lockstep/schema.json\"\n";
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .file(".lockstep/policy.toml", policy)
        .file(".lockstep/schema.json", schema)
        .start();
    let before = lab.services();
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.assert_same_processes(&before);
    lab.wait_settled(&lab.set(&[("a", "value = 2\ncrash = false"), ("b", "value = 3")]));
    let after = lab.services();
    assert_ne!(after["a"], before["a"], "it was restarted");
    assert_eq!(after["b"], before["b"]);
    assert_eq!((lab.value("a"), lab.value("b")), (2, 3));
}

#[test]
fn a_reconciler_that_is_stopped_and_started_goes_on_where_it_was() {
    let lab = pair();
    let before = lab.services();
    lab.stop_reconciler();
    let revision = lab.set(&[("a", "value = 2")]);
    lab.assert_same_processes(&before);
    lab.start_reconciler();
    lab.wait_settled(&revision);
    assert_eq!(lab.value("a"), 2);
    lab.assert_same_processes(&before);
}
