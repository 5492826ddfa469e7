//! Aliases and merges of YAML, which TOML does not have: what they stand for is written out.

use std::ops::Range;

use super::Reader;
use super::steps::MAX_DEPTH;
use super::word::refused;
use crate::convert::tree::{Comments, Content, Entry, Node};
use crate::diagnostic::{Code, Diagnostic};

/// How many values a document may have with all aliases written out.
const MAX_VALUES: usize = 1_000_000;

impl Reader<'_, '_> {
    pub(super) fn alias(&mut self, anchor: usize, span: Range<usize>, depth: usize) -> Node {
        let nothing = Node {
            content: refused(),
            span: span.clone(),
        };
        let Some(mut node) = self.anchors.get(&anchor).cloned() else {
            self.refuse(
                span,
                "this alias refers to what it stands in",
                "write the values out",
            );
            return nothing;
        };
        let (values, levels) = size(&node);
        self.values += values;
        if depth + levels > MAX_DEPTH || self.values > MAX_VALUES {
            // Told once: what follows is of the same kind.
            if !self.found.iter().any(|found| found.code == Code::TooDeep) {
                self.found.push(
                    Diagnostic::error(
                        Code::TooDeep,
                        self.path,
                        "written out, the aliases make the document too large",
                    )
                    .at(span)
                    .with_help("TOML has no aliases: say it with fewer"),
                );
            }
            return nothing;
        }
        let name = self.text[span.clone()].to_owned();
        self.warn(
            span,
            format!("TOML has no aliases: what `{name}` stands for is written out here"),
            "from now on a change has to be made in each place",
        );
        strip(&mut node);
        node
    }

    /// What `<<` brings in.
    pub(super) fn merge(&mut self, node: Node, span: &Range<usize>) -> Vec<Entry> {
        let tables = match node.content {
            Content::Table(group) => vec![group],
            Content::List(list) => {
                let tables = list.entries.into_iter().map(|entry| entry.node.content);
                tables
                    .filter_map(|content| match content {
                        Content::Table(group) => Some(group),
                        Content::Null | Content::Scalar(_) | Content::List(_) => {
                            self.refuse(span.clone(), "only tables can be merged", "write the keys out");
                            None
                        }
                    })
                    .collect()
            }
            // What the alias could not be is told already.
            Content::Null => Vec::new(),
            Content::Scalar(_) => {
                self.refuse(span.clone(), "only tables can be merged", "write the keys out");
                Vec::new()
            }
        };
        let mut entries: Vec<Entry> = Vec::new();
        for entry in tables.into_iter().flat_map(|group| group.entries) {
            if !entries.iter().any(|known| known.key == entry.key) {
                entries.push(entry);
            }
        }
        entries
    }
}

/// How many values and levels there are.
fn size(node: &Node) -> (usize, usize) {
    match &node.content {
        Content::Null | Content::Scalar(_) => (1, 0),
        Content::List(group) | Content::Table(group) => {
            let sizes = group.entries.iter().map(|entry| size(&entry.node));
            sizes.fold((1, 1), |(values, levels), (more, deeper)| {
                (values + more, levels.max(deeper + 1))
            })
        }
    }
}

/// Comments stay where they were written.
fn strip(node: &mut Node) {
    if let Content::List(group) | Content::Table(group) = &mut node.content {
        group.foot.clear();
        for entry in &mut group.entries {
            entry.comments = Comments::default();
            strip(&mut entry.node);
        }
    }
}
