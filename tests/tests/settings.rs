//! SIGHUP: the settings are read again, and whoever they leave as it is notices nothing.

use std::fs;
use std::process::Command;
use std::time::Duration;

use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service, failing, tables};
use rustix::process::Signal;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

fn change(lab: &Lab, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(lab.settings()).expect("it was written");
    let changed = change(&text);
    assert_ne!(changed, text);
    fs::write(lab.settings(), changed).expect("the lab's folder is writable");
}

#[test]
fn an_added_service_is_started_a_removed_one_stopped_and_the_others_live_on() {
    let lab = lab();
    let reconciler = lab.reconciler().expect("it runs").pid;
    lab.wait_settled(&lab.set(&[("c", "value = 1")]));
    let (before, a) = (lab.now(), lab.process("a"));
    change(&lab, |text| {
        let c = tables::of(text, "b")
            .replace("\"b\"", "\"c\"")
            .replace("#b", "#c");
        text.replace(&tables::of(text, "b"), &c)
    });
    lab.hang_up();
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
    lab.wait_status("c lives and b does not", |status| {
        let names: Vec<_> = status
            .services
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        names == ["a", "c"] && status.services.iter().all(|service| service.current)
    });
    eventually("b is stopped", || !lab.services().contains_key("b"));
    assert_eq!(lab.process("a"), a);
    assert_eq!(
        lab.reconciler().expect("it runs").pid,
        reconciler,
        "in the same process"
    );
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("c", "value = 2")]));
    assert_eq!((lab.value("a"), lab.value("c")), (2, 2));
    assert_eq!(lab.process("a"), a);
}

#[test]
fn a_changed_command_applies_at_the_next_start_of_its_service() {
    let lab = lab();
    let (before, processes) = (lab.now(), lab.services());
    change(&lab, |text| {
        text.replacen("env = { ", "env = { MARK = \"new\", ", 1)
    });
    lab.hang_up();
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
    lab.wait_status("everybody is heard", |status| {
        status.services.iter().all(|service| service.current)
    });
    lab.assert_same_processes(&processes);
    lab.process("a").signal(Signal::KILL);
    eventually("it is started again with the new environment", || {
        let a = lab.services().remove("a");
        a.filter(|a| *a != processes["a"])
            .and_then(|a| fs::read(format!("/proc/{}/environ", a.pid)).ok())
            .is_some_and(|environment| environment.windows(8).any(|part| part == b"MARK=new"))
    });
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_an_alarm_until_it_is_mended() {
    let lab = lab();
    let good = fs::read_to_string(lab.settings()).expect("it was written");
    let processes = lab.services();
    for (bad, words) in [
        (good.replace("[source]", "[sauce]"), "sauce"),
        (
            good.replace("path = \"volume\"", "path = \"elsewhere\""),
            "lockstep down",
        ),
        // Only a start finds that out.
        (
            good.clone() + "\n[web]\nlisten = \"192.0.2.1:80\"\n",
            "the web port 192.0.2.1:80 cannot be opened",
        ),
    ] {
        fs::write(lab.settings(), bad).expect("the lab's folder is writable");
        lab.hang_up();
        let said = |text: &str| text.contains("the old ones stay") && text.contains(words);
        // What a start finds out is in the log alone.
        eventually("it is said", || {
            let log = fs::read_to_string(lab.root().join("run.log")).unwrap_or_default();
            said(&log)
        });
        // The commands read the same file.
        fs::write(lab.settings(), &good).expect("the lab's folder is writable");
        lab.wait_status("the alarm stands", |status| {
            status.alarms.iter().any(|alarm| said(alarm))
        });
    }
    fs::write(lab.settings(), &good).expect("the lab's folder is writable");
    lab.hang_up();
    lab.wait_status("all is well", |status| {
        status.alarms.is_empty() && status.services.iter().all(|service| service.current)
    });
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.assert_same_processes(&processes);
}

#[test]
fn one_that_was_taken_over_from_begins_nothing_anew() {
    let lab = lab();
    let before = lab.services();
    let hanging = lab.reconciler().expect("it runs");
    hanging.signal(Signal::STOP);
    hanging.signal(Signal::HUP);
    let mut deposed = lab.take_reconciler();
    lab.start_reconciler_with(&["--take-over"]);
    assert_eq!(deposed.wake_to_end().code(), Some(1), "how the deposed one ended");
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.assert_same_processes(&before);
}

#[test]
fn a_silent_service_that_is_taken_out_ends_stuck() {
    let lab = failing::with(Service::by_hand("bad").within(failing::SHORT));
    let good = lab.process("good");
    let stubborn = lab.set(&[("bad", "value = 2\nbehave = \"stubborn\""), ("good", "value = 2")]);
    lab.wait_event("Stuck", |event| event.kind == "Stuck");
    change(&lab, |text| tables::without(text, "bad"));
    lab.hang_up();
    lab.wait_rolled_back(&stubborn);
    eventually("it is stopped", || !lab.services().contains_key("bad"));
    assert_eq!((lab.value("good"), lab.process("good")), (1, good));
    lab.wait_settled(&lab.set(&[("good", "value = 3")]));
    assert!(!lab.services().contains_key("bad"), "nobody starts it again");
}

#[test]
fn a_service_that_waits_for_its_next_start_is_stopped_when_it_is_taken_out() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("b", "value = 2\ncrash = true")]));
    lab.process("b").signal(Signal::KILL);
    lab.wait_event("it crashes", |event| {
        event.is_of("Ended", "b") && event.message.contains("exited with status 9")
    });
    let before = lab.now();
    change(&lab, |text| tables::without(text, "b"));
    lab.hang_up();
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
    lab.wait_status("a alone is left", |status| status.services.len() == 1);
    let log = || fs::read_to_string(lab.state().join("guard.log")).unwrap_or_default();
    let starts = || log().matches("b runs as process").count();
    let known = starts();
    // Its back-off is a second or two.
    stays("nobody starts it", Duration::from_secs(4), || starts() == known);
}

#[test]
fn one_that_is_never_started_again_is_started_when_it_was_taken_out_and_put_back() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b").restart("never"))
        .start();
    let whole = fs::read_to_string(lab.settings()).expect("it was written");
    change(&lab, |text| tables::without(text, "b"));
    lab.hang_up();
    eventually("b is stopped", || !lab.services().contains_key("b"));
    lab.wait_status("a alone is left", |status| status.services.len() == 1);
    fs::write(lab.settings(), whole).expect("the lab's folder is writable");
    lab.hang_up();
    eventually("b is started", || lab.services().contains_key("b"));
}

#[test]
fn down_is_not_undone_by_a_signal_that_comes_meanwhile() {
    let slow = "trap 'touch {lab}/asked; sleep 2; exit 0' TERM; while :; do sleep 0.05; done";
    let lab = Lab::builder()
        .service(
            Service::program("slow", &["/bin/sh", "-c", slow])
                .pause("none")
                .tier("running")
                .reload("{ watch = {} }"),
        )
        .start();
    let reconciler = lab.reconciler().expect("it runs");
    std::thread::scope(|scope| {
        let settings = lab.settings();
        let program = lab.root().join("bin/lockstep");
        let down = scope.spawn(move || {
            Command::new(program)
                .arg("down")
                .arg("--settings")
                .arg(settings)
                .status()
        });
        eventually("it is under way", || lab.root().join("lab/asked").exists());
        reconciler.signal(Signal::HUP);
        let status = down.join().expect("it ends").expect("it can be run");
        assert!(status.success(), "{status}");
    });
    assert_eq!(lab.processes(), Vec::new());
}
