//! The Python example takes the same road.

use std::path::Path;

use lockstep_tests::{Lab, Service};

fn lab(tier: &'static str) -> Lab {
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/examples/python/lockstep_service.py");
    let example = example.to_str().expect("the workspace's path is UTF-8");
    let service = Service::program("example", &["python3", example]).tier(tier);
    Lab::builder()
        .service(service)
        .file("config/config.toml", "limit = 5\n")
        .start()
}

fn served(lab: &Lab) -> String {
    let log = std::fs::read_to_string(lab.state().join("log/example.log")).unwrap_or_default();
    log.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_python_service_takes_a_change_refuses_one_and_goes_back() {
    let lab = lab("voting");
    let before = lab.services();
    assert!(served(&lab).ends_with("limit is 5"), "{}", served(&lab));

    let change = lab.publish(&[("config/config.toml", "limit = 7\n")]);
    lab.wait_settled(&change);
    assert!(served(&lab).ends_with("limit is 7"), "{}", served(&lab));

    let refused = lab.publish(&[("config/config.toml", "limit = 0\n")]);
    let rejected = lab.wait_kind("Rejected", &refused);
    assert!(
        rejected
            .message
            .contains("`limit` must be a whole number above 0"),
        "{rejected:?}"
    );

    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.origin().git(&["revert", "--no-edit", change.as_str()]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert!(served(&lab).ends_with("limit is 5"), "{}", served(&lab));
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
}

#[test]
fn a_python_service_that_refuses_after_the_switch_sends_itself_back() {
    let lab = lab("acknowledged");
    let before = lab.services();
    let refused = lab.publish(&[("config/config.toml", "limit = \"many\"\n")]);
    lab.wait_rolled_back(&refused);
    let quarantined = lab.status().quarantined;
    assert!(
        quarantined[0]
            .reason
            .contains("`limit` must be a whole number above 0"),
        "{quarantined:?}"
    );
    lab.origin().git(&["revert", "--no-edit", "HEAD"]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab.wait_settled(&lab.publish(&[("config/config.toml", "limit = 8\n")]));
    assert!(served(&lab).ends_with("limit is 8"), "{}", served(&lab));
    lab.assert_same_processes(&before);
}
