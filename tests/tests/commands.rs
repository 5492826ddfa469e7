//! The commands of an operator.

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Remote, Service};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

#[test]
fn wait_returns_when_the_head_is_live_and_says_which() {
    let lab = lab();
    let revision = lab.set(&[("a", "value = 2")]);
    let out = lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert!(
        out.contains(revision.as_str()) && out.contains("is live"),
        "{out}"
    );
    assert_eq!(lab.value("a"), 2);
    lab.lockstep(&["wait", revision.as_str(), "--timeout", "1s"])
        .done();
}

#[test]
fn wait_ends_at_once_with_the_reason_when_a_revision_failed_or_is_rejected() {
    let lab = lab();
    lab.set(&[("a", "value = 2\nrefuse = true")]);
    let said = lab.lockstep(&["wait", "--timeout", "25s"]).failed(1);
    assert!(
        said.contains("is not live") && said.contains("`refuse` is set"),
        "{said}"
    );
    lab.publish(&[("config/config.toml", "[a\nvalue = 2\n")]);
    let said = lab.lockstep(&["wait", "--timeout", "25s"]).failed(1);
    assert!(said.contains("config/config.toml"), "{said}");
}

#[test]
fn wait_says_why_it_took_too_long() {
    let lab = lab();
    lab.lockstep(&["suspend", "--reason", "the exchange is open"])
        .done();
    lab.set(&[("a", "value = 2")]);
    let said = lab.lockstep(&["wait", "--timeout", "1s"]).failed(1);
    assert!(said.contains("the exchange is open"), "{said}");
}

#[test]
fn sync_looks_now_although_the_interval_is_long() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .remote(Remote::Daemon)
        .source("interval = \"1h\"")
        .start();
    let revision = lab.set(&[("a", "value = 2")]);
    let out = lab.lockstep(&["sync"]).done();
    assert!(out.contains(revision.as_str()), "{out}");
    lab.wait_settled(&revision);
}

#[test]
fn a_rollback_commits_the_tree_that_was_live_before() {
    let lab = lab();
    let before = lab.services();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));
    lab.lockstep(&["rollback", "-m", "three was one too many"]).done();
    lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert_eq!(lab.value("a"), 2);
    let subjects = lab.origin().list_commits();
    assert!(
        subjects[0].contains("three was one too many") || subjects[0].to_lowercase().contains("roll"),
        "{subjects:?}"
    );
    lab.origin().git(&["fetch", "-q", "origin"]);
    let text = lab.origin().git(&["log", "-1", "--format=%B", "origin/main"]);
    assert!(text.contains("three was one too many"), "{text}");
    lab.assert_same_processes(&before);
}

#[test]
fn a_rollback_of_a_head_that_is_not_live_commits_the_live_tree() {
    let lab = lab();
    let live = lab.status().live.expect("it is live");
    lab.wait_rolled_back(&lab.set(&[("a", "value = 2\nrefuse = true"), ("b", "value = 2")]));
    lab.lockstep(&["rollback"]).done();
    lab.lockstep(&["wait", "--timeout", "20s"]).done();
    let now = lab.status();
    assert_eq!(now.live.map(|now| now.digest), Some(live.digest));
    assert_eq!(now.candidate, None, "the head is live again");
}

#[test]
fn a_rollback_to_a_revision_takes_its_tree() {
    let lab = lab();
    let two = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&two);
    for value in [3, 4] {
        lab.wait_settled(&lab.set(&[("a", &format!("value = {value}"))]));
    }
    lab.lockstep(&["rollback", "--to", two.as_str()]).done();
    lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert_eq!(lab.value("a"), 2);
}

#[test]
fn a_revert_undoes_one_commit_and_keeps_what_came_after() {
    let lab = lab();
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&first);
    lab.wait_settled(&lab.set(&[("b", "value = 3")]));
    lab.lockstep(&["revert", first.as_str(), "-m", "two was wrong"])
        .done();
    lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert_eq!((lab.value("a"), lab.value("b")), (1, 3));
}

#[test]
fn a_revert_that_conflicts_says_so_and_commits_nothing() {
    let lab = lab();
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&first);
    let second = lab.set(&[("a", "value = 3")]);
    lab.wait_settled(&second);
    let said = lab.lockstep(&["revert", first.as_str()]).failed(1);
    assert!(said.contains("config/config.toml"), "it names the file: {said}");
    assert_eq!(lab.status().live.map(|live| live.revision), Some(second));
}

