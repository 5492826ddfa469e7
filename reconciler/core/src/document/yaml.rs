//! YAML to a value and places: one document of YAML 1.2, by its core schema.
//!
//! What programs read differently is refused or stays what the core schema says: merge keys and tags of one's own are
//! refused; dates, `no` and `on` are texts. What an alias repeats is marked at the alias.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput, Tag, options};
use serde_json::{Map, Value};

use super::yaml_scalar::{self, Scalar};
use super::{Bare, KeyPath, MAX_DEPTH, Place, Reading};
use crate::diagnostic::Code;

/// How much anchors and aliases may repeat, in bytes: nine lines of them can unfold to a billion values.
const MOST_REPEATED: usize = 1 << 20;
/// What a value counts besides its text.
const PER_VALUE: usize = 16;

/// Reads a text; what it returns counts only if no mistake was recorded.
pub(super) fn read(text: &str, reading: &mut Reading<'_>) -> Value {
    let options = options! {
        emit_comments: false,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut reader = Reader {
        text,
        events: Parser::new_from_str_with_options(text, options),
        reading,
        anchors: BTreeMap::new(),
        repeated: 0,
    };
    reader.stream().unwrap_or_default()
}

struct Reader<'t, 'r, 'p> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    reading: &'r mut Reading<'p>,
    anchors: BTreeMap<usize, Anchored>,
    /// What anchors and aliases repeat so far.
    repeated: usize,
}

/// A value that aliases may repeat.
struct Anchored {
    value: Value,
    path: KeyPath,
    extent: Extent,
}

/// How large a value is.
#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    depth: usize,
}

/// A node's own part of the text, and what came with it.
struct At {
    key: Option<Range<usize>>,
    path: KeyPath,
    depth: usize,
}

