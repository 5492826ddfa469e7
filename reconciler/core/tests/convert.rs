//! YAML to TOML: whatever is written, in whichever style, the TOML says the same; no comment is lost.
#![allow(clippy::unwrap_used, reason = "in a test the place says enough")]

use lockstep_core::convert::{Flavour, Mapping, convert};
use lockstep_core::diagnostic::{Code, Diagnostic, Severity};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A value, and how it is written.
#[derive(Debug, Clone)]
enum Written {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String, Style),
    List(Vec<(Written, Comment)>, bool),
    Table(Vec<(String, Written, Comment)>, bool),
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Plain,
    Single,
    Double,
    Block,
}

/// Whether comments stand above and behind an entry.
type Comment = (bool, bool);

/// Writes YAML, and numbers its comments.
#[derive(Default)]
struct Writer {
    out: String,
    comments: usize,
}

impl Writer {
    fn comment(&mut self) -> String {
        self.comments += 1;
        format!("# remark {} of 'us': \"here\"", self.comments)
    }

    fn head(&mut self, comment: Comment, indent: usize) {
        if comment.0 {
            let comment = self.comment();
            self.out.push_str(&format!("{}{comment}\n", " ".repeat(indent)));
        }
    }

    fn end(&mut self, comment: Comment) {
        if comment.1 {
            let comment = self.comment();
            self.out.push_str(&format!("  {comment}"));
        }
        self.out.push('\n');
    }

    fn block(&mut self, value: &Written, indent: usize) {
        match value {
            Written::Table(entries, false) if !entries.is_empty() => {
                for (key, value, comment) in entries {
                    self.head(*comment, indent);
                    self.out
                        .push_str(&format!("{}{}:", " ".repeat(indent), quoted(key)));
                    self.value(value, *comment, indent + 2);
                }
            }
            Written::List(entries, false) if !entries.is_empty() => {
                for (value, comment) in entries {
                    self.head(*comment, indent);
                    self.out.push_str(&format!("{}-", " ".repeat(indent)));
                    self.value(value, *comment, indent + 2);
                }
            }
            _ => unreachable!("only what has lines of its own"),
        }
    }

    fn value(&mut self, value: &Written, comment: Comment, indent: usize) {
        match value {
            Written::Table(entries, false) if !entries.is_empty() => {
                self.end(comment);
                self.block(value, indent);
            }
            Written::List(entries, false) if !entries.is_empty() => {
                self.end(comment);
                self.block(value, indent);
            }
            Written::Text(text, Style::Block) if is_block(text) => {
                self.out.push_str(" |");
                self.end(comment);
                for line in text.lines() {
                    self.out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
                }
            }
            value => {
                self.out.push(' ');
                self.out.push_str(&flow(value));
                self.end(comment);
            }
        }
    }
}

fn is_block(text: &str) -> bool {
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && text
            .lines()
            .all(|line| !line.is_empty() && !line.starts_with(' '))
        && text.chars().all(|c| c == '\n' || !escaped(c))
}

/// Whether YAML allows a character only as an escape.
fn escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}')
}

fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    json.chars()
        .map(|c| match c {
            c if escaped(c) => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

fn flow(value: &Written) -> String {
    match value {
        Written::Boolean(yes) => yes.to_string(),
        Written::Integer(integer) => integer.to_string(),
        Written::Float(float) => format!("{float:?}"),
        Written::Text(text, style) => match style {
            Style::Plain if plain(text) => text.clone(),
            Style::Single if !text.chars().any(escaped) => format!("'{}'", text.replace('\'', "''")),
            _ => quoted(text),
        },
        Written::List(entries, _) => {
            let entries: Vec<_> = entries.iter().map(|(value, _)| flow(value)).collect();
            format!("[{}]", entries.join(", "))
        }
        Written::Table(entries, _) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value, _)| format!("{}: {}", quoted(key), flow(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Whether a text is itself without quotes.
fn plain(text: &str) -> bool {
    let words = ["null", "true", "false", "yes", "no", "on", "off"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-#".contains(c))
        && !words.contains(&text.to_lowercase().as_str())
}

fn meant(value: &Written) -> Value {
    match value {
        Written::Boolean(yes) => json!(yes),
        Written::Integer(integer) => json!(integer),
        Written::Float(float) => json!(float),
        Written::Text(text, _) => json!(text),
        Written::List(entries, _) => entries.iter().map(|(value, _)| meant(value)).collect(),
        Written::Table(entries, _) => entries
            .iter()
            .map(|(key, value, _)| (key.clone(), meant(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z][a-zA-Z0-9_#-]{0,8}",
        2 => "[ -~]{0,12}",
        1 => "[ -~\n\t\u{e4}\u{1f4c8}\u{7f}]{0,12}",
        1 => "([a-z#: ]{0,6}[a-z]\n){1,3}".prop_map(|text| text.trim_start().to_owned()),
        1 => any::<String>(),
    ]
}

fn style() -> impl Strategy<Value = Style> {
    prop_oneof![
        Just(Style::Plain),
        Just(Style::Single),
        Just(Style::Double),
        Just(Style::Block)
    ]
}

fn scalar() -> impl Strategy<Value = Written> {
    prop_oneof![
        any::<bool>().prop_map(Written::Boolean),
        any::<i64>().prop_map(Written::Integer),
        any::<f64>()
            .prop_filter("JSON has no word for others", |float| float.is_finite())
            .prop_map(Written::Float),
        (-1000_i32..1000).prop_map(|float| Written::Float(f64::from(float) / 8.0)),
        (text(), style()).prop_map(|(text, style)| Written::Text(text, style)),
    ]
}

fn comment() -> impl Strategy<Value = Comment> {
    (proptest::bool::weighted(0.3), proptest::bool::weighted(0.3))
}

fn table(
    value: impl Strategy<Value = Written>,
    flow: impl Strategy<Value = bool>,
) -> impl Strategy<Value = Written> {
    let key = prop_oneof![3 => "[a-z_]{1,6}", 1 => text()];
    (proptest::collection::vec((key, value, comment()), 0..5), flow).prop_map(|(mut entries, flow)| {
        let mut seen = std::collections::BTreeSet::new();
        entries.retain(|(key, _, _)| seen.insert(key.clone()));
        Written::Table(entries, flow)
    })
}

fn document() -> impl Strategy<Value = Written> {
    let value = scalar().prop_recursive(4, 40, 5, |inner| {
        let list = (
            proptest::collection::vec((inner.clone(), comment()), 0..5),
            any::<bool>(),
        );
        prop_oneof![
            list.prop_map(|(entries, flow)| Written::List(entries, flow)),
            table(inner.clone(), any::<bool>()),
            // A list of tables, which has headers of its own.
            proptest::collection::vec((table(inner, Just(false)), comment()), 1..4)
                .prop_map(|entries| Written::List(entries, false)),
        ]
    });
    table(value, Just(false))
}

fn shown(found: &[Diagnostic]) -> String {
    let lines = found
        .iter()
        .map(|found| format!("{}: {:?} {}\n", found.code, found.span, found.message));
    lines.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_toml_says_what_the_yaml_says_and_keeps_each_comment(document in document()) {
        let mut writer = Writer::default();
        match &document {
            Written::Table(entries, _) if entries.is_empty() => writer.out.push_str("{}\n"),
            document => writer.block(document, 0),
        }
        let converted = convert("c.yaml", writer.out.as_bytes(), None, Some(Flavour::Yaml12));
        let Some(result) = converted.document else {
            panic!("{}\n---\n{}", shown(&converted.found), writer.out);
        };
        prop_assert_eq!(result.document.value(), &meant(&document), "{}\n---\n{}", writer.out, result.text);
        let comments = |text: &str| {
            (1..=writer.comments).map(|number| text.matches(&format!("# remark {number} of")).count()).collect::<Vec<_>>()
        };
        prop_assert_eq!(comments(&result.text), comments(&writer.out), "{}\n---\n{}", writer.out, result.text);
        prop_assert!(comments(&result.text).iter().all(|count| *count == 1));
        // What was told are no mistakes.
        prop_assert!(converted.found.iter().all(|found| found.severity == Severity::Warning));
    }

    #[test]
    fn no_text_makes_it_panic_and_no_result_is_unreadable(text in "([a-c0]|[-:#&*!|>'\"{}\\[\\],?%~<@]|[ \n]| |: |- |\n  |<<: |&a |\\*a |true|\u{e4}|\r\n|---\n){0,40}") {
        let converted = convert("c.yaml", text.as_bytes(), None, None);
        let failed = converted.found.iter().any(|found| found.severity == Severity::Error);
        prop_assert_eq!(converted.document.is_none(), failed, "{}", shown(&converted.found));
        for found in &converted.found {
            prop_assert!(found.span.as_ref().is_none_or(|span| text.get(span.clone()).is_some()));
            prop_assert!(!found.message.contains("Lockstep's own"), "{:?}", text);
        }
    }
}

fn toml(yaml: &str) -> String {
    let converted = convert("c.yaml", yaml.as_bytes(), None, Some(Flavour::Yaml12));
    converted
        .document
        .unwrap_or_else(|| panic!("{}", shown(&converted.found)))
        .text
}

#[test]
fn values_come_before_tables_and_tables_get_headers() {
    let yaml =
        "a:\n  b: 1\n  c: {x: 1}\n  d:\n    e: 2\nlate: 3\nrows:\n- k: 1\n  sub: {y: [1, 2]}\n- k: 2\n";
    let expected = "late = 3\n\n[a]\nb = 1\nc = { x = 1 }\n\n[a.d]\ne = 2\n\n[[rows]]\nk = 1\nsub = { y = [1, 2] }\n\n[[rows]]\nk = 2\n";
    assert_eq!(toml(yaml), expected);
}

#[test]
fn comments_stay_where_they_are_read() {
    let yaml = "# the file\n\n# about a\na: # a's own\n  # about b\n  b: 1 # b's own\n  # the end of a\n\n# about c\nc: [1, # one\n  2]\nd: | # folded\n  # text\n\n# the end\n";
    let expected = "# the file\n\n# about c\nc = [\n    1,  # one\n    2,\n]\nd = \"\"\"\n# text\n\"\"\"  # folded\n\n# about a\n[a]  # a's own\n# about b\nb = 1  # b's own\n# the end of a\n\n# the end\n";
    assert_eq!(toml(yaml), expected);
}

#[test]
fn numbers_keep_the_way_they_are_written() {
    let yaml = "a: 0.30\nb: 1e10\nc: 0x1F\nd: +5\ne: .5\nf: 1e300\ng: 007\n";
    assert_eq!(
        toml(yaml),
        "a = 0.30\nb = 1e10\nc = 0x1F\nd = +5\ne = 0.5\nf = 1e300\ng = 7\n"
    );
}

#[test]
fn merges_count_for_less_than_what_is_said_wherever_they_stand() {
    let yaml = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo:\n  y: 3\n  <<: [*b, {z: 4, x: 9}]\n";
    let converted = convert("c.yaml", yaml.as_bytes(), None, None);
    let value = converted.document.unwrap().document.value().clone();
    assert_eq!(value["one"], json!({"x": 1, "y": 3}));
    assert_eq!(value["two"], json!({"x": 1, "y": 3, "z": 4}));
    assert!(
        converted
            .found
            .iter()
            .all(|found| found.code == Code::SaidDifferently)
    );
}

#[test]
fn aliases_cannot_make_a_document_without_end() {
    let mut yaml = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        yaml.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [before.as_str(); 9].join(", ")
        ));
    }
    let converted = convert("c.yaml", yaml.as_bytes(), None, None);
    assert!(converted.document.is_none());
    let count = converted
        .found
        .iter()
        .filter(|found| found.code == Code::TooDeep)
        .count();
    assert_eq!(count, 1);
    let deep = "[".repeat(100_000);
    let converted = convert("c.yaml", format!("a: {deep}").as_bytes(), None, None);
    assert!(converted.document.is_none());
}

#[test]
fn a_mapping_moves_keys_into_lists_and_tables_and_takes_comments_along() {
    let mapping = "version = 1\n[keys]\nOLD.A = \"new.a\"\nOLD.B.PCT = { to = \"new.share\", divide = 100 }\nFEEDS = \"feeds\"\n\"FEEDS.*.MIN\" = { to = \"feeds.*.every\", duration = \"minutes\" }\nGONE = { drop = true }\nNAMES = { to = \"names\", split = \",\" }\n";
    let mapping = Mapping::read("m.toml", mapping.as_bytes()).unwrap();
    let yaml = "# old\nOLD:\n  # a\n  A: 1\n  B:\n    PCT: 7 # percent\nGONE: 1\nFEEDS:\n- MIN: 90\n  url: x\n- MIN: 5\nNAMES: a, b\n";
    let converted = convert("c.yaml", yaml.as_bytes(), Some(&mapping), None);
    let Some(document) = converted.document else {
        panic!("{}", shown(&converted.found))
    };
    let expected = "names = [\"a\", \"b\"]\n\n[new]\n# old\n# a\na = 1\nshare = 0.07  # percent\n\n[[feeds]]\nevery = \"90m\"\nurl = \"x\"\n\n[[feeds]]\nevery = \"5m\"\n";
    assert_eq!(document.text, expected);
    assert_eq!((converted.mapped, converted.idle.len()), (6, 0));
}

#[test]
fn two_keys_do_not_become_one() {
    let mapping = "version = 1\n[keys]\nA = \"x.y\"\nB = \"x.y\"\nC = \"x.y.z\"\n";
    let mapping = Mapping::read("m.toml", mapping.as_bytes()).unwrap();
    let converted = convert("c.yaml", b"A: 1\nB: 2\nC: 3\n", Some(&mapping), None);
    assert!(converted.document.is_none());
    let codes: Vec<_> = converted.found.iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::NotConverted, Code::NotConverted]);
}
