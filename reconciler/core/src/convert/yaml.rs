//! YAML into a tree. Aliases and merges are written out, comments go to the entries they stand by.

mod alias;
mod steps;
mod word;

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, ScalarStyle, StructureStyle};

use steps::{Step, mark, steps, too_deep};

use super::comments::Remaining;
use super::scalar::{self, Flavour, Word};
use super::tree::{Comments, Content, Entry, Group, Node, Scalar, Tree};
use crate::diagnostic::{Code, Diagnostic, Related, Severity};

pub(super) struct Reader<'t, 'f> {
    path: &'t str,
    text: &'t str,
    steps: Vec<Step<'t>>,
    next: usize,
    comments: Remaining<'t>,
    anchors: HashMap<usize, Node>,
    flavour: Option<Flavour>,
    values: usize,
    found: &'f mut Vec<Diagnostic>,
}

/// Reads a text; nothing if it is no YAML that could become TOML.
pub(super) fn read(
    path: &str,
    bytes: &[u8],
    flavour: Option<Flavour>,
    found: &mut Vec<Diagnostic>,
) -> Option<Tree> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = format!(
                "the file is not UTF-8: it goes wrong after byte {}",
                error.valid_up_to()
            );
            found.push(
                Diagnostic::error(Code::NotUtf8, path, message).with_help("save it as UTF-8 and try again"),
            );
            return None;
        }
    };
    let steps = match steps(text) {
        Ok(steps) => steps,
        Err((at, why)) => {
            found.push(
                Diagnostic::error(Code::YamlUnreadable, path, why)
                    .at(mark(text, at))
                    .with_help("mend the YAML first: whatever reads it today stops here too"),
            );
            return None;
        }
    };
    if let Some(step) = too_deep(&steps) {
        found.push(
            Diagnostic::error(Code::TooDeep, path, "tables and lists are nested too deeply")
                .at(mark(text, step.span.start))
                .with_help("flatten the document: no service needs this"),
        );
        return None;
    }
    let opaque: Vec<_> = steps
        .iter()
        .filter(|step| matches!(step.event, Event::Scalar(..)))
        .map(|step| step.span.clone())
        .collect();
    Reader {
        path,
        text,
        steps,
        next: 0,
        comments: Remaining::of(text, &opaque),
        anchors: HashMap::new(),
        flavour,
        values: 0,
        found,
    }
    .document()
}

