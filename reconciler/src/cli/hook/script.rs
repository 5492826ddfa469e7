//! What is put into a hook's file: a small script for any `sh`, git's own on Windows included.
//!
//! It asks the hook that was there before, and then the program. Where that is gone it says so and refuses: a gate
//! that nobody notices to be open is none.

use std::path::Path;

use super::Kind;

/// What is added to the name of the hook that was there before.
pub(super) const BEFORE: &str = ".before-lockstep";

/// How the second line begins, by which a hook of ours is known.
const MARK: &str = "# A hook of Lockstep, written by `lockstep hook install`.";

/// Whether a hook is one of ours.
pub(super) fn is_ours(contents: &[u8]) -> bool {
    let mut lines = contents.split(|byte| *byte == b'\n');
    lines.nth(1).is_some_and(|line| line.starts_with(MARK.as_bytes()))
}

/// The script of a hook. `arguments` are for `lockstep hook run`.
pub(super) fn script(kind: Kind, program: &Path, arguments: &[String]) -> String {
    let name = kind.name();
    let program = quoted(
        &program
            .to_string_lossy()
            .replace('\\', if cfg!(windows) { "/" } else { "\\" }),
    );
    let arguments: String = arguments
        .iter()
        .map(|word| format!(" {}", quoted(word)))
        .collect();
    let run = format!("\"$lockstep\" hook run {name}{arguments} -- \"$@\"");
    let (input, feed, run) = match kind {
        Kind::Commit => ("", "", format!("exec {run}")),
        // What git says is for two.
        Kind::Push | Kind::Receive => (
            "input=$(cat)\nfeed() { [ -z \"$input\" ] || printf '%s\\n' \"$input\"; }\n",
            "feed | ",
            format!("feed | {run}"),
        ),
    };
    let otherwise = match kind {
        Kind::Commit => "`git commit --no-verify` commits without being judged.",
        Kind::Push => "`git push --no-verify` pushes without being judged.",
        Kind::Receive => "Until then nothing is taken here.",
    };
    format!(
        r#"#!/bin/sh
{MARK} `lockstep hook uninstall` takes it away.
# The hook that was here before, if any, is kept beside it with {BEFORE} at the end of its name, and is asked first.
{input}before=$0{BEFORE}
if [ -x "$before" ]; then {feed}"$before" "$@" || exit; fi
lockstep={program}
[ -x "$lockstep" ] || lockstep=$(command -v lockstep) || {{
    echo "lockstep: this {name} hook needs the program lockstep: it is gone from" {program} >&2
    echo "and there is none on the PATH. Put it back and run \`lockstep hook install\`," >&2
    echo "or remove the file $0. {otherwise}" >&2
    exit 1
}}
{run}
"#,
        otherwise = otherwise.replace('`', "\\`"),
    )
}

/// A word as `sh` takes it, whatever it holds.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
