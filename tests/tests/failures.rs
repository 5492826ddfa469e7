//! A failure after the switch: everybody goes back, and the revision is quarantined.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_protocol::Revision;
use lockstep_tests::events::Event;
use lockstep_tests::processes::{Process, Role};
use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

/// How long evidence is waited for where it does not come: as short as a busy machine lets it be for the others.
const SHORT: &str = "2s";

/// A service that behaves, and one that a commit makes misbehave.
fn with(bad: Service) -> Lab {
    Lab::builder()
        .service(bad)
        .service(Service::acknowledged("good"))
        .start()
}

/// Publishes a change of both, and asserts that it is taken back whole, and why.
#[track_caller]
fn goes_back(lab: &Lab, lines: &str, words: &str) -> Revision {
    let (live, good) = (lab.status().live.expect("something is live"), lab.ask("good"));
    let revision = lab.set(&[("bad", lines), ("good", "value = 2")]);
    let end = lab.wait_rolled_back(&revision);
    let status = lab.status();
    let now = status.live.clone().expect("something is live");
    assert_eq!(
        (now.revision, now.digest),
        (live.revision, live.digest),
        "what was live is live"
    );
    assert!(now.switch > live.switch, "by a new switch");
    assert_eq!(
        status
            .candidate
            .as_ref()
            .map(|candidate| candidate.state.as_str()),
        Some("quarantined")
    );
    let quarantined = status
        .quarantined
        .iter()
        .find(|entry| entry.revision == revision)
        .expect("it is named");
    for text in [&quarantined.reason, &failure_of(lab, &end).message] {
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
    assert_eq!((lab.value("good"), lab.value("bad")), (good.value, 1));
    assert_eq!(lab.process("good").pid, good.pid, "who behaved goes on");
    assert!(
        status.services.iter().all(|service| service.current),
        "{:#?}",
        status.services
    );
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
    revision
}

/// The event that names why a rollout failed.
fn failure_of(lab: &Lab, end: &Event) -> Event {
    lab.wait_event("why it failed", |event| {
        event.kind == "Failed" && event.rollout == end.rollout
    })
}

fn unchanged(lab: &Lab, before: &BTreeMap<String, Process>) {
    lab.assert_same_processes(before);
}

#[test]
fn a_refusal_sends_everybody_back() {
    let lab = with(Service::acknowledged("bad"));
    let before = lab.services();
    goes_back(&lab, "value = 2\nrefuse = true", "config.toml: `refuse` is set");
    unchanged(&lab, &before);
}

#[test]
fn a_refusal_after_a_favourable_vote_sends_everybody_back() {
    let lab = with(Service::voting("bad"));
    let before = lab.services();
    goes_back(&lab, "value = 2\nrefuse_late = true", "`refuse_late` is set");
    unchanged(&lab, &before);
}

#[test]
fn a_check_that_refuses_rejects_and_touches_nobody() {
    let check = ["/bin/sh", "-c", "! grep -n forbidden {candidate}/config.toml"];
    let lab = with(Service::acknowledged("bad").check(&check));
    let (live, good) = (lab.status().live, lab.ask("good"));
    let revision = lab.set(&[("bad", "value = 2 # forbidden"), ("good", "value = 2")]);
    let rejected = lab.wait_kind("Rejected", &revision);
    assert!(
        rejected.message.contains("bad: its check refused the candidate"),
        "{rejected:?}"
    );
    assert!(
        rejected.message.contains("value = 2 # forbidden"),
        "what it printed: {rejected:?}"
    );
    assert_eq!((lab.status().live, lab.ask("good")), (live, good));
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
}

#[test]
fn a_check_that_does_not_end_aborts_and_leaves_nobody_behind() {
    let forever = "{bin}/lab-service check --as-child live & wait # {candidate}";
    let bad = Service::acknowledged("bad")
        .within(SHORT)
        .check(&["/bin/sh", "-c", forever]);
    let lab = Lab::builder().service(bad).unstarted().start();
    lab.start_reconciler();
    let aborted = lab.wait_event("Aborted", |event| event.kind == "Aborted");
    assert!(
        aborted.message.contains("bad: its check could not be run"),
        "{aborted:?}"
    );
    assert!(aborted.message.contains("no end within 2s"), "{aborted:?}");
    lab.kill_reconciler();
    eventually("nobody is left", || {
        lab.processes()
            .iter()
            .all(|process| matches!(process.role, Role::Guard | Role::Holder))
    });
}

#[test]
fn a_probe_that_fails_while_baking_sends_everybody_back() {
    let lab = Lab::builder()
        .service(Service::probed("bad"))
        .service(Service::acknowledged("good"))
        .settings("[rollout]\nbake = \"4s\"")
        .start();
    let before = lab.services();
    goes_back(&lab, "value = 2\nsicken = 1500", "its probe failed while baking");
    unchanged(&lab, &before);
}

#[test]
fn a_vote_against_rejects_and_touches_nobody() {
    let lab = with(Service::voting("bad"));
    let (live, good) = (lab.status().live, lab.ask("good"));
    let revision = lab.set(&[("bad", "value = 2\nrefuse = true"), ("good", "value = 2")]);
    let rejected = lab.wait_kind("Rejected", &revision);
    assert!(
        rejected.message.contains("bad") && rejected.message.contains("`refuse` is set"),
        "{rejected:?}"
    );
    assert_eq!((lab.status().live, lab.ask("good")), (live, good));
    lab.assert_volume_whole();
}

#[test]
fn a_vote_that_does_not_come_or_is_for_another_rollout_aborts_and_is_asked_for_again() {
    let lab = with(Service::by_hand("bad").arg("--vote").tier("voting").within(SHORT));
    let (live, good) = (lab.status().live, lab.ask("good"));
    for vote in ["never", "astray"] {
        let revision = lab.set(&[
            ("bad", &format!("value = 2\nvote = {vote:?}")),
            ("good", "value = 2"),
        ]);
        let aborted = lab.wait_kind("Aborted", &revision);
        assert!(
            aborted.message.contains("no vote came in time from bad"),
            "{aborted:?}"
        );
        assert_eq!((lab.status().live, lab.ask("good")), (live.clone(), good.clone()));
        lab.wait_event_after(aborted.seq, "another try", |event| {
            event.is("Preparing", &revision)
        });
    }
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
}

#[test]
fn silence_sends_everybody_back() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let before = lab.services();
    goes_back(
        &lab,
        "value = 2\nbehave = \"silent\"",
        "it did not acknowledge switch",
    );
    unchanged(&lab, &before);
}

