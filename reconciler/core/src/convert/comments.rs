//! The comments of a YAML text, which its parser passes over: found between its scalars, handed out in order.

use std::ops::Range;

/// A comment.
#[derive(Debug)]
struct Comment {
    start: usize,
    /// With its `#`.
    text: String,
    /// Whether nothing but the comment is on its line.
    alone: bool,
    /// How far it is indented, when alone.
    column: usize,
    /// Whether the line before it is blank.
    blank: bool,
}

/// The comments that nobody took yet.
#[derive(Debug)]
pub(super) struct Remaining<'t> {
    text: &'t str,
    comments: Vec<Comment>,
    next: usize,
}

impl<'t> Remaining<'t> {
    /// Finds all comments of a text, whose scalars are `opaque`: a `#` in them is none.
    pub(super) fn of(text: &'t str, opaque: &[Range<usize>]) -> Self {
        let mut comments = Vec::new();
        let bytes = text.as_bytes();
        let (mut at, mut scalar) = (0, 0);
        while let Some(found) = text[at..].find('#') {
            let start = at + found;
            while opaque.get(scalar).is_some_and(|range| range.end <= start) {
                scalar += 1;
            }
            if let Some(range) = opaque.get(scalar).filter(|range| range.start <= start) {
                at = range.end.max(start + 1);
                continue;
            }
            let before = text[..start].trim_start_matches('\u{feff}');
            if !(before.is_empty() || before.ends_with([' ', '\t', '\n', '\r'])) {
                at = start + 1;
                continue;
            }
            let end = text[start..]
                .find(['\n', '\r'])
                .map_or(text.len(), |end| start + end);
            let line = start_of_line(text, start);
            comments.push(Comment {
                start,
                text: printable(text[start..end].trim_end()),
                alone: text[line..start].trim_matches([' ', '\t', '\u{feff}']).is_empty(),
                column: text[line..start].chars().count(),
                blank: blank_before(text, start),
            });
            at = end;
            debug_assert!(at >= bytes.len() || bytes[at] == b'\n' || bytes[at] == b'\r');
        }
        Self {
            text,
            comments,
            next: 0,
        }
    }

    fn peek(&self) -> Option<&Comment> {
        self.comments.get(self.next)
    }

    /// All that stand before a place, with the blank lines between them. Says too whether a blank line comes first.
    pub(super) fn before(&mut self, place: usize) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut blank_first = None;
        while let Some(comment) = self.peek().filter(|comment| comment.start < place) {
            let (text, blank) = (comment.text.clone(), comment.blank && comment.alone);
            if blank && !lines.is_empty() {
                lines.push(String::new());
            }
            blank_first.get_or_insert(blank);
            lines.push(text);
            self.next += 1;
        }
        let blank = blank_before(self.text, place);
        if blank && !lines.is_empty() {
            lines.push(String::new());
        }
        (lines, blank_first.unwrap_or(blank))
    }

    /// Those that stand before a place and are indented at least so far: they end what they are indented with.
    pub(super) fn foot(&mut self, place: usize, column: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(comment) = self
            .peek()
            .filter(|comment| comment.start < place && (!comment.alone || comment.column >= column))
        {
            let (text, blank) = (comment.text.clone(), comment.blank);
            if blank {
                lines.push(String::new());
            }
            lines.push(text);
            self.next += 1;
        }
        lines
    }

    /// The one on the line of a place, behind it and before `limit`.
    pub(super) fn on_line(&mut self, place: usize, limit: usize) -> Option<String> {
        let comment = self
            .peek()
            .filter(|comment| !comment.alone && comment.start >= place && comment.start < limit)?;
        if self.text[place..comment.start].contains(['\n', '\r']) {
            return None;
        }
        let text = comment.text.clone();
        self.next += 1;
        Some(text)
    }
}

fn start_of_line(text: &str, at: usize) -> usize {
    text[..at].rfind(['\n', '\r']).map_or(0, |newline| newline + 1)
}

/// Whether the line before that of a place is blank.
fn blank_before(text: &str, at: usize) -> bool {
    let above = &text[..start_of_line(text, at)];
    let above = above
        .strip_suffix("\r\n")
        .or_else(|| above.strip_suffix(['\n', '\r']));
    above.is_some_and(|above| {
        let line = &above[start_of_line(above, above.len())..];
        line.trim().is_empty()
    })
}

/// TOML allows no control characters in comments.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}
