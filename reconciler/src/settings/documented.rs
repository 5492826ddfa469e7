//! `docs/settings.md` has every key of the settings, with the default that it really has and a test that is really
//! there. The keys are not listed here: they are asked of the parser, which names what it knows when it is given a key
//! that it does not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Settings;

/// No key is called so.
const NONSENSE: &str = "zzz";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn docs() -> String {
    std::fs::read_to_string(root().join("docs/settings.md")).unwrap()
}

fn resolve(text: &str) -> Result<Settings, String> {
    Settings::parse(Path::new("/etc/lockstep/lockstep.toml"), text).map_err(|error| error.to_string())
}

/// The keys that the parser knows below a key, if that is a table; and whether it is a list of tables.
fn known(path: &[String]) -> Option<(Vec<String>, bool)> {
    let said = |value: &str| {
        let text = path
            .iter()
            .rev()
            .fold(value.to_owned(), |value, key| match key.strip_suffix("[]") {
                Some(key) => format!("{{ {key} = [{value}] }}"),
                None => format!("{{ {key} = {value} }}"),
            });
        // The outermost table is the document itself.
        resolve(text.trim_start_matches('{').trim_end().strip_suffix('}').unwrap()).unwrap_err()
    };
    let keys = |error: String| {
        let (_, rest) = error.split_once(&format!("unknown field `{NONSENSE}`, "))?;
        // "expected one of `a`, `b`", "expected `a` or `b`", "there are no fields"
        Some(
            rest.split('`')
                .skip(1)
                .step_by(2)
                .map(ToOwned::to_owned)
                .collect(),
        )
    };
    let nonsense = format!("{{ {NONSENSE} = 1 }}");
    match keys(said(&nonsense)) {
        Some(keys) => Some((keys, false)),
        None => keys(said(&format!("[{nonsense}]"))).map(|keys| (keys, true)),
    }
}

/// Every key that is no table, as `service.process.command`.
fn keys() -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![Vec::<String>::new()];
    while let Some(path) = waiting.pop() {
        match known(&path) {
            Some((keys, list)) if !keys.is_empty() => {
                for key in keys {
                    let mut below = path.clone();
                    if let (true, Some(last)) = (list, below.last_mut()) {
                        last.push_str("[]");
                    }
                    below.push(key);
                    waiting.push(below);
                }
            }
            Some(_) | None => found.push(path.join(".").replace("[]", "")),
        }
    }
    found.sort_unstable();
    found
}

/// A row of a table: its first cell without backticks, then the others as they are.
fn row(line: &str) -> Option<(String, Vec<String>)> {
    let cells = line.strip_prefix("| `")?.strip_suffix(" |")?;
    let mut cells = cells.split(" | ").map(|cell| cell.trim().to_owned());
    let key = cells.next()?.trim_end_matches('`').to_owned();
    Some((key, cells.collect()))
}

/// The table of all keys at the end: default and test by key.
fn table() -> BTreeMap<String, Vec<String>> {
    let docs = docs();
    let (_, table) = docs.split_once("\n## Every key\n").unwrap();
    let mut rows = BTreeMap::new();
    for (key, cells) in table.lines().filter_map(row) {
        assert!(rows.insert(key.clone(), cells).is_none(), "{key} is there twice");
    }
    rows
}

/// The rows of the tables before it, each with its key in full.
fn explained() -> Vec<(String, String)> {
    let docs = docs();
    let (text, _) = docs.split_once("\n## Every key\n").unwrap();
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let named = title.split('`').nth(1).unwrap_or_default();
            section = named.trim_matches(['[', ']']).to_owned();
            // Where several share a table, its keys are written in full.
            if title.contains("`, `") {
                section.clear();
            }
        } else if let Some(title) = line.strip_prefix("### ") {
            section = format!("service.{}", title.trim_matches('`'));
        } else if let Some((key, cells)) = row(line) {
            let key = if section.is_empty() {
                key
            } else {
                format!("{section}.{key}")
            };
            found.push((key, cells[0].clone()));
        }
    }
    found
}

/// Settings in which a key may stand.
fn base(key: &str) -> toml::Table {
    let probe = if key.starts_with("service.verify.probe.") {
        "verify = { tier = 'probed', probe = { tcp = 'localhost:80' } }"
    } else {
        ""
    };
    let reload = if key == "service.reload.method" {
        "http = 'http://localhost:80/'"
    } else {
        "signal = 'SIGHUP'"
    };
    let window = match key {
        key if key.starts_with("window.emergency.") => {
            "[[window]]\nname = 'night'\nkind = 'deny'\ncron = '0 0 * * *'\nduration = '1h'\n\
             emergency = [{ key = 'a.toml#a' }]\n"
        }
        key if key.starts_with("window.") => {
            "[[window]]\nname = 'night'\nkind = 'deny'\ncron = '0 0 * * *'\nduration = '1h'\n"
        }
        _ => "",
    };
    toml::from_str(&format!(
        "[source]\nurl = '/srv/config.git'\n[volume]\npath = 'volume'\n\
         [[service]]\nname = 'a'\nprocess = {{ command = ['a'] }}\nreload = {{ {reload} }}\n{probe}\n{window}"
    ))
    .unwrap()
}

