//! Secrets on the road: refused at each gate, shown at none, and allowed by a change that came before.

use lockstep_tests::{Lab, Service};

/// Drawn by lot.
const VALUE: &str = "9f8a7c6b5d4e3f2a1b0c9d8e7f6a5b4c";

#[test]
fn a_secret_is_refused_and_its_value_is_shown_nowhere_until_an_earlier_change_allows_it() {
    let lab = Lab::builder()
        .path("config")
        .service(Service::acknowledged("a"))
        .start();
    let broker = "config/broker.toml";
    let secret = format!("host = \"gateway\"\napi_key = \"{VALUE}\"\n");
    let with_secret = lab.publish(&[(broker, &secret)]);
    let refused = lab.wait_kind("Rejected", &with_secret);
    for words in [
        "LS0305",
        "broker.toml:2:12",
        "`api_key`",
        "`9f8a****`",
        "api_key = \"*****",
    ] {
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
    for told in [
        lab.lockstep(&["events", "--json"]).done(),
        lab.lockstep(&["status", "--json"]).done(),
        lab.lockstep(&["plan", with_secret.as_str()]).failed(1),
    ] {
        assert!(!told.contains(&VALUE[..8]), "{told}");
    }
    // Allowing it in the same commit is what nobody would notice.
    let mark = refused.message.split("add \"").nth(1).unwrap();
    let mark = mark.split('"').next().unwrap();
    let policy = format!("version = 1\n[secrets]\nallow = [\"{mark}\"]\n");
    let both = lab.publish(&[(".lockstep/policy.toml", &policy)]);
    let refused = lab.wait_kind("Rejected", &both);
    assert!(
        refused.message.contains("push the allowance first"),
        "{}",
        refused.message
    );
    // A change of its own, then the value.
    lab.wait_settled(&lab.publish(&[(broker, "host = \"gateway\"\n")]));
    lab.wait_settled(&lab.publish(&[(broker, &secret)]));
    let live = std::fs::read_to_string(lab.volume().join("broker.toml")).unwrap();
    assert_eq!(live, secret);
}