#[test]
fn a_service_that_dies_of_its_signal_is_started_on_what_was_live() {
    let lab = with(Service::by_hand("bad"));
    for (behave, words) in [
        ("exit", "exited with status 3"),
        ("raise", "was killed by SIGUSR1"),
    ] {
        let before = lab.process("bad");
        goes_back(&lab, &format!("value = 2\nbehave = {behave:?}"), words);
        assert_ne!(lab.process("bad"), before);
    }
}

#[test]
fn a_service_that_only_runs_fails_by_dying_of_a_signal_that_it_seemed_to_handle() {
    let lab = with(Service::running("bad").arg("--fragile"));
    let before = lab.process("bad");
    let revision = goes_back(&lab, "value = 2", "exited with status 4");
    assert_ne!(lab.process("bad"), before);
    let quarantined = lab.status().quarantined;
    let reason = &quarantined
        .iter()
        .find(|entry| entry.revision == revision)
        .expect("it is named")
        .reason;
    assert!(
        reason.contains("its first SIGHUP"),
        "the usual cause is named: {reason}"
    );
}

#[test]
fn a_service_that_does_not_come_up_after_its_restart_sends_everybody_back() {
    let lab = with(Service::restarted("bad").within("5s"));
    goes_back(&lab, "value = 2\ncrash = true", "exited with status 9");
}

#[test]
fn a_watching_service_that_refuses_or_is_silent_sends_everybody_back() {
    let lab = with(Service::watching("bad"));
    let before = lab.services();
    goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    unchanged(&lab, &before);
    let silent = Service::by_hand("bad")
        .args(&["--reload", "watch"])
        .reload("{ watch = {} }")
        .within(SHORT);
    let lab = with(silent);
    let before = lab.services();
    goes_back(
        &lab,
        "value = 2\nbehave = \"silent\"",
        "it did not acknowledge switch",
    );
    unchanged(&lab, &before);
}

