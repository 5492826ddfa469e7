//! What a change touches, and how.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Repo;
use lockstep_core::plan::{FileChangeKind, Plan, PlanInput, ServiceEffect, Snapshot, Undo, plan, text};
use lockstep_core::reads::Reads;
use lockstep_core::tree::TreePath;

const POLICY: &str = r#"
version = 1
[[document]]
path = "config/config.toml"
schema = ".lockstep/schema/trading.json"
[[effect]]
keys = ["data.cache_dir"]
restart = ["scanner"]
"#;

const SCHEMA: &str = r##"{
  "properties": {
    "ibkr": { "$ref": "#/$defs/ibkr" },
    "trading": { "properties": { "risk": { "type": "number", "x-unit": "share of equity", "default": 0.02, "description": "What one trade may lose." } } },
    "scanner": { "properties": { "port": { "x-lockstep-effect": { "restart": ["scanner"] } }, "level": {} } },
    "gateway": { "items": { "properties": { "host": { "x-lockstep-effect": "restart" } } } }
  },
  "$defs": { "ibkr": { "x-lockstep-effect": "restart", "properties": { "host": { "type": "string" } } } }
}"##;

const CONFIG: &str = r#"
[ibkr]
host = "a"
[trading]
risk = 0.02
[scanner]
port = 1
level = "info"
[data]
cache_dir = "/a"
[[gateway]]
host = "x"
weight = 1
"#;

fn repo(config: &str) -> Repo {
    let mut repo = Repo::new("config");
    repo.add(".lockstep/policy.toml", POLICY)
        .add(".lockstep/schema/trading.json", SCHEMA);
    repo.add("config/config.toml", config)
        .add("config/symbols.csv", "AAPL\n");
    repo
}