impl<'t> Reader<'t, '_> {
    fn document(mut self) -> Option<Tree> {
        self.skip(|event| matches!(event, Event::StreamStart | Event::DocumentStart(..)));
        let mut tree = Tree {
            head: Vec::new(),
            root: Group::default(),
        };
        if self
            .peek()
            .is_some_and(|step| !matches!(step.event, Event::StreamEnd))
        {
            let span = self.peek().map_or(0..0, |step| step.span.clone());
            let root = self.node(self.text.len(), 1);
            match root.content {
                Content::Table(group) => tree.root = group,
                Content::Null => {}
                Content::List(_) | Content::Scalar(_) => self.refuse(
                    span.start..span.start,
                    "a TOML document is a table: this one is a list or a single value",
                    "put it under a key",
                ),
            }
        }
        self.skip(|event| matches!(event, Event::DocumentEnd));
        if let Some(Event::DocumentStart(..)) = self.peek().map(|step| &step.event) {
            let span = self.peek().map_or(0..0, |step| step.span.clone());
            self.refuse(
                span,
                "a second document begins here: a TOML file is one document",
                "save each document as a file of its own, and convert them one by one",
            );
            return None;
        }
        if let Some(first) = tree.root.entries.first_mut()
            && let Some(blank) = first.comments.head.iter().rposition(String::is_empty)
        {
            let below = first.comments.head.split_off(blank + 1);
            tree.head = std::mem::replace(&mut first.comments.head, below);
            tree.head.pop();
            first.comments.blank = true;
        }
        let (rest, blank) = self.comments.before(self.text.len());
        if blank && !rest.is_empty() {
            tree.root.foot.push(String::new());
        }
        tree.root.foot.extend(rest);
        Some(tree)
    }

    fn peek(&self) -> Option<&Step<'t>> {
        self.steps.get(self.next)
    }

    fn skip(&mut self, what: impl Fn(&Event<'t>) -> bool) {
        while self.peek().is_some_and(|step| what(&step.event)) {
            self.next += 1;
        }
    }

    fn node(&mut self, limit: usize, depth: usize) -> Node {
        self.values += 1;
        let Some(step) = self.steps.get(self.next) else {
            return Node {
                content: Content::Null,
                span: 0..0,
            };
        };
        let (span, column, start) = (step.span.clone(), step.column, self.next);
        self.next += 1;
        match step.event.clone() {
            Event::Alias(anchor) => self.alias(anchor, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                let content = self.scalar(&text, style, tag.as_deref(), &span);
                self.anchored(anchor, Node { content, span })
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", &span);
                let end = self.end_of(start);
                let flow = style == StructureStyle::Flow;
                let limit = if flow { end.start } else { limit };
                let column = self.column_of_dash(span.start, column);
                let group = self.entries(false, flow, limit, column, depth);
                let node = Node {
                    content: Content::List(group),
                    span: span.start..if flow { end.end } else { span.start },
                };
                self.anchored(anchor, node)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", &span);
                let end = self.end_of(start);
                let flow = style == StructureStyle::Flow;
                let limit = if flow { end.start } else { limit };
                let column = self.peek().map_or(column, |first| first.column);
                let group = self.entries(true, flow, limit, column, depth);
                let node = Node {
                    content: Content::Table(group),
                    span: span.start..if flow { end.end } else { span.start },
                };
                self.anchored(anchor, node)
            }
            // No other step begins a value.
            _ => Node {
                content: Content::Null,
                span,
            },
        }
    }

    /// Where what begins at a step ends.
    fn end_of(&self, start: usize) -> Range<usize> {
        let mut depth = 0_usize;
        for step in &self.steps[start..] {
            match step.event {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return step.span.clone();
            }
        }
        self.text.len()..self.text.len()
    }

    /// How far the dashes of a list are indented: its own place may be that of its first entry.
    fn column_of_dash(&self, start: usize, column: usize) -> usize {
        if self.text[start..].starts_with('-') {
            return column;
        }
        let before = self.text[..start].trim_end();
        match before.strip_suffix('-') {
            Some(before) => {
                let line = before.rfind(['\n', '\r']).map_or(0, |newline| newline + 1);
                before[line..].chars().count()
            }
            None => column,
        }
    }

    fn entries(&mut self, table: bool, flow: bool, limit: usize, column: usize, depth: usize) -> Group {
        let mut group = Group {
            flow,
            ..Group::default()
        };
        // What is merged counts for less than what is said, wherever it stands.
        let mut merged: Vec<(usize, Entry)> = Vec::new();
        let mut pending = Vec::new();
        while let Some(step) = self.peek() {
            let (span, ends) = (
                step.span.clone(),
                matches!(step.event, Event::MappingEnd | Event::SequenceEnd),
            );
            if ends {
                self.next += 1;
                group.foot = if flow {
                    self.comments.before(span.start).0
                } else {
                    self.comments.foot(span.start, column)
                };
                break;
            }
            let merge = table
                && matches!(&step.event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let (head, blank) = self.comments.before(span.start);
            let mut comments = Comments {
                head,
                blank,
                end: None,
            };
            if !table {
                let key_span = span.clone();
                let node = self.value(span.start, limit, depth, &mut comments);
                group.entries.push(Entry {
                    key: String::new(),
                    key_span,
                    comments,
                    node,
                });
                continue;
            }
            let key = self.key();
            let node = self.value(span.end, limit, depth, &mut comments);
            if merge {
                let at = group.entries.len();
                let entries = self.merge(node, &span).into_iter().map(|entry| (at, entry));
                merged.extend(entries);
                // What is said of the merge goes on with the next key.
                pending.append(&mut comments.head);
                pending.extend(comments.end);
            } else if let Some(key) = key {
                comments.head.splice(0..0, pending.drain(..));
                self.add(
                    &mut group,
                    Entry {
                        key,
                        key_span: span,
                        comments,
                        node,
                    },
                );
            }
        }
        group.foot.splice(0..0, pending);
        for (at, entry) in merged.into_iter().rev() {
            if !group.entries.iter().any(|known| known.key == entry.key) {
                group.entries.insert(at, entry);
            }
        }
        group
    }

    /// A value, with the comments between its key and it, and those behind it on its line.
    fn value(&mut self, after: usize, limit: usize, depth: usize, comments: &mut Comments) -> Node {
        let (start, block) = match self.peek() {
            Some(step) => (
                step.span.start,
                matches!(
                    step.event,
                    Event::MappingStart(StructureStyle::Block, ..)
                        | Event::SequenceStart(StructureStyle::Block, ..)
                ),
            ),
            None => return self.node(limit, depth),
        };
        let inner = match self.steps.get(self.next + 1) {
            Some(first) if block => first.span.start,
            _ => start,
        };
        comments.end = self.comments.on_line(after, inner.min(limit));
        if block {
            return self.node(limit, depth + 1);
        }
        comments.head.extend(self.comments.before(start).0);
        let node = self.node(limit, depth + 1);
        if let Some(end) = self.comments.on_line(node.span.end.max(after), limit)
            && let Some(first) = comments.end.replace(end)
        {
            comments.head.push(first);
        }
        node
    }

    fn add(&mut self, group: &mut Group, entry: Entry) {
        let first = group.entries.iter().find(|known| known.key == entry.key);
        if let Some(first) = first {
            let mut mistake = Diagnostic::error(
                Code::YamlUnreadable,
                self.path,
                format!("the key `{}` stands here for the second time", entry.key),
            )
            .at(entry.key_span.clone())
            .with_help("keep the one that is meant: most readers take the last and say nothing");
            mistake.related.push(Related {
                path: self.path.to_owned(),
                span: first.key_span.clone(),
                message: "it stood here before".to_owned(),
            });
            self.found.push(mistake);
        } else {
            group.entries.push(entry);
        }
    }

    /// The next step as a key; nothing, with a diagnostic, if it cannot be one.
    fn key(&mut self) -> Option<String> {
        let step = self.steps.get(self.next)?;
        let span = step.span.clone();
        let Event::Scalar(text, style, anchor, tag) = step.event.clone() else {
            let _ = self.node(self.text.len(), 1);
            self.refuse(
                span,
                "this key is a list, a table or an alias: a key in TOML is a text",
                "give it a name",
            );
            return None;
        };
        self.next += 1;
        let content = match (style, &tag) {
            (ScalarStyle::Plain, None) => match self.flavour.unwrap_or(Flavour::Yaml12).word(&text) {
                Word::Scalar(Scalar::Text(_)) => Content::Scalar(Scalar::Text(text.to_string())),
                word => {
                    let message = format!(
                        "the key `{text}` is {} in YAML and a text in TOML",
                        scalar::name(&word)
                    );
                    self.warn(
                        span.clone(),
                        message,
                        "put it in quotes in the YAML if a text was meant",
                    );
                    Content::Scalar(Scalar::Text(text.to_string()))
                }
            },
            _ => Content::Scalar(Scalar::Text(text.to_string())),
        };
        self.anchored(anchor, Node { content, span });
        Some(text.into_owned())
    }

    fn anchored(&mut self, anchor: usize, node: Node) -> Node {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        node
    }

    pub(super) fn refuse(&mut self, span: Range<usize>, message: &str, help: &str) {
        self.found.push(
            Diagnostic::error(Code::NoTomlValue, self.path, message)
                .at(span)
                .with_help(help),
        );
    }

    pub(super) fn warn(&mut self, span: Range<usize>, message: String, help: &str) {
        let mut warning = Diagnostic::error(Code::SaidDifferently, self.path, message)
            .at(span)
            .with_help(help);
        warning.severity = Severity::Warning;
        self.found.push(warning);
    }
}
