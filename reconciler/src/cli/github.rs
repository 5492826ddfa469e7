//! Diagnostics as annotations of a GitHub workflow: one command a line, as its runner reads them from the output.

use lockstep_core::diagnostic::{Lines, Report, Severity, Sources};

/// One line a diagnostic. Nothing for an empty report.
pub(super) fn annotations(report: &Report, files: &Sources) -> String {
    let mut out = String::new();
    for diagnostic in report.diagnostics() {
        let command = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut properties = vec![format!("file={}", property(&diagnostic.path))];
        let text = files
            .get(&diagnostic.path)
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        if let (Some(text), Some(span)) = (text, &diagnostic.span) {
            let lines = Lines::of(text);
            let (start, end) = (lines.at(span.start), lines.at(span.end));
            properties.push(format!("line={}", start.line));
            properties.push(format!("endLine={}", end.line));
            // The runner drops columns of what spans several lines.
            if start.line == end.line {
                properties.push(format!("col={}", start.column));
                properties.push(format!("endColumn={}", end.column));
            }
        }
        properties.push(format!("title={}", property(diagnostic.code.as_str())));
        let help = diagnostic
            .help
            .as_ref()
            .map(|help| format!("\nhelp: {help}"))
            .unwrap_or_default();
        let message = message(&format!("{}{help}", diagnostic.message));
        out.push_str(&format!("::{command} {}::{message}\n", properties.join(",")));
    }
    out
}

/// The message ends at a line end, so those are written as the runner decodes them.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// In a property, what separates properties is written so as well.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use lockstep_core::diagnostic::{Code, Diagnostic};

    use super::*;

    #[test]
    fn an_annotation_names_file_place_and_code_and_stays_on_one_line() {
        let files = Sources::from([("a,b.toml".to_owned(), b"x = 1\ny = 200%\n".as_slice().into())]);
        let mistake = Diagnostic::error(Code::WrongType, "a,b.toml", "100% wrong")
            .at(10..13)
            .with_help("mend it");
        let whole = Diagnostic::error(Code::FileSize, "big", "too large");
        let report = Report::new(vec![mistake, whole]);
        assert_eq!(
            annotations(&report, &files),
            "::error file=a%2Cb.toml,line=2,endLine=2,col=5,endColumn=8,title=LS0113::100%25 wrong%0Ahelp: mend it\n\
             ::error file=big,title=LS0301::too large\n"
        );
    }
}
