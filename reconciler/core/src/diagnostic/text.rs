//! A report for people at a terminal: the line, a caret, who decided it, what to do.

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use super::{Code, Diagnostic, Lines, Report, Severity, Sources, source};
use crate::secret::hidden;

/// How a terminal wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour it.
    pub color: bool,
    /// How many characters fit into a line.
    pub width: usize,
    /// How many bytes are written at most, give or take the last diagnostic; the others are counted.
    pub bytes: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            color: false,
            width: 100,
            bytes: usize::MAX,
        }
    }
}

/// Every diagnostic, then how many there were. Nothing for an empty report.
#[must_use]
pub fn text(report: &Report, sources: &Sources, style: Style) -> String {
    let sources = &hidden(report, sources);
    let renderer = if style.color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.term_width(style.width);
    let mut out = String::new();
    let mut lines: Option<(&str, Option<Lines<'_>>)> = None;
    let mut left_out = 0_usize;
    for diagnostic in report.diagnostics() {
        // That there are more than the report itself lists is said in any case.
        if out.len() > style.bytes && diagnostic.code != Code::MoreMistakes {
            left_out += 1;
            continue;
        }
        if lines.as_ref().is_none_or(|(of, _)| *of != diagnostic.path) {
            lines = Some((&diagnostic.path, source(sources, &diagnostic.path).map(Lines::of)));
        }
        let lines = lines.as_ref().and_then(|(_, lines)| lines.as_ref());
        out.push_str(&one(diagnostic, lines, sources, &renderer));
        out.push_str("\n\n");
    }
    if left_out > 0 {
        out.push_str(&format!(
            "{left_out} of these are left out here: `lockstep validate` in a clone of the repository shows them\n\n"
        ));
    }
    if let Some(first) = report.diagnostics().first() {
        out.push_str(&counted(report));
        out.push_str(&format!(
            "; `lockstep explain {}` says more about a code\n",
            first.code
        ));
    }
    out
}

fn one(diagnostic: &Diagnostic, lines: Option<&Lines<'_>>, sources: &Sources, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let place: Element<'_> = match (lines, &diagnostic.span) {
        (Some(lines), Some(span)) => {
            // Only the line itself is shown: what a renderer does must not depend on how long the file is.
            let (from, line) = lines.line(span.start);
            let start = (span.start - from).min(line.len());
            let end = (span.end - from).clamp(start, line.len());
            Snippet::source(line)
                .line_start(lines.at(span.start).line)
                .path(diagnostic.path.as_str())
                .annotation(AnnotationKind::Primary.span(start..end))
                .into()
        }
        (Some(_) | None, _) => Origin::path(diagnostic.path.as_str()).into(),
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.as_str())
        .element(place);
    for related in &diagnostic.related {
        let at = match source(sources, &related.path).map(|text| Lines::of(text).at(related.span.start)) {
            Some(at) => format!("{}:{}:{}", related.path, at.line, at.column),
            None => related.path.clone(),
        };
        group = group.element(Level::NOTE.message(format!("{} at {at}", related.message)));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

fn counted(report: &Report) -> String {
    let count = |severity: Severity| match report.count(severity) {
        0 => None,
        1 => Some(format!("1 {}", severity.as_str())),
        many => Some(format!("{many} {}s", severity.as_str())),
    };
    let counts: Vec<_> = [Severity::Error, Severity::Warning]
        .into_iter()
        .filter_map(count)
        .collect();
    counts.join(", ")
}
