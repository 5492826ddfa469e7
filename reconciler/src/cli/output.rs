//! What a command prints: whole texts to the standard output, coloured only where somebody sees it.
//!
//! Colours are dropped when the output is no terminal or `NO_COLOR` is set. A reader that went away (`| head`)
//! ends the command without a word: it has what it wanted.

use std::io::{ErrorKind, IsTerminal, Write};

use serde::Serialize;

use super::Failure;

/// Prints a text as it is; it brings its own line ends.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::unread()),
        Err(error) => Err(Failure::refused(format!(
            "the standard output cannot be written: {error}"
        ))),
    }
}

/// Whether somebody sees the output as it comes.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Prints one line.
pub(super) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints a document for programs, indented.
pub(super) fn json(document: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(document).map_err(Failure::refused)?)
}

/// Says something besides the result, on the error output.
pub(super) fn note(text: impl std::fmt::Display) {
    // That nobody reads it changes nothing about the result.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