#[test]
fn all_who_fail_are_named() {
    let lab = Lab::builder()
        .service(Service::by_hand("one").within(SHORT))
        .service(Service::by_hand("two").within(SHORT))
        .service(Service::acknowledged("good"))
        .start();
    let silent = "value = 2\nbehave = \"silent\"";
    let revision = lab.set(&[("one", silent), ("two", silent), ("good", "value = 2")]);
    lab.wait_rolled_back(&revision);
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(reason.contains("one: ") && reason.contains("two: "), "{reason}");
}

#[test]
fn a_quarantine_outlives_the_reconciler() {
    let lab = with(Service::acknowledged("bad"));
    let before = lab.services();
    let revision = goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    lab.kill_reconciler();
    let restarted = lab.now();
    lab.start_reconciler();
    let status = lab.wait_status("the head is judged", |status| status.candidate.is_some());
    assert_eq!(
        status.candidate.map(|candidate| candidate.state).as_deref(),
        Some("quarantined")
    );
    lab.lockstep(&["sync"]).done();
    let tried = lab
        .events()
        .into_iter()
        .find(|event| event.seq > restarted && event.is("Preparing", &revision));
    assert_eq!(tried, None);
    unchanged(&lab, &before);
}

#[test]
fn stuck_outlives_the_reconciler_and_ends_as_it_would_have() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let revision = lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    lab.kill_reconciler();
    let restarted = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(restarted, "Stuck again", |event| event.kind == "Stuck");
    let bad = lab.process("bad");
    bad.signal(Signal::KILL);
    lab.wait_event_after(restarted, "RolledBack", |event| event.kind == "RolledBack");
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert!(
        lab.status()
            .quarantined
            .iter()
            .any(|entry| entry.revision == revision)
    );
}

#[test]
fn a_signal_without_a_handler_is_never_sent() {
    let lab = with(
        Service::acknowledged("bad")
            .args(&["--style", "plain", "--reload", "never"])
            .tier("running"),
    );
    let before = lab.services();
    let revision = lab.set(&[("bad", "value = 2"), ("good", "value = 2")]);
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(
        aborted.message.contains("bad: SIGUSR1 would kill it"),
        "{aborted:?}"
    );
    assert_eq!(lab.value("good"), 1);
    unchanged(&lab, &before);
}

#[test]
fn a_failing_probe_sends_everybody_back() {
    let lab = with(Service::probed("bad").within(SHORT));
    let before = lab.services();
    goes_back(&lab, "value = 2\nunhealthy = true", "503");
    unchanged(&lab, &before);
}

#[test]
fn a_statement_about_anything_else_than_this_switch_counts_for_nothing() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let before = lab.services();
    for behave in [
        "old-switch",
        "next-switch",
        "other-digest",
        "other-token",
        "refuse-earlier",
    ] {
        goes_back(
            &lab,
            &format!("value = 2\nbehave = {behave:?}"),
            "it did not acknowledge switch",
        );
        unchanged(&lab, &before);
    }
}

#[test]
fn what_lies_in_the_status_files_place_is_ignored_and_named() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let before = lab.services();
    for (behave, words) in [
        ("half", "is not a status document"),
        ("fifo", "is a named pipe"),
        ("link", "is a symbolic link"),
        ("folder", "is a folder"),
        ("huge", "more than 65536 are not read"),
    ] {
        goes_back(
            &lab,
            &format!("value = 2\nbehave = {behave:?}"),
            "it did not acknowledge switch",
        );
        unchanged(&lab, &before);
        let log = std::fs::read_to_string(lab.root().join("run.log")).unwrap();
        assert!(log.contains(words), "the log does not say {words:?}");
    }
}

#[test]
fn an_answer_that_comes_after_the_others_were_restored_does_not_count() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let before = lab.services();
    let revision = lab.set(&[("bad", "value = 2\ndelay = 7000"), ("good", "value = 2")]);
    let restoring = lab.wait_event("Restoring", |event| event.kind == "Restoring");
    lab.wait_event_after(restoring.seq, "the other is restored", |event| {
        event.is_of("Reached", "good")
    });
    assert_eq!(
        (lab.value("good"), lab.value("bad")),
        (1, 1),
        "bad is still at it"
    );
    let stuck = lab.wait_event_after(restoring.seq, "Stuck", |event| event.kind == "Stuck");
    assert!(stuck.message.contains("bad"), "{stuck:?}");
    let end = lab.wait_rolled_back(&revision);
    let settled = lab.events().iter().any(|event| event.is("Settled", &revision));
    assert!(!settled && end.seq > stuck.seq);
    assert_eq!((lab.value("good"), lab.value("bad")), (1, 1));
    unchanged(&lab, &before);
}

