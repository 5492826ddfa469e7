//! Services that are told over HTTP, and answer.

use lockstep_tests::wait::eventually;
use lockstep_tests::{Service, failing};

const REQUEST: &str = "POST http://";

#[test]
fn one_that_is_asked_takes_a_change_and_its_revert() {
    for pause in ["freeze", "none"] {
        let lab = failing::with(Service::requested("bad").pause(pause));
        let before = lab.services();
        lab.wait_settled(&lab.set(&[("bad", "value = 2"), ("good", "value = 2")]));
        // It answers when it works with the new value, so nobody has to wait for that.
        assert_eq!((lab.value("bad"), lab.ask("bad").rings), (2, 1));
        lab.origin().git(&["revert", "--no-edit", "HEAD"]);
        lab.push();
        lab.wait_settled(&lab.origin().revision("HEAD"));
        assert_eq!((lab.value("bad"), lab.ask("bad").rings), (1, 2));
        assert_eq!(lab.value("good"), 1);
        lab.assert_same_processes(&before);
        lab.assert_nobody_stopped();
    }
}

#[test]
fn another_answer_is_its_refusal_and_shows_what_it_says() {
    let lab = failing::with(Service::requested("bad"));
    let before = lab.services();
    failing::goes_back(
        &lab,
        "value = 2\nrefuse = true",
        &format!(
            "it refused to reload: {REQUEST}{}:8100/reload: status 500 Internal Server Error: `refuse` is set",
            lab.address()
        ),
    );
    // It was asked again on the way back, and the next commit finds it well.
    lab.wait_settled(&lab.set(&[("bad", "value = 3"), ("good", "value = 3")]));
    assert_eq!(lab.value("bad"), 3);
    lab.assert_same_processes(&before);
}

#[test]
fn no_answer_in_time_is_a_failure_and_nobody_else_waits_for_it() {
    let lab = failing::with(Service::requested("bad").within(failing::SHORT));
    let before = lab.services();
    let revision = failing::goes_back(&lab, "value = 2\nbehave = \"silent\"", "within 2s");
    assert!(lab.events().iter().all(|event| event.kind != "Stuck"));
    // The other one was told at the unpause and had reached its tier long before.
    let reached = lab.wait_event("who was told by a signal counts", |event| {
        event.is_of("Reached", "good") && event.revision.as_ref() == Some(&revision)
    });
    let failed = lab.wait_event("it failed", |event| event.is_of("Failed", "bad"));
    assert!(reached.seq < failed.seq, "{reached:?} {failed:?}");
    lab.assert_same_processes(&before);
}

#[test]
fn one_that_listens_nowhere_is_named_before_anything_is_touched() {
    let deaf = Service::running("bad").reload("{ http = \"http://{address}:8101/reload\" }");
    let lab = failing::with(deaf);
    let (before, live) = (lab.services(), lab.status().live.expect("something is live"));
    let revision = lab.set(&[("bad", "value = 2"), ("good", "value = 2")]);
    let aborted = lab.wait_kind("Aborted", &revision);
    let words = format!(
        "bad: nobody listens at {}:8101, where it is to be told by",
        lab.address()
    );
    assert!(aborted.message.contains(&words), "{aborted:?}");
    assert!(aborted.message.contains("or correct `reload`"), "{aborted:?}");
    assert_eq!(lab.status().live.expect("something is live").switch, live.switch);
    assert_eq!(
        (lab.value("good"), lab.ask("good").rings),
        (1, 0),
        "nobody was touched"
    );
    lab.assert_same_processes(&before);
    let doctor = lab.lockstep(&["doctor"]).failed(1);
    let words = words.trim_start_matches("bad: ");
    assert!(doctor.contains(words), "{doctor:?}");
}

#[test]
fn a_request_that_a_dead_reconciler_left_unanswered_is_sent_again() {
    let lab = failing::with(Service::requested("bad"));
    let before = lab.services();
    let revision = lab.set(&[("bad", "value = 2\ndelay = 1000"), ("good", "value = 2")]);
    eventually("it was asked", || lab.ask("bad").rings == 1);
    lab.kill_reconciler();
    lab.start_reconciler();
    lab.wait_settled(&revision);
    assert_eq!((lab.value("bad"), lab.ask("bad").rings), (2, 2));
    lab.assert_same_processes(&before);
}

#[test]
fn a_request_that_is_open_when_the_guard_dies_is_sent_again() {
    let lab = failing::with(Service::requested("bad"));
    let before = lab.services();
    let revision = lab.set(&[("bad", "value = 2\ndelay = 1000"), ("good", "value = 2")]);
    eventually("it was asked", || lab.ask("bad").rings == 1);
    lab.kill_guard();
    lab.wait_settled(&revision);
    assert_eq!((lab.value("bad"), lab.ask("bad").rings), (2, 2));
    lab.assert_same_processes(&before);
}