fn reads(entries: &[&str]) -> Reads {
    Reads::parse(
        &entries
            .iter()
            .map(|entry| (*entry).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

/// The plan between two revisions for an orchestrator and a scanner that each read their parts.
fn planned(live: Option<&Repo>, candidate: &Repo) -> Plan {
    let orchestrator = reads(&[
        "config.toml#ibkr",
        "config.toml#trading",
        "config.toml#scanner.port",
    ]);
    let scanner = reads(&[
        "config.toml#scanner",
        "config.toml#data",
        "config.toml#gateway",
        "*.csv",
    ]);
    let services = [
        PlanInput {
            name: "orchestrator",
            reads: &orchestrator,
            reload_is_restart: false,
        },
        PlanInput {
            name: "scanner",
            reads: &scanner,
            reload_is_restart: false,
        },
    ];
    let live = live.map(|live| Snapshot::of(&live.candidate(), None));
    plan(
        live.as_ref(),
        &Snapshot::of(&candidate.candidate(), live.as_ref()),
        &services,
    )
}

fn change(from: &str, to: &str) -> Plan {
    planned(Some(&repo(CONFIG)), &repo(&CONFIG.replacen(from, to, 1)))
}

fn keys(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(|change| change.key.to_string()).collect()
}

fn effects(plan: &Plan) -> [&str; 2] {
    let word = |at: usize| match plan.services[at].effect {
        ServiceEffect::Unaffected => "unaffected",
        ServiceEffect::Reload => "reload",
        ServiceEffect::Restart { .. } => "restart",
    };
    [word(0), word(1)]
}

#[test]
fn a_hot_key_reloads_who_reads_it_and_nobody_else() {
    let plan = change("risk = 0.02", "risk = 0.03");
    assert_eq!(keys(&plan), ["trading.risk"]);
    assert_eq!(effects(&plan), ["reload", "unaffected"]);
    let risk = &plan.changes[0];
    assert_eq!(
        (risk.unit.as_deref(), risk.default.clone()),
        (Some("share of equity"), Some(0.02.into()))
    );
    assert!(plan.files.is_empty());
}

#[test]
fn the_schema_can_demand_a_restart_of_all_who_read_a_table() {
    let plan = change("host = \"a\"", "host = \"b\"");
    assert_eq!(effects(&plan), ["restart", "unaffected"]);
    let ServiceEffect::Restart { because } = &plan.services[0].effect else {
        panic!("restart")
    };
    assert_eq!(because, &["`ibkr.host` takes effect at a start only"]);
}

#[test]
fn the_schema_can_demand_a_restart_of_one_service_and_a_reload_of_another() {
    assert_eq!(effects(&change("port = 1", "port = 2")), ["reload", "restart"]);
}

#[test]
fn the_policy_can_demand_a_restart() {
    assert_eq!(effects(&change("\"/a\"", "\"/b\"")), ["unaffected", "restart"]);
}

#[test]
fn tables_in_lists_are_compared_entry_by_entry() {
    let plan = change("weight = 1", "weight = 2");
    assert_eq!(keys(&plan), ["gateway[0].weight"]);
    assert_eq!(effects(&plan), ["unaffected", "reload"]);
    assert_eq!(
        effects(&change("host = \"x\"", "host = \"y\"")),
        ["unaffected", "restart"]
    );
    // A list that grows is one value, and what is inside it counts.
    let plan = change("[[gateway]]", "[[gateway]]\nhost = \"new\"\n[[gateway]]");
    assert_eq!(
        (keys(&plan), effects(&plan)),
        (vec!["gateway".to_owned()], ["unaffected", "restart"])
    );
}

#[test]
fn a_restart_that_the_candidate_lifts_is_still_needed_for_that_change() {
    let mut candidate = repo(&CONFIG.replace("host = \"a\"", "host = \"b\""));
    candidate.add(".lockstep/schema/trading.json", "{}");
    assert_eq!(effects(&planned(Some(&repo(CONFIG)), &candidate))[0], "restart");
}

#[test]
fn comments_touch_nobody_who_reads_parts() {
    let plan = change("[trading]", "# a comment\n[trading]");
    assert_eq!(effects(&plan), ["unaffected", "unaffected"]);
    assert_eq!(plan.files[0].kind, FileChangeKind::Layout);
    assert!(plan.changes.is_empty());
}

#[test]
fn a_removed_key_shows_its_old_value_and_a_type_that_changes_counts() {
    let plan = change("risk = 0.02", "");
    assert_eq!(
        (plan.changes[0].old.clone(), plan.changes[0].new.clone()),
        (Some(0.02.into()), None)
    );
    assert_eq!(keys(&change("port = 1", "port = 1.0")), ["scanner.port"]);
    assert_eq!(
        keys(&planned(
            Some(&repo("d = 2026-01-31")),
            &repo("d = \"2026-01-31\"")
        )),
        ["d"]
    );
}

#[test]
fn other_files_are_whole() {
    let mut candidate = repo(CONFIG);
    candidate
        .add("config/symbols.csv", "MSFT\n")
        .add("config/new.txt", "x");
    let plan = planned(Some(&repo(CONFIG)), &candidate);
    let kinds: Vec<_> = plan
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("new.txt", FileChangeKind::Added),
            ("symbols.csv", FileChangeKind::Modified)
        ]
    );
    assert_eq!(effects(&plan), ["unaffected", "reload"]);
}

#[test]
fn a_document_that_goes_touches_who_reads_parts_of_it() {
    let mut candidate = repo(CONFIG);
    candidate.remove("config/config.toml");
    assert_eq!(
        effects(&planned(Some(&repo(CONFIG)), &candidate)),
        ["restart", "restart"]
    );
}

#[test]
fn nothing_to_start_from_means_nothing_to_restart_and_nothing_to_go_back_to() {
    let plan = planned(None, &repo(CONFIG));
    assert_eq!(effects(&plan), ["reload", "reload"]);
    assert_eq!(plan.undo, Undo::Nothing);
    assert!(plan.from.is_none());
}

#[test]
fn the_way_back_is_the_plan_with_its_sides_exchanged() {
    let (old, new) = (repo(CONFIG), repo(&CONFIG.replace("port = 1", "port = 2")));
    let there = planned(Some(&old), &new);
    assert_eq!(
        there.undo,
        Undo::Release {
            services: planned(Some(&new), &old).services
        }
    );
}

#[test]
fn a_service_that_reloads_by_restarting_says_so() {
    let everything = Reads::everything();
    let service = PlanInput {
        name: "old",
        reads: &everything,
        reload_is_restart: true,
    };
    let (old, new) = (repo(CONFIG), repo("a = 1"));
    let (old, new) = (
        Snapshot::of(&old.candidate(), None),
        Snapshot::of(&new.candidate(), None),
    );
    let ServiceEffect::Restart { because } = &plan(Some(&old), &new, &[service]).services[0].effect else {
        panic!("restart")
    };
    assert!(because.last().unwrap().contains("every change"));
}

#[test]
fn a_snapshot_takes_over_what_did_not_change() {
    let old = repo(CONFIG);
    let live = Snapshot::of(&old.candidate(), None);
    let mut new = repo(CONFIG);
    new.add("config/symbols.csv", "MSFT\n");
    // The document is not at hand, yet known from before.
    new.files.remove("config/config.toml");
    let next = Snapshot::of(&new.candidate(), Some(&live));
    let path = TreePath::new("config.toml").unwrap();
    assert!(next.published().documents.contains_key(&path));
    new.add("config/config.toml", "a = 1");
    new.files.remove("config/config.toml");
    assert!(
        !Snapshot::of(&new.candidate(), Some(&live))
            .published()
            .documents
            .contains_key(&path)
    );
}

#[test]
fn a_plan_reads_well() {
    let candidate = CONFIG
        .replace("risk = 0.02", "risk = 0.03")
        .replace("port = 1\n", "port = 2\nfresh = [1, 2]\n")
        .replace("level = \"info\"\n", "");
    let plan = planned(Some(&repo(CONFIG)), &repo(&candidate));
    let expected = format!(
        "Plan: uncommitted ({}) -> uncommitted ({})\n{}",
        plan.from.as_ref().unwrap().digest.short(),
        plan.to.digest.short(),
        r#"
  config.toml
    + scanner.fresh  absent -> [1, 2]
    - scanner.level  "info" -> absent
    ~ scanner.port   1 -> 2
    ~ trading.risk   0.02 -> 0.03 share of equity

Services
  orchestrator  reload
  scanner       restart: `scanner.port` takes effect at a start only

Undoing it: reload of orchestrator; restart of scanner, whose connections are gone once more.
"#
    );
    assert_eq!(text(&plan), expected);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["services"][1]["effect"], "restart");
    assert_eq!(json["changes"][3]["key"], "trading.risk");
    assert_eq!(json["undo"]["to"], "release");
}

