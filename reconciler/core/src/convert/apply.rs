//! A mapping on a tree: keys move, values change, comments go with them.

use std::ops::Range;

use super::mapping::{Mapped, Mapping, Step, Unmapped};
use super::tree::{Comments, Content, Entry, Group, Node, Tree};
use crate::diagnostic::{Code, Diagnostic, Related, Severity};
use crate::document::{KeyPath, Part};
use crate::validate::nearest;

/// What came of it.
pub(super) struct Applied {
    pub(super) tree: Tree,
    pub(super) mapped: usize,
    pub(super) idle: Vec<String>,
}

struct Applying<'a> {
    mapping: &'a Mapping,
    path: &'a str,
    found: &'a mut Vec<Diagnostic>,
    out: Group,
    used: Vec<bool>,
    mapped: usize,
    /// Comments of tables that went apart: they go to the next key.
    pending: Vec<String>,
    /// Where the last entry went.
    last: Vec<Part>,
}

/// Moves every key of a tree to where the mapping wants it.
pub(super) fn apply(tree: Tree, mapping: &Mapping, path: &str, found: &mut Vec<Diagnostic>) -> Applied {
    let mut applying = Applying {
        mapping,
        path,
        found,
        out: Group::default(),
        used: vec![false; mapping.keys.len()],
        mapped: 0,
        pending: Vec::new(),
        last: Vec::new(),
    };
    for entry in tree.root.entries {
        let at = vec![Part::Key(entry.key.clone())];
        applying.entry(entry, &at, None);
    }
    let Applying {
        mut out,
        used,
        mapped,
        pending,
        ..
    } = applying;
    out.foot = pending;
    out.foot.extend(tree.root.foot);
    let idle = mapping.keys.iter().zip(used).filter(|(_, used)| !used);
    Applied {
        mapped,
        idle: idle.map(|(line, _)| line.name.clone()).collect(),
        tree: Tree {
            head: tree.head,
            root: out,
        },
    }
}