/// The table that a key stands in, and its own name.
fn place<'a, 'b>(settings: &'a mut toml::Table, key: &'b str) -> (&'a mut toml::Table, &'b str) {
    let (above, own) = key.rsplit_once('.').unwrap();
    let table = above.split('.').fold(settings, |table, part| {
        let value = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        match value {
            toml::Value::Array(list) => list[0].as_table_mut().unwrap(),
            value => value.as_table_mut().unwrap(),
        }
    });
    (table, own)
}

/// What a cell says is the default is what happens when the key is left out.
fn assert_default(key: &str, cell: &str) {
    let mut settings = base(key);
    let without = settings.to_string();
    if cell == "required" {
        let (table, own) = place(&mut settings, key);
        assert!(
            table.remove(own).is_some(),
            "{key} is said to be required, and a whole file has none"
        );
        let error = resolve(&settings.to_string()).unwrap_err();
        assert!(error.contains(own), "{key} is said to be required: {error}");
        return;
    }
    let left_out = resolve(&without).unwrap_or_else(|error| panic!("{key}: {error}"));
    // Prose says what cannot be written as a value.
    let literal = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
    let Some(literal) = literal.filter(|literal| !literal.contains('`')) else {
        return;
    };
    let value: toml::Table = toml::from_str(&format!("value = {literal}"))
        .unwrap_or_else(|error| panic!("the default of {key} is no value: {error}"));
    let (table, own) = place(&mut settings, key);
    table.insert(own.to_owned(), value["value"].clone());
    let written = resolve(&settings.to_string()).unwrap_or_else(|error| panic!("{key} = {literal}: {error}"));
    assert_eq!(
        format!("{written:?}"),
        format!("{left_out:?}"),
        "{key} is said to be {literal} when it is left out"
    );
}

#[test]
fn every_key_is_in_the_table_and_explained_above_it() {
    let (keys, table, docs) = (keys(), table(), docs());
    assert!(keys.len() > 30, "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !table.contains_key(*key)).collect();
    assert!(
        missing.is_empty(),
        "missing in docs/settings.md, below \"Every key\": {missing:?}"
    );
    let stale: Vec<_> = table.keys().filter(|key| !keys.contains(key)).collect();
    assert!(
        stale.is_empty(),
        "in docs/settings.md, and nowhere else: {stale:?}"
    );
    let (text, _) = docs.split_once("\n## Every key\n").unwrap();
    for key in keys {
        let own = key.rsplit('.').next().unwrap();
        let forms = [format!("`{own}`"), format!(".{own}`"), format!("{own} = ")];
        assert!(
            forms.iter().any(|form| text.contains(form)),
            "{key} is not explained in docs/settings.md"
        );
    }
}

#[test]
fn every_default_is_what_happens_when_the_key_is_left_out() {
    for (key, cells) in table() {
        assert!(
            !cells[0].is_empty(),
            "{key}: \"required\", a value, or what holds instead"
        );
        assert_default(&key, &cells[0]);
    }
    let explained = explained();
    assert!(explained.len() > 20, "{explained:?}");
    // There an empty cell says that the key is required, or why it is not is said beside it.
    for (key, cell) in explained.iter().filter(|(_, cell)| !cell.is_empty()) {
        assert_default(key, cell);
    }
}

#[test]
fn every_key_has_a_test_that_is_there_and_speaks_of_it() {
    for (key, cells) in table() {
        let [_, tests] = cells.as_slice() else {
            panic!("{key}: three cells are expected: {cells:?}")
        };
        assert!(!tests.is_empty(), "{key} has no test");
        let own = key.rsplit('.').next().unwrap();
        let mut spoken_of = false;
        for test in tests.split(", ") {
            let (file, name) = test
                .trim_matches('`')
                .split_once("::")
                .unwrap_or_else(|| panic!("{key}: `FILE::TEST` is expected: {test}"));
            let text = std::fs::read_to_string(root().join(file))
                .unwrap_or_else(|error| panic!("{key}: {file}: {error}"));
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let is_there = lines.windows(2).any(|pair| {
                let marked = pair[0].starts_with("#[test]") || pair[0].starts_with("#[tokio::test");
                marked
                    && pair[1]
                        .trim_start_matches("async ")
                        .starts_with(&format!("fn {name}("))
            });
            assert!(is_there, "{key}: {file} has no test {name}");
            spoken_of |= text.contains(own);
        }
        assert!(spoken_of, "{key}: {tests} say nothing of {own}");
    }
}
