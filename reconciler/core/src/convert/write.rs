//! A tree as TOML, as a person would write it: values first, then tables under headers, each in its order.

use std::fmt::Write as _;

use super::tree::{Comments, Content, Entry, Group, Node, Scalar, Tree};

/// How long a list or table in one line may make it.
const WIDTH: usize = 100;

/// The whole text.
pub(super) fn write(tree: &Tree) -> String {
    let mut out = String::new();
    for line in &tree.head {
        push_line(&mut out, line);
    }
    if !tree.head.is_empty() {
        out.push('\n');
    }
    group(&mut out, &tree.root, &mut Vec::new());
    out
}

/// A table's values, then its tables, then what ends it.
fn group(out: &mut String, group: &Group, path: &mut Vec<String>) {
    let mut first = true;
    for entry in group.entries.iter().filter(|entry| !is_section(entry)) {
        if entry.comments.blank && !first {
            blank_line(out);
        }
        first = false;
        value(out, entry);
    }
    for entry in group.entries.iter().filter(|entry| is_section(entry)) {
        path.push(toml_edit::Key::new(&entry.key).display_repr().into_owned());
        section(out, entry, path);
        path.pop();
    }
    for line in &group.foot {
        push_line(out, line);
    }
}

fn section(out: &mut String, entry: &Entry, path: &mut Vec<String>) {
    match &entry.node.content {
        Content::Table(table) => {
            let silent = entry.comments.head.is_empty()
                && entry.comments.end.is_none()
                && !table.entries.is_empty()
                && table.entries.iter().all(is_section);
            if !silent {
                header(out, &entry.comments, &format!("[{}]", path.join(".")));
            }
            group(out, table, path);
        }
        Content::List(list) => {
            let mut head = entry.comments.head.clone();
            head.extend(entry.comments.end.clone());
            for (at, item) in list.entries.iter().enumerate() {
                let mut comments = item.comments.clone();
                if at == 0 {
                    head.append(&mut comments.head);
                    comments.head = std::mem::take(&mut head);
                }
                header(out, &comments, &format!("[[{}]]", path.join(".")));
                if let Content::Table(table) = &item.node.content {
                    group(out, table, path);
                }
            }
            for line in &list.foot {
                push_line(out, line);
            }
        }
        Content::Null | Content::Scalar(_) => {}
    }
}

fn header(out: &mut String, comments: &Comments, header: &str) {
    if !out.is_empty() {
        blank_line(out);
    }
    for line in &comments.head {
        push_line(out, line);
    }
    out.push_str(header);
    end_line(out, comments);
}

/// Whether an entry is written under a header of its own.
fn is_section(entry: &Entry) -> bool {
    match &entry.node.content {
        Content::Null | Content::Scalar(_) => false,
        Content::Table(table) => !fits(entry, table),
        Content::List(list) => {
            !list.entries.is_empty()
                && list
                    .entries
                    .iter()
                    .all(|item| matches!(&item.node.content, Content::Table(_)))
                && !fits(entry, list)
        }
    }
}

/// What was written in brackets on one line stays so where there is room.
fn fits(entry: &Entry, group: &Group) -> bool {
    group.flow
        && !group.entries.is_empty()
        && inner_comments(&entry.node).is_empty()
        && entry.key.len() + 3 + inline(&entry.node).len() <= WIDTH
}

/// A key and its value.
fn value(out: &mut String, entry: &Entry) {
    for line in &entry.comments.head {
        push_line(out, line);
    }
    let key = toml_edit::Key::new(&entry.key).display_repr().into_owned();
    match &entry.node.content {
        Content::Null => {
            let _ = write!(out, "# {key} =");
        }
        Content::Scalar(scalar) => {
            let _ = write!(out, "{key} = {}", text_of(scalar));
        }
        Content::List(list) => {
            let _ = write!(out, "{key} = ");
            let length = key.len() + 3 + inline(&entry.node).len();
            let short = list.flow || list.entries.is_empty();
            if short && length <= WIDTH && inner_comments(&entry.node).is_empty() {
                out.push_str(&inline(&entry.node));
            } else {
                lines(out, list, 1);
            }
        }
        Content::Table(_) => {
            let _ = write!(out, "{key} = {}", inline(&entry.node));
        }
    }
    end_line(out, &entry.comments);
}

/// A list with a line for each entry.
fn lines(out: &mut String, list: &Group, depth: usize) {
    let indent = "    ".repeat(depth);
    out.push_str("[\n");
    for entry in &list.entries {
        let mut head = entry.comments.head.clone();
        let nested = matches!(&entry.node.content, Content::List(inner)
            if !inner.flow && !inner.entries.is_empty() || !inner_comments(&entry.node).is_empty());
        if !nested {
            head.extend(inner_comments(&entry.node));
        }
        for line in head.iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(out, "{indent}{line}");
        }
        out.push_str(&indent);
        match &entry.node.content {
            Content::List(inner) if nested => lines(out, inner, depth + 1),
            Content::Null | Content::Scalar(_) | Content::List(_) | Content::Table(_) => {
                out.push_str(&inline(&entry.node));
            }
        }
        out.push(',');
        end_line(out, &entry.comments);
    }
    for line in list.foot.iter().filter(|line| !line.is_empty()) {
        let _ = writeln!(out, "{indent}{line}");
    }
    out.push_str(&"    ".repeat(depth - 1));
    out.push(']');
}

/// A value in one line.
fn inline(node: &Node) -> String {
    match &node.content {
        Content::Null => String::new(),
        Content::Scalar(Scalar::Text(text)) => one_line(text),
        Content::Scalar(scalar) => text_of(scalar),
        Content::List(list) => {
            let items: Vec<_> = list.entries.iter().map(|entry| inline(&entry.node)).collect();
            format!("[{}]", items.join(", "))
        }
        Content::Table(table) => {
            let said = table
                .entries
                .iter()
                .filter(|entry| !matches!(entry.node.content, Content::Null));
            let items: Vec<_> = said
                .map(|entry| {
                    let key = toml_edit::Key::new(&entry.key);
                    format!("{} = {}", key.display_repr(), inline(&entry.node))
                })
                .collect();
            if items.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", items.join(", "))
            }
        }
    }
}

/// All comments within a value, as far as it has parts.
fn inner_comments(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    if let Content::List(group) | Content::Table(group) = &node.content {
        for entry in &group.entries {
            found.extend(entry.comments.head.iter().cloned());
            found.extend(entry.comments.end.clone());
            found.extend(inner_comments(&entry.node));
        }
        found.extend(group.foot.iter().cloned());
    }
    found.retain(|line| !line.is_empty());
    found
}

fn text_of(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Text(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Scalar::Integer(_, written) | Scalar::Float(_, written) => written.clone(),
        Scalar::Boolean(yes) => yes.to_string(),
        Scalar::Moment(moment) => moment.to_string(),
    }
}

/// A text without line ends in it, whatever it holds.
fn one_line(text: &str) -> String {
    if !text.contains(['\n', '\r']) {
        return toml_edit::Value::from(text).to_string();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn end_line(out: &mut String, comments: &Comments) {
    if let Some(comment) = &comments.end {
        out.push_str("  ");
        out.push_str(comment);
    }
    out.push('\n');
}

fn push_line(out: &mut String, line: &str) {
    if line.is_empty() {
        blank_line(out);
    } else {
        out.push_str(line);
        out.push('\n');
    }
}

/// An empty line, once.
fn blank_line(out: &mut String) {
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
}