#[test]
fn while_reconciling_is_suspended_candidates_are_held_and_a_way_back_is_not() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.lockstep(&["suspend", "--reason", "the exchange is open"])
        .done();
    let new = lab.set(&[("a", "value = 3")]);
    let held = lab.wait_kind("Held", &new);
    assert!(held.message.contains("the exchange is open"), "{held:?}");
    let suspended = lab.status().suspended.expect("it is shown");
    assert_eq!(suspended.reason, "the exchange is open");

    let back = lab.set(&[("a", "value = 1")]);
    lab.wait_settled(&back);
    let new = lab.set(&[("a", "value = 4")]);
    lab.wait_kind("Held", &new);
    lab.lockstep(&["resume"]).done();
    lab.wait_settled(&new);
    assert_eq!(lab.value("a"), 4);
}

#[test]
fn a_suspension_is_remembered_across_a_restart_and_ends_by_itself() {
    let lab = lab();
    lab.lockstep(&["suspend", "--reason", "a moment", "--until", "6s"])
        .done();
    lab.stop_reconciler();
    lab.start_reconciler();
    let new = lab.set(&[("a", "value = 2")]);
    lab.wait_kind("Held", &new);
    lab.wait_settled(&new);
}

#[test]
fn down_ends_everything_and_run_brings_it_back() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.lockstep(&["down"]).done();
    eventually("nobody is left", || lab.processes().is_empty());
    lab.start_reconciler();
    assert_eq!((lab.value("a"), lab.value("b")), (2, 1));
    lab.kill_reconciler();
    lab.lockstep(&["down"]).done();
    eventually("nobody is left either without a reconciler", || {
        lab.processes().is_empty()
    });
}

#[test]
fn services_start_on_what_is_live_although_the_repository_is_away() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.lockstep(&["down"]).done();
    let away = lab.root().join("away.git");
    std::fs::rename(lab.origin().bare(), &away).expect("the lab is ours");
    lab.start_reconciler();
    assert_eq!((lab.value("a"), lab.value("b")), (2, 1));
    let status = lab.wait_status("the source's error is shown", |status| {
        status.source.error.is_some()
    });
    assert!(
        status.services.iter().all(|service| service.current),
        "{:#?}",
        status.services
    );
    std::fs::rename(&away, lab.origin().bare()).expect("the lab is ours");
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));
}

#[test]
fn commands_say_so_when_no_reconciler_runs() {
    let lab = lab();
    lab.kill_reconciler();
    for command in ["status", "sync", "wait", "retry", "resume"] {
        let said = lab.lockstep(&[command]).failed(3);
        assert!(
            said.contains("the reconciler cannot be reached") && said.contains("lockstep run"),
            "{command}: {said}"
        );
    }
}

#[test]
fn the_web_port_tells_health_and_metrics() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .settings("[web]\nlisten = \"{address}:8080\"")
        .start();
    let get = |path: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect((lab.address(), 8080)).expect("the port is open");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
        )
        .expect("it is read");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers in text");
        text
    };
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    assert!(get("/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get("/metrics");
    for name in [
        "lockstep_live_info",
        "lockstep_rollouts_total{outcome=\"Settled\"} 1",
        "lockstep_rollout_duration_seconds",
        "lockstep_pause_seconds",
        "lockstep_commit_to_settled_seconds",
        "lockstep_source_last_success_timestamp_seconds",
        "lockstep_instances{service=\"a\",state=\"applied\"} 1",
        "lockstep_stuck 0",
        "lockstep_diverged 0",
        "lockstep_held 0",
        "lockstep_held_until_timestamp_seconds 0",
    ] {
        assert!(metrics.contains(name), "{name} in\n{metrics}");
    }
}

#[test]
fn a_plan_names_keys_services_and_effects() {
    let lab = lab();
    lab.lockstep(&["suspend", "--reason", "to look at the plan"])
        .done();
    let revision = lab.set(&[("a", "value = 2")]);
    lab.wait_kind("Held", &revision);
    let text = lab.lockstep(&["plan"]).done();
    for word in ["a.value", "1", "2", "reload"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&lab.lockstep(&["plan", "--json"]).done()).expect("it is JSON");
    let services = &json["plan"]["services"];
    assert_eq!(services.as_array().map(Vec::len), Some(2), "{json:#}");
}

#[test]
fn events_are_lines_that_a_script_can_read_and_a_person_too() {
    let lab = lab();
    let revision = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&revision);
    let printed = lab.lockstep(&["events", "--json"]).done();
    let events: Vec<lockstep_tests::events::Event> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is an event"))
        .collect();
    assert_eq!(events, lab.events());
    assert!(
        events.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq),
        "numbered without a gap"
    );
    let settled = events
        .iter()
        .find(|event| event.is("Settled", &revision))
        .expect("it settled");
    assert!(
        settled.pause_us.is_some() && settled.total_us.is_some(),
        "{settled:?}"
    );
    let text = lab.lockstep(&["events"]).done();
    assert!(
        text.contains("Settled") && text.contains(revision.short().get(..7).expect("it has twelve")),
        "{text}"
    );
}