/// All that gives nothing was told as a mistake, and ends the reading.
impl<'t> Reader<'t, '_, '_> {
    fn stream(&mut self) -> Option<Value> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if value.is_some() => {
                    let help = "move it to a file of its own";
                    self.refuse(span, "a second document begins here; a file holds one", help);
                    return None;
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => {
                    let at = At {
                        key: None,
                        path: KeyPath::root(),
                        depth: 0,
                    };
                    value = Some(self.node(event, span, at)?);
                }
            }
        }
        if value.is_none() {
            let place = Place {
                key: None,
                value: 0..0,
            };
            self.reading.place(KeyPath::root(), place);
        }
        value
    }

    fn next(&mut self) -> Option<(Event<'t>, Range<usize>)> {
        match self.events.next_event()? {
            Ok((event, span)) => Some((event, span.byte_range().unwrap_or(0..0))),
            Err(error) => {
                self.broken(&error);
                None
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Range<usize>, at: At) -> Option<Value> {
        let At { key, path, depth } = at;
        if depth >= MAX_DEPTH && matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            self.reading.too_deep(key.unwrap_or(span));
            return None;
        }
        let (value, span, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &span, &path);
                (value, span, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", &span);
                let (list, span) = self.list(&path, depth, span)?;
                (list, span, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", &span);
                let (table, span) = self.table(&path, depth, span)?;
                (table, span, anchor)
            }
            Event::Alias(id) => (self.alias(id, &span, &path, depth)?, span, 0),
            _ => {
                self.refuse(span, "this cannot be read", "remove it");
                return None;
            }
        };
        if anchor > 0 {
            self.anchor(anchor, &value, &path, &span)?;
        }
        self.reading.place(path, Place { key, value: span });
        Some(value)
    }

    fn list(&mut self, path: &KeyPath, depth: usize, start: Range<usize>) -> Option<(Value, Range<usize>)> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let span = collection(start, span);
                return Some((Value::Array(list), span));
            }
            let at = At {
                key: None,
                path: path.index(list.len()),
                depth: depth + 1,
            };
            list.push(self.node(event, span, at)?);
        }
    }

    fn table(&mut self, path: &KeyPath, depth: usize, start: Range<usize>) -> Option<(Value, Range<usize>)> {
        let mut table = Map::new();
        let mut first: Option<Range<usize>> = None;
        loop {
            let (event, span) = self.next()?;
            let (name, style) = match event {
                Event::MappingEnd if start.is_empty() => {
                    return Some((Value::Object(table), first.unwrap_or(start)));
                }
                Event::MappingEnd => return Some((Value::Object(table), collection(start, span))),
                Event::Scalar(name, style, ..) => (name, style),
                _ => {
                    let help = "write a key as a text on one line";
                    self.refuse(span, "a key is a text, not a list, a mapping or an alias", help);
                    return None;
                }
            };
            first.get_or_insert(span.clone());
            if name == "<<" && style == ScalarStyle::Plain {
                let help = "write the keys out, or repeat a whole value by its alias";
                let message =
                    "a merge key is not part of YAML 1.2: some programs merge, others see a key `<<`";
                self.refuse(span.clone(), message, help);
            }
            let fits = self.reading.fits(&name, span.clone());
            if table.contains_key(name.as_ref()) {
                let help = "remove one of the two, or merge them";
                self.refuse(span.clone(), &format!("`{name}` is already defined above"), help);
            }
            let path = if fits { path.key(&name) } else { path.clone() };
            let (event, value) = self.next()?;
            let at = At {
                key: Some(span),
                path,
                depth: depth + 1,
            };
            let value = self.node(event, value, at)?;
            if fits {
                table.insert(name.into_owned(), value);
            }
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Range<usize>,
        path: &KeyPath,
    ) -> Value {
        let wanted = match tag {
            None if style == ScalarStyle::Plain => "",
            None => "str",
            Some(tag) if tag.original() == "!" => "str",
            Some(tag) => match tag.core_suffix() {
                Some(name @ ("str" | "null" | "bool" | "int" | "float")) => name,
                Some(_) | None => {
                    self.unknown_tag(tag, span);
                    return Value::Null;
                }
            },
        };
        let scalar = if wanted == "str" {
            Scalar::Value(Value::from(text))
        } else {
            yaml_scalar::resolve(text)
        };
        let value = match scalar {
            Scalar::Value(value) => value,
            Scalar::NonFinite => {
                self.reading.bare(path, Bare::NonFinite);
                return Value::from(text);
            }
            Scalar::Beyond(message) => {
                self.reading
                    .mistake(Code::NumberRange, span.clone(), message, None);
                return Value::Null;
            }
        };
        let fits = match &value {
            Value::Null => matches!(wanted, "" | "null"),
            Value::Bool(_) => matches!(wanted, "" | "bool"),
            Value::Number(number) if number.is_f64() => matches!(wanted, "" | "float"),
            Value::Number(_) => matches!(wanted, "" | "int" | "float"),
            Value::String(_) => matches!(wanted, "" | "str"),
            Value::Array(_) | Value::Object(_) => false,
        };
        if !fits {
            let message = format!("the tag says `{wanted}`, which `{text}` is not");
            self.refuse(span.clone(), &message, "remove the tag, or mend the value");
        }
        match (wanted, value.as_f64()) {
            ("float", Some(float)) => Value::from(float),
            (_, _) => value,
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, kind: &str, span: &Range<usize>) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(kind) && tag.original() != "!") {
            self.unknown_tag(tag, span);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, span: &Range<usize>) {
        let message = format!("the tag `{}` is not known", tag.original());
        let help = "remove it: only `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq` and `!!map` are";
        self.refuse(span.clone(), &message, help);
    }

    fn anchor(&mut self, id: usize, value: &Value, path: &KeyPath, span: &Range<usize>) -> Option<()> {
        let extent = extent(value);
        self.repeat(extent, span)?;
        let anchored = Anchored {
            value: value.clone(),
            path: path.clone(),
            extent,
        };
        self.anchors.insert(id, anchored);
        Some(())
    }

    fn alias(&mut self, id: usize, span: &Range<usize>, path: &KeyPath, depth: usize) -> Option<Value> {
        let Some(Anchored {
            extent, path: from, ..
        }) = self.anchors.get(&id)
        else {
            self.refuse(
                span.clone(),
                "an anchor cannot hold its own alias",
                "write the value out",
            );
            return None;
        };
        let (extent, from) = (*extent, from.clone());
        if depth + extent.depth > MAX_DEPTH {
            self.reading.too_deep(span.clone());
            return None;
        }
        self.repeat(extent, span)?;
        self.reading.bare_again(&from, path);
        self.anchors.get(&id).map(|anchored| anchored.value.clone())
    }

    fn repeat(&mut self, extent: Extent, span: &Range<usize>) -> Option<()> {
        self.repeated = self.repeated.saturating_add(extent.bytes);
        if self.repeated > MOST_REPEATED {
            let message = "anchors and aliases unfold to more than 1 MiB";
            self.refuse(span.clone(), message, "write the values out");
            return None;
        }
        Some(())
    }

    fn refuse(&mut self, span: Range<usize>, message: &str, help: &str) {
        self.reading.mistake(Code::YamlSyntax, span, message, Some(help));
    }

    fn broken(&mut self, error: &ScanError) {
        let start = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
        let end = self.text[start..]
            .chars()
            .next()
            .map_or(start, |c| start + c.len_utf8());
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            return self.reading.too_deep(start..end);
        }
        let (message, help) = reword(error);
        self.reading.mistake(Code::YamlSyntax, start..end, message, help);
    }
}

