//! Why a release was not taken: the one error that a loader, a check and the client itself speak.

use lockstep_protocol::StatusError;

/// The longest message that goes into the status file; what is longer is cut.
const LONGEST_MESSAGE: usize = 4000;

/// Why a release was refused, and where in it.
///
/// It ends up as `error` in the status file, so it is written for the person who made the change: what is
/// wrong, what was expected, what to do next.
///
/// ```
/// use lockstep_client::Refusal;
/// let refusal = Refusal::new("`limit` must be above 0").in_file("config.toml").at(3, 9);
/// assert_eq!(refusal.to_string(), "config.toml:3:9: `limit` must be above 0");
/// ```
// It is no `std::error::Error`, so that a service's own errors can become one by `Refusal::new(error)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(StatusError);

impl Refusal {
    /// A refusal with this reason, which may be an error of the service's own.
    #[must_use]
    pub fn new(reason: impl std::fmt::Display) -> Self {
        let mut message = reason.to_string();
        if let Some((cut, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(cut);
            message.push('…');
        }
        Self(StatusError {
            message,
            path: None,
            line: None,
            column: None,
        })
    }

    /// Names the file, relative to the release.
    #[must_use]
    pub fn in_file(mut self, path: &str) -> Self {
        self.0.path = Some(path.to_owned());
        self
    }

    /// Names line and column (in characters), both counted from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.0.line = Some(line);
        self.0.column = Some(column);
        self
    }

    /// Names line and column by an offset in bytes into the file's text.
    #[must_use]
    pub fn at_offset(self, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        self.at(number(line), number(column))
    }

    /// As it is written into the status file.
    #[must_use]
    pub fn error(&self) -> &StatusError {
        &self.0
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn an_offset_becomes_a_line_and_a_column_in_characters() {
        let text = "a = 1\nß = \"é\" x\n";
        let offset = text.find('x').unwrap();
        let refusal = Refusal::new("no").at_offset(text, offset);
        assert_eq!((refusal.error().line, refusal.error().column), (Some(2), Some(9)));
        let end = Refusal::new("no").at_offset(text, text.len());
        assert_eq!((end.error().line, end.error().column), (Some(3), Some(1)));
    }

    #[test]
    fn an_endless_message_is_cut() {
        let refusal = Refusal::new("ü".repeat(100_000));
        assert_eq!(
            refusal.error().message.chars().count(),
            super::LONGEST_MESSAGE + 1
        );
    }
}