#[test]
fn stuck_names_who_is_silent_holds_candidates_and_ends_with_a_successor() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let good = lab.process("good");
    let revision = lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    let stuck = lab.wait_event("Stuck", |event| event.kind == "Stuck");
    assert!(stuck.message.contains("bad"), "{stuck:?}");
    let status = lab.status();
    let rollout = status.rollout.expect("it is stuck");
    assert_eq!((rollout.state.as_str(), &rollout.to), ("Stuck", &revision));
    lab.assert_nobody_stopped();

    let next = lab.set(&[("bad", "value = 3")]);
    let held = lab.wait_kind("Held", &next);
    assert!(held.message.contains("a rollout is stuck"), "{held:?}");

    lab.process("bad").signal(Signal::KILL);
    lab.wait_rolled_back(&revision);
    lab.wait_settled(&next);
    assert_eq!((lab.value("bad"), lab.process("good")), (3, good));
}

#[test]
fn the_live_tree_as_a_commit_of_its_own_does_not_end_stuck_before_everybody_is_heard() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    let back = lab.set(&[("bad", "value = 1"), ("good", "value = 1")]);
    lab.lockstep(&["sync"]).done();
    stays("nobody claims that it settled", Duration::from_secs(3), || {
        lab.events().iter().all(|event| !event.is("Settled", &back))
    });
    lab.process("bad").signal(Signal::KILL);
    lab.wait_settled(&back);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
}

#[test]
fn a_tree_that_settled_before_is_tried_while_a_rollout_is_stuck() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    lab.wait_settled(&lab.set(&[("bad", "value = 2"), ("good", "value = 2")]));
    lab.set(&[("bad", "value = 3\nbehave = \"stubborn\""), ("good", "value = 3")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    let back = lab.set(&[("bad", "value = 1"), ("good", "value = 1")]);
    lab.wait_kind("Preparing", &back);
    lab.process("bad").signal(Signal::KILL);
    eventually("everybody works with one of the trees that settled", || {
        let status = lab.status();
        let done = status.rollout.is_none() && status.services.iter().all(|service| service.current);
        done && lab.value("bad") == lab.value("good")
    });
    assert!([1, 2].contains(&lab.value("bad")), "{}", lab.value("bad"));
    lab.assert_nobody_stopped();
    // What is tried again by itself, or when it is asked for, ends there.
    lab.lockstep(&["retry"]).done();
    lab.wait_settled(&back);
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
}

#[test]
fn a_refused_candidate_does_not_stand_in_the_way_of_the_next() {
    let lab = with(Service::acknowledged("bad"));
    let before = lab.services();
    let refused = goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    lab.wait_settled(&lab.set(&[("bad", "value = 3")]));
    assert_eq!((lab.value("bad"), lab.value("good")), (3, 2));
    unchanged(&lab, &before);
    let quarantined = lab.status().quarantined;
    assert!(
        quarantined.iter().any(|entry| entry.revision == refused),
        "it is remembered: {quarantined:?}"
    );
}

#[test]
fn a_commit_that_would_fail_the_same_way_is_held_until_it_changes_that_or_a_retry() {
    let lab = with(Service::acknowledged("bad"));
    goes_back(&lab, "value = 2\nrefuse = true", "`refuse` is set");
    let same = lab.set(&[("good", "value = 5")]);
    let held = lab.wait_kind("Held", &same);
    assert!(
        held.message.contains("it changes nothing that bad reads"),
        "{held:?}"
    );
    let status = lab.status();
    let shown = status.held.expect("it is shown");
    assert_eq!((shown.revision, shown.reason), (same.clone(), held.message));

    let tried = lab.now();
    lab.lockstep(&["retry"]).done();
    lab.wait_event_after(tried, "another try", |event| event.is("Preparing", &same));
    lab.wait_event_after(tried, "the same failure", |event| event.kind == "RolledBack");
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));

    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
    assert_eq!((lab.value("bad"), lab.value("good")), (2, 5));
}

#[test]
fn what_failed_by_time_alone_is_tried_again_by_itself() {
    let lab = with(Service::by_hand("bad").within(SHORT));
    let slow = "value = 2\nbehave = \"silent-once\"";
    goes_back(&lab, slow, "it did not acknowledge switch");
    // Held, for a second.
    lab.wait_settled(&lab.set(&[("good", "value = 4")]));
    assert_eq!((lab.value("bad"), lab.value("good")), (2, 4));
}

