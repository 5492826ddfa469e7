//! The steps of a YAML text with their places in bytes, as far as its parser has them right.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, options};

/// How deep tables and lists may be nested: what a reader of TOML takes within one value.
pub(super) const MAX_DEPTH: usize = 80;

/// A step of the text.
pub(super) struct Step<'t> {
    pub(super) event: Event<'t>,
    pub(super) span: Range<usize>,
    /// How far it is indented.
    pub(super) column: usize,
}

/// All steps of a text, with their places in bytes; else the place where it cannot be read, and why.
pub(super) fn steps(text: &str) -> Result<Vec<Step<'_>>, (usize, String)> {
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: 2 * MAX_DEPTH,
        block_nesting_limit: 2 * MAX_DEPTH,
    };
    let mut steps = Vec::new();
    for step in Parser::new_from_str_with_options(text, options) {
        let (event, span) = step.map_err(|error| {
            let at = error.marker().byte_offset().unwrap_or(text.len());
            (at, error.info())
        })?;
        let column = span.start.col();
        let Range { start, end } = span.byte_range().unwrap_or(text.len()..text.len());
        let end = match &event {
            // A quoted text's own span may run on to the end of its line.
            Event::Scalar(_, ScalarStyle::DoubleQuoted | ScalarStyle::SingleQuoted, ..) => {
                quoted_end(text, start).unwrap_or(end)
            }
            Event::Scalar(..) => start + text[start..end.max(start)].trim_end().len(),
            _ => end,
        };
        steps.push(Step {
            event,
            span: start..end.max(start),
            column,
        });
    }
    Ok(steps)
}

/// Where a quoted text that begins at or after `start` ends: there may be an anchor and a tag before it.
fn quoted_end(text: &str, start: usize) -> Option<usize> {
    let open = start + text[start..].find(['"', '\''])?;
    let bytes = text.as_bytes();
    let quote = bytes[open];
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 1,
            byte if byte == quote => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

pub(super) fn too_deep<'s, 't>(steps: &'s [Step<'t>]) -> Option<&'s Step<'t>> {
    let mut depth = 0_usize;
    steps.iter().find(|step| {
        match step.event {
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth -= 1,
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// The character at a place, to be marked.
pub(super) fn mark(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at.min(text.len()));
    at..at + text[at..].chars().next().map_or(0, char::len_utf8)
}
