//! What `lockstep history` tells: how each candidate ended, also while no reconciler runs.

use lockstep_tests::{Lab, Service};
use serde_json::Value;

fn history(lab: &Lab) -> Vec<Value> {
    let text = lab.lockstep(&["history", "--json", "--limit", "1000"]).done();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("each line is JSON")
}

#[test]
fn each_candidate_is_in_the_history_once_with_its_end() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .start();
    let first = lab.status().live.expect("something is live").revision;
    let taken = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&taken);
    let refused = lab.set(&[("a", "value = 3\nrefuse = true")]);
    lab.wait_rolled_back(&refused);
    let broken = lab.publish(&[("config/config.toml", "[a\n")]);
    lab.wait_kind("Rejected", &broken);
    lab.stop_reconciler();

    let all = history(&lab);
    let facts: Vec<_> = all
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            (text("revision"), text("outcome"), entry["switch"].as_u64())
        })
        .collect();
    assert_eq!(
        facts,
        [
            (first.to_string(), "Settled".to_owned(), Some(1)),
            (taken.to_string(), "Settled".to_owned(), Some(2)),
            (refused.to_string(), "RolledBack".to_owned(), Some(4)),
            (broken.to_string(), "Rejected".to_owned(), None),
        ]
    );
    assert_eq!(all[1]["subject"], "a: value = 2");
    assert_eq!(all[1]["from"], first.to_string());
    assert_eq!(all[1]["services"]["a"], "reload");
    assert!(all[1]["pause_us"].as_u64().is_some_and(|pause| pause > 0));
    assert!(
        all[2]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("`refuse` is set"))
    );
    assert!(
        all[3]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("LS0101"))
    );

    let text = lab.lockstep(&["history", "-n", "2"]).done();
    assert!(
        !text.contains(taken.short()) && text.contains("RolledBack"),
        "{text}"
    );
    lab.start_reconciler();
    lab.wait_status("it is judged again", |status| status.candidate.is_some());
    lab.lockstep(&["sync"]).done();
    assert_eq!(history(&lab).len(), 4, "nothing is told twice");
    let rejected = lab.events().into_iter().filter(|event| event.kind == "Rejected");
    assert_eq!(rejected.count(), 1, "nor by the events");
}
