//! SIGHUP: the settings are read again, and whoever they leave as it is notices nothing.

use std::fs;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
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

/// The tables of one service in the settings.
fn table(text: &str, service: &str) -> String {
    let tables = text.split("[[service]]\n").skip(1);
    let table = tables
        .into_iter()
        .find(|table| table.starts_with(&format!("name = \"{service}\"")))
        .expect("the service is there");
    format!("[[service]]\n{}", table.split("\n[").next().unwrap_or_default())
}

fn hang_up(lab: &Lab) {
    lab.reconciler().expect("it runs").signal(Signal::HUP);
}

#[test]
fn an_added_service_is_started_a_removed_one_stopped_and_the_others_live_on() {
    let lab = lab();
    let reconciler = lab.reconciler().expect("it runs").pid;
    lab.wait_settled(&lab.set(&[("c", "value = 1")]));
    let (before, a) = (lab.now(), lab.process("a"));
    change(&lab, |text| {
        let c = table(text, "b").replace("\"b\"", "\"c\"").replace("#b", "#c");
        text.replace(&table(text, "b"), &c)
    });
    hang_up(&lab);
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
    hang_up(&lab);
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
        hang_up(&lab);
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
    hang_up(&lab);
    lab.wait_status("all is well", |status| {
        status.alarms.is_empty() && status.services.iter().all(|service| service.current)
    });
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.assert_same_processes(&processes);
}