impl Applying<'_> {
    /// The line that names a key: that with the fewest `*`.
    fn line(&self, at: &[Part]) -> Option<usize> {
        let lines = self.mapping.keys.iter().enumerate();
        let stars = |line: &Mapped| line.from.iter().filter(|step| **step == Step::Any).count();
        lines
            .filter(|(_, line)| line.from.len() == at.len() && begins(&line.from, at))
            .min_by_key(|(_, line)| stars(line))
            .map(|(index, _)| index)
    }

    /// Whether lines name keys below this one.
    fn names_below(&self, at: &[Part]) -> bool {
        let mut lines = self.mapping.keys.iter();
        lines.any(|line| line.from.len() > at.len() && begins(&line.from, at))
    }

    /// An entry, whose table goes to the place above `inherited` if that is known.
    fn entry(&mut self, entry: Entry, at: &[Part], inherited: Option<Vec<Part>>) {
        if let Some(index) = self.line(at) {
            let line = &self.mapping.keys[index];
            self.used[index] = true;
            let Some(to) = &line.to else {
                // A paragraph of its own above the key is about more than the key.
                let mut head = entry.comments.head;
                head.truncate(
                    head.iter()
                        .rposition(String::is_empty)
                        .map_or(0, |blank| blank + 1),
                );
                self.pending.append(&mut head);
                return;
            };
            self.mapped += 1;
            let to = substituted(&line.from, to, at);
            if line.change.is_none() {
                return self.place(entry, at, to);
            }
            let (change, span) = (line.change.clone(), entry.node.span.clone());
            match change.apply(entry.node) {
                Ok(node) => self.put(Entry { node, ..entry }, &to),
                Err(why) => self.refuse(
                    Code::NotConverted,
                    span,
                    at,
                    format!("`{}` cannot be converted: {why}", name(at)),
                    format!("mend the value, or the mapping of `{}`", line.name),
                ),
            }
            return;
        }
        if let Some(to) = inherited {
            return self.place(entry, at, to);
        }
        if matches!(entry.node.content, Content::Table(_)) && self.names_below(at) {
            let Content::Table(group) = entry.node.content else {
                return;
            };
            self.pending.extend(entry.comments.head);
            self.pending.extend(entry.comments.end);
            for child in group.entries {
                let at = below(at, Part::Key(child.key.clone()));
                self.entry(child, &at, None);
            }
            match above(&mut self.out, &self.last) {
                Some(table) => table.foot.extend(group.foot),
                None => self.pending.extend(group.foot),
            }
            return;
        }
        self.unmapped(entry, at);
    }

    fn unmapped(&mut self, entry: Entry, at: &[Part]) {
        let named = self.mapping.keys.iter().map(|line| line.name.as_str());
        let (name, span) = (name(at), entry.key_span.clone());
        let meant =
            nearest(&name, named).map(|meant| format!("the mapping has `{meant}`: is that it? else "));
        let meant = meant.unwrap_or_default();
        match self.mapping.unmapped {
            Unmapped::Keep => {
                self.warn(span, at, format!("`{name}` is not mapped: it keeps its name"));
                self.place(entry, at, at.to_vec());
            }
            Unmapped::Drop => self.warn(span, at, format!("`{name}` is not mapped: it is left out")),
            Unmapped::Refuse => self.refuse(
                Code::NotMapped,
                span,
                at,
                format!("`{name}` is not mapped"),
                format!(
                    "{meant}add it to `[keys]`: its new key, or `{{ drop = true }}`; `unmapped = \"keep\"` keeps all such names"
                ),
            ),
        }
    }

    /// Puts an entry where it goes, and what is in it below, except what goes elsewhere.
    fn place(&mut self, entry: Entry, at: &[Part], to: Vec<Part>) {
        let Entry {
            key,
            key_span,
            comments,
            node: Node { content, span },
        } = entry;
        let (group, table) = match content {
            Content::Table(group) => (group, true),
            Content::List(group) => (group, false),
            content @ (Content::Null | Content::Scalar(_)) => {
                let node = Node { content, span };
                return self.put(
                    Entry {
                        key,
                        key_span,
                        comments,
                        node,
                    },
                    &to,
                );
            }
        };
        let hull = Group {
            entries: Vec::new(),
            flow: group.flow,
            foot: group.foot,
        };
        let content = if table {
            Content::Table(hull)
        } else {
            Content::List(hull)
        };
        self.put(
            Entry {
                key,
                key_span,
                comments,
                node: Node { content, span },
            },
            &to,
        );
        for (index, child) in group.entries.into_iter().enumerate() {
            let part = if table {
                Part::Key(child.key.clone())
            } else {
                Part::Index(index)
            };
            self.entry(child, &below(at, part.clone()), Some(below(&to, part)));
        }
    }

    fn put(&mut self, mut entry: Entry, to: &[Part]) {
        let pending = std::mem::take(&mut self.pending);
        entry.comments.head.splice(0..0, pending);
        let (span, place) = (entry.key_span.clone(), KeyPath::from(to.to_vec()));
        match insert(&mut self.out, entry, to) {
            Ok(()) => self.last = to.to_vec(),
            Err(Some(other)) => {
                let mut mistake = Diagnostic::error(
                    Code::NotConverted,
                    self.path,
                    format!("two keys become `{place}`: this is the second"),
                )
                .at(span)
                .with_help("map one of them to another key, or drop it");
                mistake.related.push(Related {
                    path: self.path.to_owned(),
                    span: other,
                    message: "this is the first".to_owned(),
                });
                self.found.push(mistake);
            }
            Err(None) => self.refuse(
                Code::NotConverted,
                span,
                to,
                format!("this cannot become `{place}`: there is no such list"),
                "map the list itself too, and its entries to the same list".to_owned(),
            ),
        }
    }

    fn refuse(&mut self, code: Code, span: Range<usize>, at: &[Part], message: String, help: String) {
        self.found.push(
            Diagnostic::error(code, self.path, message)
                .at(span)
                .about(KeyPath::from(at.to_vec()))
                .with_help(help),
        );
    }

    fn warn(&mut self, span: Range<usize>, at: &[Part], message: String) {
        let mut warning = Diagnostic::error(Code::NotMapped, self.path, message)
            .at(span)
            .about(KeyPath::from(at.to_vec()));
        warning.severity = Severity::Warning;
        self.found.push(warning);
    }
}

