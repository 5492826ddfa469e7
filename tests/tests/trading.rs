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

/// Another good value for a key, whatever its kind.
fn another(key: &str, value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::Boolean(value) => (!value).into(),
        toml::Value::Integer(value) => (value + 1).into(),
        toml::Value::Float(value) => (value * 0.9).into(),
        toml::Value::Array(values) => values[1..].to_vec().into(),
        toml::Value::String(_) => match key {
            "ibkr.host" | "scanner.host" => "localhost",
            "ibkr.account" => "DU1234567",
            "data.cache_dir" => "elsewhere",
            "schedule.trading_start" => "10:30",
            "schedule.trading_end" => "15:00",
            "schedule.timezone" => "America/Chicago",
            "logging.level" => "DEBUG",
            "logging.file" => "trader.log",
            "logging.format" => "json",
            other => panic!("no other value is known for {other}"),
        }
        .into(),
        toml::Value::Datetime(_) | toml::Value::Table(_) => panic!("{key} is none of ours"),
    }
}

/// Each document that differs from this one in one key, by that key.
fn one_key_changed(document: &toml::Table) -> Vec<(String, toml::Table)> {
    fn walk(path: &[&str], table: &toml::Table, found: &mut Vec<(String, toml::Value)>) {
        for (name, value) in table {
            let path = [path, &[name.as_str()]].concat();
            match value {
                toml::Value::Table(inner) => walk(&path, inner, found),
                value => found.push((path.join("."), value.clone())),
            }
        }
    }
    let mut keys = Vec::new();
    walk(&[], document, &mut keys);
    let changed = |(key, value): (String, toml::Value)| {
        let mut changed = document.clone();
        let (sections, name) = key.rsplit_once('.').expect("keys are in sections");
        let section = sections.split('.').fold(&mut changed, |table, section| {
            table[section].as_table_mut().expect("it was walked through")
        });
        section.insert(name.to_owned(), another(&key, &value));
        (key, changed)
    };
    // LIVE needs other keys as well: it cannot be changed alone.
    let alone = keys.into_iter().filter(|(key, _)| key != "trading.mode");
    alone.map(changed).collect()
}

#[test]
fn a_plan_says_of_every_key_whether_it_is_taken_hot_and_by_whom() {
    let trading = Trading::start();
    let lab = &trading.lab;
    let before = lab.services();
    lab.lockstep(&["suspend", "--reason", "only plans are wanted"])
        .done();
    let text = std::fs::read_to_string(lab.origin().work().join("config/config.toml")).expect("it is there");
    let document: toml::Table = toml::from_str(&text).expect("the template is good");
    let commits: Vec<_> = one_key_changed(&document)
        .into_iter()
        .map(|(key, changed)| (key, lab.commit(&[("config/config.toml", &changed.to_string())])))
        .collect();
    lab.push();
    lab.wait_kind("Held", &commits.last().expect("there are keys").1);
    assert!(commits.len() > 50, "{}", commits.len());
    for (key, revision) in commits {
        let plan: serde_json::Value =
            serde_json::from_str(&lab.lockstep(&["plan", revision.as_str(), "--json"]).done()).expect("JSON");
        let effect = |service: &str| {
            let services = plan["plan"]["services"].as_array().expect("services");
            let service = services.iter().find(|each| each["service"] == service);
            service.expect("it is planned for")["effect"]
                .as_str()
                .expect("a word")
                .to_owned()
        };
        let expected = match key.as_str() {
            "ibkr.host" | "ibkr.port" | "ibkr.client_id" => ("unaffected", "restart"),
            "scanner.port" => ("restart", "reload"),
            "scanner.host" => ("reload", "reload"),
            "data.cache_dir" => ("restart", "unaffected"),
            key if key.starts_with("logging.") => ("reload", "reload"),
            key if ["scanner.", "data.", "strategy.", "universe."]
                .iter()
                .any(|part| key.starts_with(part)) =>
            {
                ("reload", "unaffected")
            }
            _ => ("unaffected", "reload"),
        };
        assert_eq!(
            (effect("scanner").as_str(), effect("orchestrator").as_str()),
            expected,
            "{key}: {plan:#}"
        );
    }
    lab.assert_same_processes(&before);
    trading.assert_one_session();
}

#[test]
fn a_changed_risk_changes_what_would_be_entered_without_a_restart() {
    let trading = Trading::start();
    let lab = &trading.lab;
    let before = lab.services();
    let entered = |contracts: &str| {
        let log = trading.log("orchestrator");
        let newest = log
            .lines()
            .rfind(|line| line.contains("would enter symbol=\"AAPL\""));
        newest.is_some_and(|line| line.contains(&format!("contracts={contracts} ")))
    };
    eventually("AAPL would be entered", || entered("5"));
    let risk = trading.change("risk_per_trade = 0.02", "risk_per_trade = 0.04");
    lab.wait_settled(&risk);
    eventually("with twice the risk", || entered("10"));
    lab.origin().git(&["revert", "--no-edit", risk.as_str()]);
    lab.push();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    eventually("with the risk of before", || entered("5"));
    lab.assert_same_processes(&before);
    trading.assert_one_session();
}