#[test]
fn a_settled_configuration_can_be_reverted_while_its_service_crash_loops() {
    let lab = with(Service::acknowledged("bad"));
    let good = lab.process("good");
    let fatal = lab.set(&[("bad", "value = 2\ncrash = true"), ("good", "value = 2")]);
    lab.wait_settled(&fatal);
    let ended = lab.now();
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event_after(ended, "it crashes again", |event| {
        event.is_of("Ended", "bad") && event.message.contains("exited with status 9")
    });
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1));
    assert_eq!(lab.process("good"), good);
    lab.assert_nobody_stopped();
}

#[test]
fn a_settled_configuration_can_be_reverted_while_its_service_is_dead() {
    let lab = with(Service::acknowledged("bad").restart("never"));
    let good = lab.process("good");
    let fatal = lab.set(&[("bad", "value = 2\ncrash = true"), ("good", "value = 2")]);
    lab.wait_settled(&fatal);
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event("it ended", |event| event.is_of("Ended", "bad"));
    lab.wait_status("bad is dead", |status| status.instance("bad").state == "dead");
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!((lab.value("bad"), lab.value("good")), (1, 1), "it was started");
    assert_eq!(lab.process("good"), good);
}

#[test]
fn an_absent_service_does_not_veto_what_the_others_take() {
    let lab = with(Service::acknowledged("bad").within(SHORT));
    lab.wait_settled(&lab.set(&[("bad", "value = 2\ncrash = true")]));
    lab.process("bad").signal(Signal::KILL);
    lab.wait_event("it crashes again", |event| {
        event.is_of("Ended", "bad") && event.message.contains("exited with status 9")
    });
    let next = lab.set(&[("bad", "value = 3\ncrash = true"), ("good", "value = 3")]);
    let settled = lab.wait_settled(&next);
    assert!(settled.message.contains("unproven: bad"), "{settled:?}");
    assert_eq!(lab.value("good"), 3);
    lab.wait_settled(&lab.set(&[("bad", "value = 4")]));
    assert_eq!(lab.value("bad"), 4);
}

#[test]
fn a_service_that_refuses_what_it_was_not_to_read_is_diverged() {
    let watching = Service::by_hand("bad")
        .args(&["--reload", "watch", "--section", "shared"])
        .reload("{ watch = {} }");
    let lab = Lab::builder()
        .service(watching)
        .service(Service::acknowledged("good"))
        .unpublished()
        .start();
    let first = lab.set(&[("shared", "value = 1")]);
    lab.start_reconciler();
    lab.wait_settled(&first);
    let before = lab.services();

    let revision = lab.set(&[("shared", "value = 2\nrefuse = true"), ("good", "value = 2")]);
    lab.wait_settled(&revision);
    let diverged = lab.wait_event("Diverged", |event| event.is_of("Diverged", "bad"));
    assert!(diverged.message.contains("`refuse` is set"), "{diverged:?}");
    let status = lab.wait_status("bad is diverged", |status| {
        status.instance("bad").state == "diverged"
    });
    assert!(
        status
            .alarms
            .iter()
            .any(|alarm| alarm.contains("bad is diverged")),
        "{:?}",
        status.alarms
    );

    lab.wait_settled(&lab.set(&[("shared", "value = 3")]));
    let status = lab.wait_status("bad is well", |status| status.instance("bad").state == "applied");
    assert_eq!((status.alarms, lab.value("bad")), (Vec::new(), 3));
    unchanged(&lab, &before);
}

#[test]
fn a_first_release_that_fails_is_taken_away_again() {
    let lab = Lab::builder()
        .service(Service::acknowledged("bad").within("2s"))
        .unpublished()
        .start();
    lab.start_reconciler();
    let first = lab.set(&[("bad", "value = 1\nrefuse = true")]);
    let end = lab.wait_rolled_back(&first);
    assert!(!lab.volume().join("current").exists(), "there is no `current`");
    assert_eq!(lab.services(), BTreeMap::new(), "nobody runs");
    let status = lab.status();
    assert_eq!(status.live, None);
    assert!(failure_of(&lab, &end).message.contains("bad") || !status.quarantined.is_empty());
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
    assert_eq!(lab.value("bad"), 2);
}
