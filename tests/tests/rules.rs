//! Rules about the old value, on the road: each commit counts, no restart makes a policy forgotten, and a way back is
//! not narrower than the way there was.

use lockstep_tests::{Lab, Service};

const SCHEMA: &str = r#"{
    "type": "object",
    "additionalProperties": { "type": "object", "properties": { "value": { "type": "integer", "default": 1 } } }
}"#;

fn policy(limit: u32) -> String {
    format!(
        "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \"schema.json\"\n\
         [[rule]]\nname = \"step\"\ndocument = \"config/config.toml\"\n\
         expression = \"self.a.value <= {limit} * oldSelf.a.value\"\nmessage = \"too large a step\"\n"
    )
}

fn lab() -> Lab {
    Lab::builder()
        .path("config")
        .file(".lockstep/policy.toml", policy(2))
        .file("schema.json", SCHEMA)
        .service(Service::acknowledged("a"))
        .start()
}

#[test]
fn a_leap_is_refused_and_the_same_in_steps_is_not() {
    let lab = lab();
    let before = lab.services();
    let leap = lab.set(&[("a", "value = 4")]);
    let refused = lab.wait_kind("Rejected", &leap);
    for words in [
        "too large a step",
        "LS0401",
        "`a.value` is 4, before 1",
        "rule `step`",
    ] {
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
    assert_eq!(lab.value("a"), 1);
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    // Commits that arrive together are judged one by one.
    lab.edit(&[("a", "value = 4")]);
    lab.edit(&[("a", "value = 8")]);
    lab.wait_settled(&lab.set(&[("a", "value = 16")]));
    // And a leap among them is found, although the head is but a step from the commit before it.
    let leap = lab.edit(&[("a", "value = 100")]);
    let head = lab.set(&[("a", "value = 101")]);
    let refused = lab.wait_kind("Rejected", &head);
    let commit = format!("in the commit {}", leap.short());
    assert!(refused.message.contains(&commit), "{}", refused.message);
    assert_eq!(lab.value("a"), 16);
    lab.assert_same_processes(&before);
}

#[test]
fn the_way_back_to_what_settled_is_not_narrower_than_the_way_there_was() {
    let lab = lab();
    let high = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&high);
    lab.wait_settled(&lab.set(&[("a", "value = 0")]));
    // As a change it would be refused: twice nothing is nothing.
    let refused = lab.set(&[("a", "value = 1\nother = 1")]);
    lab.wait_kind("Rejected", &refused);
    lab.lockstep(&["rollback", "--to", high.as_str(), "-m", "back"])
        .done();
    lab.lockstep(&["wait"]).done();
    assert_eq!(lab.value("a"), 2);
}

#[test]
fn the_policy_of_what_is_live_judges_also_after_a_restart() {
    let lab = lab();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.stop_reconciler();
    // It takes the rule away and leaps in one commit.
    lab.commit(&[(".lockstep/policy.toml", &policy(1_000))]);
    let sly = lab.set(&[("a", "value = 50")]);
    lab.start_reconciler();
    let refused = lab.wait_kind("Rejected", &sly);
    assert!(
        refused.message.contains("rule `step` of the base")
            && refused.message.contains("from the next one on"),
        "{}",
        refused.message
    );
    assert_eq!(lab.value("a"), 2);
    // In a commit of its own the rule may be changed, and holds from the next one on.
    lab.wait_settled(&lab.set(&[("a", "value = 3")]));
    lab.wait_settled(&lab.set(&[("a", "value = 50")]));
}