#[test]
fn a_plan_reads_the_same_whatever_a_document_is_written_in() {
    let of = |name: &str, risk: &str, host: &str| {
        let text = match name.rsplit_once('.').unwrap().1 {
            "toml" => format!("[trading]\nrisk = {risk}\n[ibkr]\nhost = \"{host}\"\n"),
            "json" => format!("{{\"trading\": {{\"risk\": {risk}}}, \"ibkr\": {{\"host\": \"{host}\"}}}}"),
            _ => format!("trading:\n  risk: {risk}\nibkr: {{ host: {host} }}\n"),
        };
        let mut repo = Repo::new("config");
        repo.add(".lockstep/policy.toml", POLICY.replace("config.toml", name))
            .add(".lockstep/schema/trading.json", SCHEMA)
            .add(&format!("config/{name}"), text);
        repo
    };
    for name in ["config.toml", "config.json", "config.yaml", "config.yml"] {
        let trading = reads(&[&format!("{name}#trading.risk")]);
        let ibkr = reads(&[&format!("{name}#ibkr")]);
        let services = [("trading", &trading), ("ibkr", &ibkr)].map(|(name, reads)| PlanInput {
            name,
            reads,
            reload_is_restart: false,
        });
        let planned = |from: &Repo, to: &Repo| {
            let live = Snapshot::of(&from.candidate(), None);
            plan(
                Some(&live),
                &Snapshot::of(&to.candidate(), Some(&live)),
                &services,
            )
        };
        let first = of(name, "0.02", "a");
        let risk = planned(&first, &of(name, "0.03", "a"));
        assert_eq!(keys(&risk), ["trading.risk"], "{name}");
        assert_eq!(effects(&risk), ["reload", "unaffected"], "{name}");
        assert_eq!(risk.changes[0].unit.as_deref(), Some("share of equity"), "{name}");
        let host = planned(&first, &of(name, "0.02", "b"));
        assert_eq!(effects(&host), ["unaffected", "restart"], "{name}");
    }
}

#[test]
fn a_null_that_is_written_is_not_a_key_that_is_absent() {
    let repo = |text: &str| {
        let mut repo = Repo::new("");
        repo.add("a.json", text);
        repo
    };
    let (absent, written) = (repo("{}"), repo(r#"{"a": null}"#));
    let reads = reads(&["a.json#a"]);
    let services = [PlanInput {
        name: "s",
        reads: &reads,
        reload_is_restart: false,
    }];
    let live = Snapshot::of(&absent.candidate(), None);
    let plan = plan(
        Some(&live),
        &Snapshot::of(&written.candidate(), Some(&live)),
        &services,
    );
    assert_eq!(plan.services[0].effect, ServiceEffect::Reload);
    let digest = |repo: &Repo| reads.digest(Snapshot::of(&repo.candidate(), None).published());
    assert_ne!(digest(&absent), digest(&written));
}
