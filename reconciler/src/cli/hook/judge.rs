//! Judging one change for a hook, and saying what was found where people read it.

use lockstep_core::diagnostic::{Report, Sources, Style, text};
use lockstep_protocol::Revision;

use super::super::checkout::Checkout;
use super::super::{Failure, output, validate};
use super::tallies::Kept;
use crate::candidate::{judge_change, refusal};

/// What fits into a line of a terminal after git's `remote: `.
const REMOTE: usize = 72;

/// How many commits back a way back may lead.
const BACK: usize = 200;

/// Where what a hook says is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// On the terminal of whoever runs git.
    Here,
    /// By whoever pushes, passed on by git.
    There,
}

/// Judges a revision against a base; gives whether it may go live, and says why not.
pub(super) fn judge(
    checkout: &Checkout,
    revision: &Revision,
    base: Option<&Revision>,
    shown: Shown,
) -> Result<bool, Failure> {
    let (mut report, mut files) = judged(checkout, revision, base, false)?;
    if report.has_errors() && is_way_back(checkout, revision, base) {
        (report, files) = judged(checkout, revision, base, true)?;
    }
    say(&report, &files, shown)?;
    Ok(!report.has_errors())
}

/// Whether the same files were at the branch's head before. The reconciler lets what settled back without asking what
/// the values were in between, and a hook that knows less than it must not stand in that way.
fn is_way_back(checkout: &Checkout, revision: &Revision, base: Option<&Revision>) -> bool {
    let before = |base| checkout.mirror().published_before(revision, base, BACK).ok();
    base.and_then(before).unwrap_or_default()
}

fn judged(
    checkout: &Checkout,
    revision: &Revision,
    base: Option<&Revision>,
    settled_before: bool,
) -> Result<(Report, Sources), Failure> {
    let mut kept = Kept::of(checkout.git_folder());
    let mirror = checkout.mirror();
    let change = match base {
        Some(base) => judge_change(mirror, revision, base, settled_before, &mut kept),
        None => Ok(None),
    };
    kept.store();
    match change {
        Ok(Some(change)) => Ok((change.report, change.files)),
        Ok(None) => validate::judge(mirror, revision, base, None, settled_before),
        Err(error) => Ok((refusal(error).map_err(Failure::refused)?, Sources::new())),
    }
}

fn say(report: &Report, files: &Sources, shown: Shown) -> Result<(), Failure> {
    match shown {
        Shown::Here => output::print(&text(
            report,
            files,
            Style {
                color: true,
                width: 80,
                ..Style::default()
            },
        )),
        Shown::There => {
            let style = Style {
                width: REMOTE,
                ..Style::default()
            };
            output::print(&wrapped(&text(report, files, style)))
        }
    }
}

/// Says something besides, as a sentence.
pub(super) fn note(words: &str, shown: Shown) {
    let words = format!("lockstep: {words}");
    output::note(match shown {
        Shown::Here => words,
        Shown::There => wrapped(&words).trim_end().to_owned(),
    });
}

/// Breaks what is words into lines that fit; lines of a document stay as they are.
fn wrapped(report: &str) -> String {
    let mut out = String::new();
    for line in report.lines() {
        let indent = match line {
            _ if line.starts_with("error")
                || line.starts_with("warning")
                || line.starts_with("lockstep:") =>
            {
                "  "
            }
            _ if line.trim_start().starts_with("= ") => "          ",
            _ if line.starts_with(|first: char| first.is_ascii_digit()) && line.contains("; `lockstep") => "",
            _ => {
                out.push_str(line);
                out.push('\n');
                continue;
            }
        };
        let options = textwrap::Options::new(REMOTE)
            .subsequent_indent(indent)
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        for part in textwrap::wrap(line, options) {
            out.push_str(&part);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn words_are_wrapped_and_the_document_is_not() {
        let report = "error[LS0115]: `risk_per_trade` must be more than 0 and at most 0.05 share of equity, not 0.2\n  \
                      --> config/config.toml:25:18\n   |\n25 | risk_per_trade = 0.2           # share of equity, above 0 and at most 0.05 as it is written\n   \
                      |                  ^^^\n   |\n   = help: `risk_per_trade`: What one trade may lose, as a share of the account's equity\n\n\
                      1 error; `lockstep explain LS0115` says more about a code\n";
        assert_eq!(
            wrapped(report),
            "error[LS0115]: `risk_per_trade` must be more than 0 and at most 0.05\n  share of equity, not 0.2\n  \
             --> config/config.toml:25:18\n   |\n25 | risk_per_trade = 0.2           # share of equity, above 0 and at most 0.05 as it is written\n   \
             |                  ^^^\n   |\n   = help: `risk_per_trade`: What one trade may lose, as a share of the\n          \
             account's equity\n\n1 error; `lockstep explain LS0115` says more about a code\n"
        );
    }
}
