//! The operator's own policy and protected keys, on the road.

use std::fs;

use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

fn write(lab: &Lab, text: &str) {
    let folder = lab.settings();
    fs::write(folder.parent().unwrap().join("operator.toml"), text).expect("the lab's folder is writable");
}

fn rule(most: u32) -> String {
    format!(
        "version = 1\n[[rule]]\nname = \"most\"\ndocument = \"config/config.toml\"\n\
         expression = \"self.a.value <= {most}\"\n"
    )
}

fn hang_up(lab: &Lab) {
    lab.reconciler().expect("it runs").signal(Signal::HUP);
}

#[test]
fn it_judges_beside_the_repositorys_is_read_again_and_a_damaged_one_changes_nothing() {
    let lab = Lab::builder()
        .path("config")
        .settings("[policy]\nfile = \"operator.toml\"\n")
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    // Without what is to judge nobody starts.
    let refused = lab.run_to_end(&[]);
    assert!(
        refused.err.contains("policy.file: the operator's policy") && refused.err.contains("operator.toml"),
        "{}",
        refused.err
    );
    write(&lab, &rule(2));
    lab.start_reconciler();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let before = lab.services();
    // The repository's own policy allows what it likes.
    let high = lab.set(&[("a", "value = 3")]);
    let refused = lab.wait_kind("Rejected", &high);
    for words in ["LS0401", "rule `most`", "operator.toml:5:14"] {
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
    // A damaged one is told with its place, and the one before goes on judging.
    write(&lab, "version = 1\n[[rule]]\nname = \n");
    let now = lab.now();
    hang_up(&lab);
    let alarm = lab.wait_event_after(now, "it is told", |event| event.kind == "Alarm");
    assert!(
        alarm.message.contains("operator.toml:3:") && alarm.message.contains("the old ones stay"),
        "{}",
        alarm.message
    );
    lab.wait_kind("Rejected", &lab.set(&[("a", "value = 4")]));
    // A new one judges what was refused anew.
    write(&lab, &rule(10));
    hang_up(&lab);
    lab.wait_settled(&lab.set(&[("a", "value = 5")]));
    assert_eq!(lab.value("a"), 5);
    lab.assert_same_processes(&before);
}

#[test]
fn a_protected_key_changes_for_nobody_but_goes_back() {
    let lab = Lab::builder()
        .path("config")
        .file(
            ".lockstep/policy.toml",
            "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \"s.json\"\n",
        )
        .file("s.json", "{}")
        .service(Service::acknowledged("a"))
        .start();
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&first);
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));
    let policy = "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \"s.json\"\n\
                  [[protect]]\nkeys = [\"a.value\"]\n";
    lab.wait_settled(&lab.publish(&[(".lockstep/policy.toml", policy)]));
    let refused = lab.wait_kind("Rejected", &lab.set(&[("a", "value = 4")]));
    for words in [
        "LS0402",
        "`a.value` changes from 3 to 4",
        "somebody beside its author",
    ] {
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
    lab.lockstep(&["rollback", "--to", first.as_str(), "-m", "back"])
        .done();
    lab.lockstep(&["wait"]).done();
    assert_eq!(lab.value("a"), 2);
}