fn name(at: &[Part]) -> String {
    KeyPath::from(at.to_vec()).to_string()
}

fn below(at: &[Part], part: Part) -> Vec<Part> {
    let mut at = at.to_vec();
    at.push(part);
    at
}

/// Whether a pattern's first steps fit a whole path.
fn begins(steps: &[Step], at: &[Part]) -> bool {
    steps.len() >= at.len()
        && steps.iter().zip(at).all(|(step, part)| match (step, part) {
            (Step::Any, _) => true,
            (Step::Key(key), Part::Key(name)) => key == name,
            (Step::Key(_), Part::Index(_)) => false,
        })
}

/// The new path: its `*` are what those of the old one stood for.
fn substituted(from: &[Step], to: &[Step], at: &[Part]) -> Vec<Part> {
    let mut stars = from
        .iter()
        .zip(at)
        .filter(|(step, _)| **step == Step::Any)
        .map(|(_, part)| part.clone());
    to.iter()
        .map(|step| match step {
            Step::Key(key) => Part::Key(key.clone()),
            Step::Any => stars.next().unwrap_or(Part::Key("*".to_owned())),
        })
        .collect()
}

/// The table that holds the entry at a path.
fn above<'g>(group: &'g mut Group, path: &[Part]) -> Option<&'g mut Group> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return Some(group);
    }
    let entry = match first {
        Part::Key(key) => group.entries.iter_mut().find(|entry| entry.key == *key)?,
        Part::Index(index) => group.entries.get_mut(*index)?,
    };
    match &mut entry.node.content {
        Content::Table(inner) | Content::List(inner) => above(inner, rest),
        Content::Null | Content::Scalar(_) => None,
    }
}

/// Puts an entry at a path and makes the tables above it; else the place of what stands there, or nothing if a
/// list is missing.
fn insert(group: &mut Group, mut entry: Entry, to: &[Part]) -> Result<(), Option<Range<usize>>> {
    let Some((part, rest)) = to.split_first() else {
        return Err(None);
    };
    let index = match part {
        Part::Key(key) => group.entries.iter().position(|known| known.key == *key),
        Part::Index(index) => (*index < group.entries.len()).then_some(*index),
    };
    if rest.is_empty() {
        return match (index, part) {
            (None, Part::Key(key)) => {
                entry.key.clone_from(key);
                group.entries.push(entry);
                Ok(())
            }
            (None, Part::Index(index)) if *index == group.entries.len() => {
                entry.key.clear();
                group.entries.push(entry);
                Ok(())
            }
            (None, Part::Index(_)) => Err(None),
            (Some(index), _) => {
                let known = &mut group.entries[index];
                match (&mut known.node.content, entry.node.content) {
                    // Made for a key below it, and now it comes itself.
                    (Content::Table(table), Content::Table(more)) => {
                        table.entries.extend(more.entries);
                        table.foot.extend(more.foot);
                        table.flow = false;
                        known.comments.head.extend(entry.comments.head);
                        known.comments.end = known.comments.end.take().or(entry.comments.end);
                        Ok(())
                    }
                    _ => Err(Some(known.key_span.clone())),
                }
            }
        };
    }
    let index = match (index, part) {
        (Some(index), _) => index,
        (None, Part::Index(_)) => return Err(None),
        (None, Part::Key(key)) => {
            group.entries.push(Entry {
                key: key.clone(),
                key_span: entry.key_span.clone(),
                comments: Comments::default(),
                node: Node {
                    content: Content::Table(Group::default()),
                    span: entry.node.span.clone(),
                },
            });
            group.entries.len() - 1
        }
    };
    let known = &mut group.entries[index];
    let span = known.key_span.clone();
    match (&mut known.node.content, rest.first()) {
        (Content::Table(inner), Some(Part::Key(_))) => insert(inner, entry, rest),
        (Content::List(inner), Some(Part::Index(_))) => insert(inner, entry, rest),
        (Content::Table(inner), Some(Part::Index(_))) if inner.entries.is_empty() => Err(None),
        _ => Err(Some(span)),
    }
}
