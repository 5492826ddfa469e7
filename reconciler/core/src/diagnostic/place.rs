//! Bytes to lines and columns, as people count them.

/// A place as people count it: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Looks for the line ends of a text once.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The place of a byte; one behind the end is at the end.
    #[must_use]
    pub fn at(&self, byte: usize) -> LineColumn {
        let byte = byte.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts[line - 1];
        let column = self.text[start..]
            .char_indices()
            .take_while(|(at, _)| start + at < byte)
            .count()
            + 1;
        LineColumn { line, column }
    }

    /// The line that holds a byte, without its end, and where it begins.
    pub(super) fn line(&self, byte: usize) -> (usize, &'t str) {
        let start = self.starts[self.at(byte).line - 1];
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        (start, line.strip_suffix('\r').unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_from_one() {
        let lines = Lines::of("a = 1\r\nö = \"x\"\n");
        let at = |byte| (lines.at(byte).line, lines.at(byte).column);
        assert_eq!(
            [at(0), at(4), at(7), at(9), at(12)],
            [(1, 1), (1, 5), (2, 1), (2, 2), (2, 5)]
        );
        assert_eq!(at(16), (3, 1));
        assert_eq!(at(99), (3, 1));
    }

    #[test]
    fn an_empty_text_has_one_place() {
        assert_eq!(Lines::of("").at(0), LineColumn { line: 1, column: 1 });
    }
}
