//! Schemas that nobody here wrote, of drafts 7 and 2020-12: what fits is taken, and what does not is told at its place.
//!
//! `tests/comparison/foreign.py` does the same for some twenty more, with some thousand documents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Repo;
use lockstep_core::diagnostic::Lines;
use lockstep_core::validate::{Scope, Way, validate};

const COMPOSE: &str = include_str!("foreign/compose-spec.json");
const ISSUES: &str = include_str!("foreign/github-issue-config.json");
const READTHEDOCS: &str = include_str!("foreign/readthedocs.json");
const TASKFILE: &str = include_str!("foreign/taskfile.json");

/// What is said, as `line:column message`.
fn said(schema: &str, name: &str, text: &str) -> Vec<String> {
    let mut repo = Repo::new("");
    let policy = format!("version = 1\n[[document]]\npath = \"{name}\"\nschema = \"s.json\"\n");
    repo.add(".lockstep/policy.toml", policy)
        .add("s.json", schema)
        .add(name, text);
    let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
    let lines = Lines::of(text);
    let each = report.diagnostics().iter().map(|it| {
        assert_eq!(it.path, name, "{it:?}");
        let at = lines.at(it.span.as_ref().unwrap().start);
        format!("{}:{} {}", at.line, at.column, it.message)
    });
    each.collect()
}

const SERVICES: &str = "\
name: shop
services:
  web:
    image: nginx:1.27
    ports: ['8080:80', { target: 443, published: '8443' }]
    environment: { LEVEL: info, DEBUG: ~ }
    depends_on: { db: { condition: service_healthy } }
    healthcheck: { test: [CMD, curl, -f, 'http://localhost'], interval: 30s, retries: 3 }
  db:
    image: postgres:17
    volumes: ['data:/var/lib/postgresql/data']
    x-note: anything
volumes:
  data:
networks: { back: { driver: bridge, internal: true } }
";

#[test]
fn compose() {
    assert_eq!(said(COMPOSE, "compose.yaml", SERVICES), [""; 0]);
    let broken = |from: &str, to: &str| said(COMPOSE, "compose.yaml", &SERVICES.replacen(from, to, 1));
    assert_eq!(
        broken("image: nginx", "imgae: nginx"),
        ["4:5 unknown key `imgae` in `services.web`"]
    );
    assert_eq!(
        broken("service_healthy", "service_healty"),
        [
            "7:36 `condition` must be `service_started`, `service_healthy` or `service_completed_successfully`, not the text \
             \"service_healty\""
        ]
    );
    assert_eq!(
        broken("networks: {", "networks: 5 #"),
        ["15:11 `networks` must be a mapping, not the whole number 5"]
    );
    assert_eq!(
        broken("['data:/var/lib/postgresql/data']", "[{ source: data }]"),
        ["11:15 missing key `type` in `services.db.volumes[0]`"]
    );
}

#[test]
fn read_the_docs() {
    let right = "version: 2\nbuild:\n  os: ubuntu-24.04\n  tools: { python: '3.13' }\nsphinx: { configuration: docs/conf.py }\n";
    assert_eq!(said(READTHEDOCS, "a.yaml", right), [""; 0]);
    let json = r#"{"version": 2, "build": {"os": "ubuntu-24.04", "tools": {"python": "3.13"}}}"#;
    assert_eq!(said(READTHEDOCS, "a.json", json), [""; 0]);
    let float = said(READTHEDOCS, "a.yaml", &right.replace("'3.13'", "3.13"));
    assert_eq!(float.len(), 1, "{float:?}");
    assert!(float[0].starts_with("4:20 `python` must be "), "{float:?}");
    assert_eq!(
        said(READTHEDOCS, "a.yaml", &right.replace("version: 2\n", "")),
        ["1:1 missing key `version`"]
    );
}

#[test]
fn task() {
    let right = "version: '3'\ntasks:\n  build: { cmds: [go build ./...], sources: ['**/*.go'], silent: true }\n  test: go test ./...\n";
    assert_eq!(said(TASKFILE, "Taskfile.yml", right), [""; 0]);
    let wrong = said(
        TASKFILE,
        "Taskfile.yml",
        &right.replace("silent: true", "silent: loud"),
    );
    assert!(
        !wrong.is_empty() && wrong.iter().all(|it| it.starts_with("3:")),
        "{wrong:?}"
    );
}

#[test]
fn issue_forms() {
    let right = "blank_issues_enabled = false\n[[contact_links]]\nname = \"Ask\"\nurl = \"https://example.org\"\nabout = \"Questions\"\n";
    assert_eq!(said(ISSUES, "config.toml", right), [""; 0]);
    assert_eq!(
        said(
            ISSUES,
            "config.toml",
            &right.replace("about = \"Questions\"\n", "")
        ),
        ["2:1 missing key `about` in `contact_links[0]`"]
    );
    assert_eq!(
        said(ISSUES, "config.toml", &right.replace("false", "\"no\"")),
        ["1:24 `blank_issues_enabled` must be `true` or `false`, not the text \"no\""]
    );
}