#[test]
fn a_way_back_that_cannot_be_pushed_says_so() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .remote(Remote::Daemon)
        .source("interval = \"100ms\"")
        .start();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let said = lab.lockstep(&["rollback"]).failed(1);
    assert!(said.contains("push"), "{said}");
    assert_eq!(lab.value("a"), 2);
}

#[test]
fn what_is_asked_wrongly_is_misuse() {
    let lab = lab();
    lab.lockstep(&["suspend"]).failed(2);
    lab.lockstep(&["suspend", "--reason", "x", "--until", "whenever"])
        .failed(2);
    lab.lockstep(&["frobnicate"]).failed(2);
    let said = lab
        .lockstep(&["wait", "no-such-revision", "--timeout", "5s"])
        .failed(1);
    assert!(said.contains("no-such-revision"), "{said}");
    let said = lab.lockstep(&["revert", "no-such-revision"]).failed(1);
    assert!(said.contains("no-such-revision"), "{said}");
}

#[test]
fn wait_for_a_revision_that_was_left_out_returns_with_its_descendant() {
    let lab = lab();
    let slow = lab.set(&[("a", "value = 2\ndelay = 700")]);
    lab.wait_kind("Verifying", &slow);
    // It cannot acknowledge before both are there.
    lab.process("a").signal(Signal::STOP);
    let left_out = lab.set(&[("a", "value = 3")]);
    let last = lab.set(&[("a", "value = 4")]);
    lab.lockstep(&["sync"]).done();
    lab.process("a").signal(Signal::CONT);
    lab.lockstep(&["wait", left_out.as_str(), "--timeout", "20s"])
        .done();
    assert_eq!(lab.status().live.map(|live| live.revision), Some(last));
}

#[test]
fn down_in_the_middle_of_a_rollout_leaves_one_of_both_for_everybody() {
    let lab = lab();
    let revision = lab.set(&[("a", "value = 2\ndelay = 1500"), ("b", "value = 2")]);
    lab.wait_kind("Verifying", &revision);
    lab.lockstep(&["down"]).done();
    eventually("nobody is left", || lab.processes().is_empty());
    lab.start_reconciler();
    lab.wait_status("the rollout is over", |status| {
        status.rollout.is_none() && status.services.iter().all(|service| service.current)
    });
    assert_eq!(lab.value("a"), lab.value("b"));
    lab.assert_volume_whole();
    lab.wait_settled(&lab.set(&[("a", "value = 5"), ("b", "value = 5")]));
    assert_eq!((lab.value("a"), lab.value("b")), (5, 5));
}

#[test]
fn a_rollback_right_after_a_push_leads_to_what_is_live() {
    let lab = Lab::builder()
        .remote(Remote::Daemon)
        .source("interval = \"60s\"")
        .service(Service::acknowledged("a"))
        .start();
    let bare = lab.origin().bare();
    let bare = bare.to_str().expect("the lab's own names are texts");
    lab.origin()
        .git(&["--git-dir", bare, "config", "daemon.receivepack", "true"]);
    for value in 2..4 {
        let revision = lab.set(&[("a", &format!("value = {value}"))]);
        lab.lockstep(&["wait", revision.as_str()]).done();
    }
    // Nobody has looked at it yet: the head is not live, so the way back is to what is.
    lab.set(&[("a", "value = 4")]);
    lab.lockstep(&["rollback"]).done();
    lab.lockstep(&["wait"]).done();
    assert_eq!(lab.value("a"), 3);
}