/// From the bracket that opens to the one that closes; what has no brackets begins somewhere, and that is its place.
fn collection(start: Range<usize>, end: Range<usize>) -> Range<usize> {
    if start.is_empty() {
        start
    } else {
        start.start..end.end
    }
}

fn extent(value: &Value) -> Extent {
    let all = |parts: &mut dyn Iterator<Item = (usize, &Value)>| {
        let mut whole = Extent {
            bytes: PER_VALUE,
            depth: 1,
        };
        for (key, part) in parts {
            let part = extent(part);
            whole.bytes += key + part.bytes;
            whole.depth = whole.depth.max(part.depth + 1);
        }
        whole
    };
    match value {
        Value::Array(list) => all(&mut list.iter().map(|part| (0, part))),
        Value::Object(table) => all(&mut table.iter().map(|(key, part)| (key.len(), part))),
        Value::String(text) => Extent {
            bytes: PER_VALUE + text.len(),
            depth: 0,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => Extent {
            bytes: PER_VALUE,
            depth: 0,
        },
    }
}

/// The parser's phrase in this project's words, and what to do about it where that is known.
fn reword(error: &ScanError) -> (String, Option<&'static str>) {
    let (message, help) = match error.kind() {
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart => ("a tab cannot indent a line", "indent with spaces"),
        ErrorKind::MappingValueNotAllowed => (
            "a `:` cannot stand here",
            "put quotes around a text with `: ` in it; the keys of a mapping begin in the same column",
        ),
        ErrorKind::InvalidColonPlacement => (
            "a `:` cannot stand here",
            "close the list or mapping in brackets before the next key",
        ),
        ErrorKind::UnclosedQuotedScalar => (
            "the text is not closed",
            "end it with the quote that it begins with",
        ),
        ErrorKind::UnexpectedCharacter { character } => {
            let message = format!("a text without quotes cannot begin with `{character}`");
            return (message, Some("put quotes around it"));
        }
        ErrorKind::UnknownAnchor => (
            "there is no such anchor above",
            "an alias `*name` repeats a value that `&name` marks before it; put quotes around a text",
        ),
        ErrorKind::UnclosedFlowCollection { open } => {
            return (
                format!("`{open}` is not closed"),
                Some("close it, before the next key"),
            );
        }
        ErrorKind::UnknownQuotedScalarEscape => (
            "an escape in this text is not known",
            "in single quotes a backslash stands for itself",
        ),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation => (
            "this line does not belong to the mapping or list around it",
            "the keys of a mapping, and the entries of a list, begin in the same column",
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            ("a `:` is missing after this key", "write `key: value`")
        }
        ErrorKind::ExpectedFlowSequenceSeparator => {
            ("a `,` or `]` is missing before this", "part entries by `,`")
        }
        ErrorKind::ExpectedFlowMappingSeparator => {
            ("a `,` or `}` is missing before this", "part entries by `,`")
        }
        ErrorKind::DirectiveDisallowed => (
            "a directive cannot stand here",
            "remove the line: YAML 1.2 is read",
        ),
        ErrorKind::BlockSequenceEntryNotAllowed => (
            "a list cannot begin here",
            "begin it on a line of its own below the key",
        ),
        ErrorKind::MissingAnchorOrAliasName => (
            "a text without quotes cannot begin with `*` or `&`",
            "put quotes around it",
        ),
        _ => return (error.info(), None),
    };
    (message.to_owned(), Some(help))
}
