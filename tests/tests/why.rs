//! What an incident's first questions are: who set this value, since when is it live, and who ran what at that time.

use jiff::Timestamp;
use lockstep_tests::{Lab, Service};
use serde_json::Value;

fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start()
}

fn json(lab: &Lab, words: &[&str]) -> Value {
    serde_json::from_str(&lab.lockstep(words).done()).expect("it is JSON")
}

#[test]
fn a_value_has_a_commit_a_time_and_readers() {
    let lab = lab();
    let set = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&set);
    let other = lab.set(&[("b", "value = 7")]);
    lab.wait_settled(&other);

    let said = lab.lockstep(&["why", "a.value"]).done();
    let commit = &set.as_str()[..12];
    assert!(said.contains("config.toml#a.value = 2"), "{said}");
    assert!(said.contains(&format!("set by      {commit}")), "{said}");
    assert!(said.contains("before      1"), "{said}");
    assert!(
        said.contains("since") && said.contains(&format!("by {commit}")),
        "{said}"
    );
    assert!(said.contains("read by     a: applied pid "), "{said}");
    assert!(!said.contains("read by     b"), "{said}");

    let told = json(&lab, &["why", "config.toml#b.value", "--json"]);
    assert_eq!(told["set"]["revision"], other.as_str());
    assert_eq!(told["live"]["by"], other.as_str());
    assert_eq!(told["services"][0]["service"], "b");

    let said = lab.lockstep(&["why", "a.valeu"]).failed(1);
    assert!(said.contains("did you mean `a.value`?"), "{said}");
    let said = lab.lockstep(&["why", "confg.toml#a.value"]).failed(1);
    assert!(said.contains("did you mean \"config.toml\"?"), "{said}");
}

#[test]
fn a_value_that_went_back_is_live_since_it_came_back() {
    let lab = lab();
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&first);
    let second = lab.set(&[("a", "value = 3")]);
    lab.wait_settled(&second);
    let third = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&third);
    let told = json(&lab, &["why", "a.value", "--json"]);
    assert_eq!(told["live"]["by"], third.as_str());
    assert_eq!(told["set"]["revision"], third.as_str());
    assert_eq!(told["before"], 3);

    // Nobody has to run to be asked.
    lab.stop_reconciler();
    let said = lab.lockstep(&["why", "a.value"]).done();
    assert!(said.contains("no reconciler answers"), "{said}");
}

#[test]
fn a_time_has_a_release_and_what_each_instance_ran() {
    let lab = lab();
    let first = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&first);
    let before = lab.services();
    let then = Timestamp::now().to_string();
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));

    let told = json(&lab, &["at", &then, "--json"]);
    assert_eq!(told["live"]["revision"], first.as_str());
    let a = &told["services"][0];
    assert_eq!(
        (&a["service"], &a["instances"][0]["state"]),
        (&"a".into(), &"applied".into())
    );
    assert_eq!(a["instances"][0]["revision"], first.as_str());
    assert_eq!(a["instances"][0]["pid"].to_string(), before["a"].pid.to_string());

    let said = lab.lockstep(&["at", &then]).done();
    assert!(
        said.contains(&first.as_str()[..12]) && said.contains("applied"),
        "{said}"
    );
    let said = lab.lockstep(&["at", "2020-01-01T00:00"]).failed(1);
    assert!(
        said.contains("nothing is known of") && said.contains("what is kept begins at"),
        "{said}"
    );
}
