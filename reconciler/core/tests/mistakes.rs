//! The mistakes of `tests/comparison/mistakes.toml` with the message each gets: `docs/mistakes.md`. `UPDATE=1` writes it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the cases and the page are files")]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::Repo;
use lockstep_core::diagnostic::{Diagnostic, Lines};
use lockstep_core::validate::{Scope, Way, validate};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    mistake: Vec<Mistake>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    kind: String,
    what: String,
    name: String,
    text: Option<String>,
    hex: Option<String>,
    #[serde(default)]
    parts: Vec<(String, usize)>,
    #[serde(default = "one")]
    messages: usize,
}

fn one() -> usize {
    1
}

impl Mistake {
    fn document(&self) -> Vec<u8> {
        if let Some(hex) = &self.hex {
            let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            return (0..hex.len()).step_by(2).map(digits).collect();
        }
        let parts = self.parts.iter().map(|(part, times)| part.repeat(*times));
        parts.chain(self.text.clone()).collect::<String>().into_bytes()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn judged(mistake: &Mistake) -> Vec<Diagnostic> {
    let read = |name: &str| std::fs::read_to_string(root().join("tests/comparison").join(name)).unwrap();
    let mut repo = Repo::new("");
    repo.add(
        ".lockstep/policy.toml",
        read("policy.toml").replace("DOCUMENT", &mistake.name),
    )
    .add(".lockstep/schema.json", read("schema.json"))
    .add(&mistake.name, mistake.document());
    let report = validate(&repo.candidate(), None, Way::default(), Scope::All);
    report.diagnostics().to_vec()
}

/// A piece of code in a cell of a table.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

/// The line that is marked, with the sign for the first byte that is.
fn marked(mistake: &Mistake, diagnostic: &Diagnostic) -> String {
    let document = mistake.document();
    let (Some(span), Ok(text)) = (&diagnostic.span, std::str::from_utf8(&document)) else {
        return String::new();
    };
    let at = Lines::of(text).at(span.start);
    let line = text.lines().nth(at.line - 1).unwrap_or_default();
    let line: String = line.trim().chars().take(60).collect();
    let line = if line.is_empty() {
        String::new()
    } else {
        format!(" {}", code(&line))
    };
    format!("{}:{}{line}", at.line, at.column)
}

fn page(mistakes: &[Mistake]) -> String {
    let mut out = format!(
        "# {} mistakes, and what is said about each\n\nMade by `reconciler/core/tests/mistakes.rs` from \
         [`mistakes.toml`](../tests/comparison/mistakes.toml), which has the documents, with the schema and the policy beside it; the \
         test fails when this page is stale. The place is line and column. [The same documents through other \
         tools](mistakes-compared.md).\n",
        mistakes.len()
    );
    let mut kind = "";
    for mistake in mistakes {
        if mistake.kind != kind {
            kind = &mistake.kind;
            let _ = writeln!(
                out,
                "\n## {kind}\n\n| the mistake | place | what is said |\n|---|---|---|"
            );
        }
        let diagnostics = judged(mistake);
        let each = |show: &dyn Fn(&Diagnostic) -> String| {
            let cells: Vec<_> = diagnostics.iter().map(show).collect();
            cells.join("<br>")
        };
        let said = each(&|it| {
            let help = it
                .help
                .as_ref()
                .map(|help| format!(" *{help}*"))
                .unwrap_or_default();
            format!("{} {}{help}", it.code, it.message).replace('|', "\\|")
        });
        let places = each(&|it| marked(mistake, it));
        let _ = writeln!(out, "| {} | {places} | {said} |", mistake.what);
    }
    out
}

#[test]
fn each_mistake_gets_one_message_and_the_page_shows_it() {
    let text = std::fs::read_to_string(root().join("tests/comparison/mistakes.toml")).unwrap();
    let mistakes = toml::from_str::<Cases>(&text).unwrap().mistake;
    assert!(mistakes.len() >= 40);
    let wrong = mistakes.iter().filter_map(|mistake| {
        let diagnostics = judged(mistake);
        (diagnostics.len() != mistake.messages)
            .then(|| format!("{}: {}: {diagnostics:#?}", mistake.kind, mistake.what))
    });
    let wrong: Vec<_> = wrong.collect();
    let path = root().join("docs/mistakes.md");
    let page = page(&mistakes);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|before| before == page),
        "docs/mistakes.md is stale: UPDATE=1 writes it anew"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
