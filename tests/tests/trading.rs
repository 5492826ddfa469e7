//! The trading stack as its users run it: real broker protocol, real scanner, real orchestrator.

use lockstep_tests::Trading;
use lockstep_tests::wait::eventually;

#[test]
fn parameters_change_and_go_back_while_the_one_broker_session_stays_up() {
    let trading = Trading::start();
    let lab = &trading.lab;
    let before = lab.services();

    let both = trading.change("level = \"INFO\" ", "level = \"DEBUG\"");
    lab.wait_settled(&both);
    let risk = trading.change("risk_per_trade = 0.02", "risk_per_trade = 0.03");
    lab.wait_settled(&risk);
    // What it applied last, in its own words.
    let works_with = |risk: &str| {
        let log = trading.log("orchestrator");
        let newest = log.lines().rfind(|line| line.contains("config applied"));
        newest.is_some_and(|line| line.contains(&format!("risk_per_trade={risk}")))
    };
    eventually("the log says so", || works_with("0.03"));

    let told = |log: String| log.matches("config applied").count();
    let orchestrators = told(trading.log("orchestrator"));
    let rsi = trading.change("min_rsi = 60", "min_rsi = 70");
    lab.wait_settled(&rsi);
    assert_eq!(
        told(trading.log("orchestrator")),
        orchestrators,
        "only the scanner reads that"
    );

    lab.origin().git(&["revert", "--no-edit", risk.as_str()]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    eventually("the log says so", || works_with("0.02"));

    lab.assert_same_processes(&before);
    trading.assert_one_session();
    lab.assert_nobody_stopped();
}

#[test]
fn a_value_that_a_service_refuses_is_vetoed_before_anything_is_switched() {
    let trading = Trading::start();
    let lab = &trading.lab;
    let (before, live) = (lab.services(), lab.status().live);

    let unknown = trading.change("\"AAPL\", ", "\"NOSUCH\", ");
    let rejected = lab.wait_kind("Rejected", &unknown);
    assert!(
        rejected.message.contains("scanner") && rejected.message.contains("NOSUCH"),
        "{rejected:?}"
    );
    assert_eq!(lab.status().live, live);

    lab.wait_settled(&trading.change("\"NOSUCH\", ", "\"AAPL\", "));
    let account = trading.change("account = \"\" ", "account = \"DU99\" ");
    let rejected = lab.wait_kind("Rejected", &account);
    assert!(
        rejected.message.contains("orchestrator") && rejected.message.contains("DU99"),
        "{rejected:?}"
    );
    lab.assert_same_processes(&before);
    trading.assert_one_session();
}

#[test]
fn what_the_schema_forbids_is_rejected_with_its_place() {
    let trading = Trading::start();
    let lab = &trading.lab;
    let before = lab.services();
    for (from, to, words) in [
        ("max_positions = 5 ", "max_positions = ", "config/config.toml"),
        ("max_positions = ", "max_positions = \"five\"", "max_positions"),
        ("max_positions = \"five\"", "max_position = 5", "max_positions"),
        ("max_position = 5", "max_positions = -1", "max_positions"),
    ] {
        let revision = trading.change(from, to);
        let rejected = lab.wait_kind("Rejected", &revision);
        assert!(rejected.message.contains(words), "{to}: {}", rejected.message);
        assert!(
            rejected.message.contains("config/config.toml:"),
            "the line is named: {}",
            rejected.message
        );
    }
    lab.wait_settled(&trading.change("max_positions = -1", "max_positions = 6"));
    lab.assert_same_processes(&before);
    trading.assert_one_session();
}

#[test]
fn a_key_of_the_broker_connection_restarts_the_orchestrator_and_says_so_before() {
    let trading = Trading::start();
    let lab = &trading.lab;
    let before = lab.services();
    lab.wait_settled(&trading.change("client_id = 1 ", "client_id = 2 "));
    let after = lab.services();
    assert_ne!(after["orchestrator"], before["orchestrator"]);
    assert_eq!(after["scanner"], before["scanner"]);
    lab.assert_nobody_stopped();
}
