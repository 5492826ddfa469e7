//! What the JSON Schema validator finds, as diagnostics: one message a mistake, in words, at its place.

mod bounds;

use std::collections::BTreeSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::variants::{self, Verdict};
use super::words::{entry, found, key, nearest, of_format, of_types, or, retype, table_word, written};
use crate::diagnostic::{Code, Diagnostic, LISTED, Related};
use crate::document::{Document, KeyPath, Syntax};
use crate::policy::{Schema, from_pointer};
use crate::secret::{kept, shown};

/// Explains the validator's errors about a document, a few more than are listed at most. The schema is where units and known keys come from.
pub(crate) fn explain<'e>(
    errors: impl Iterator<Item = ValidationError<'e>>,
    path: &str,
    document: &Document,
    schema: Option<&Schema>,
) -> Vec<Diagnostic> {
    let mut explaining = Explaining {
        path,
        document,
        schema,
        mistakes: Vec::new(),
    };
    for error in errors {
        explaining.one(&error);
        // Some are merged afterwards, so more are explained than are listed.
        if explaining.mistakes.len() > 2 * LISTED {
            break;
        }
    }
    explaining.finish()
}

struct Explaining<'d> {
    path: &'d str,
    document: &'d Document,
    schema: Option<&'d Schema>,
    mistakes: Vec<Mistake>,
}

struct Mistake {
    diagnostic: Diagnostic,
    /// The key that an unknown one was most likely meant to be.
    meant: Option<KeyPath>,
    /// The table of a key that the schema knows and nothing evaluated: most often because something in the table is
    /// wrong, which is the mistake then.
    echo_of: Option<KeyPath>,
}

impl Explaining<'_> {
    fn finish(self) -> Vec<Diagnostic> {
        // A misspelt key is one mistake, not an unknown key and a missing one; a text where a number belongs
        // is one, not also out of range; an empty one is one, not also of the wrong form.
        let meant: BTreeSet<_> = self
            .mistakes
            .iter()
            .filter_map(|mistake| mistake.meant.clone())
            .collect();
        let keys = |code: Code| -> BTreeSet<_> {
            let found = self
                .mistakes
                .iter()
                .filter(|mistake| mistake.diagnostic.code == code);
            found
                .filter_map(|mistake| mistake.diagnostic.key.clone())
                .collect()
        };
        let (mistyped, missized) = (keys(Code::WrongType), keys(Code::WrongSize));
        let follows = |it: &Diagnostic| {
            let Some(key) = &it.key else { return false };
            let untyped = it.code != Code::WrongType && mistyped.contains(key);
            let unsized_form = it.code == Code::WrongForm && missized.contains(key);
            let misspelt = it.code == Code::MissingKey && meant.contains(key);
            untyped || unsized_form || misspelt
        };
        let wrong: Vec<_> = self
            .mistakes
            .iter()
            .filter(|mistake| mistake.echo_of.is_none())
            .filter_map(|mistake| mistake.diagnostic.key.clone())
            .collect();
        let echo = |mistake: &Mistake| {
            let table = mistake.echo_of.as_ref();
            table.is_some_and(|table| wrong.iter().any(|key| key.starts_with(table)))
        };
        let mut seen = BTreeSet::new();
        let distinct = |it: &Diagnostic| (it.code, it.key.clone(), it.message.clone());
        let mistakes = self.mistakes.into_iter().filter(|mistake| !echo(mistake));
        let mistakes = mistakes.map(|mistake| mistake.diagnostic);
        mistakes
            .filter(|it| !follows(it) && seen.insert(distinct(it)))
            .collect()
    }

    fn one(&mut self, error: &ValidationError<'_>) {
        let at = from_pointer(self.document.value(), error.instance_path().as_str());
        let name = if at.is_root() {
            "the document".to_owned()
        } else {
            format!("`{}`", at.name())
        };
        let value = &*kept(&at, error.instance().as_ref());
        let syntax = self.document.syntax();
        let must = |what: String| format!("{name} must {what}, not {}", found(value, syntax));
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    self.unknown(error, &at, key);
                }
            }
            Kind::Required { property } => self.missing(error, &at, property),
            Kind::Type { kind } => {
                let wanted = must(format!("be {}", of_types(kind, syntax)));
                let empty =
                    syntax == Syntax::Yaml && self.document.value_span(&at).is_empty() && !at.is_root();
                let help = if value.is_null() && empty {
                    Some(format!(
                        "write the value after `{}:`, or remove the key",
                        at.name()
                    ))
                } else {
                    retype(kind, value, &at, syntax)
                };
                self.value(error, &at, Code::WrongType, wanted, help);
            }
            Kind::Enum { options } => {
                let options = options.as_array().cloned().unwrap_or_default();
                self.not_allowed(error, &at, &options);
            }
            Kind::Constant { expected_value } => {
                self.not_allowed(error, &at, &[expected_value.as_ref().clone()]);
            }
            Kind::Minimum { .. }
            | Kind::Maximum { .. }
            | Kind::ExclusiveMinimum { .. }
            | Kind::ExclusiveMaximum { .. }
            | Kind::MultipleOf { .. } => {
                let message = format!("{name} must be {}, not {value}", self.bounds(error, &at));
                self.value(error, &at, Code::OutOfRange, message, None);
            }
            Kind::MinLength { limit } => self.size(error, &at, "at least", *limit, "character"),
            Kind::MaxLength { limit } => self.size(error, &at, "at most", *limit, "character"),
            Kind::MinItems { limit } => self.size(error, &at, "at least", *limit, "entry"),
            Kind::MaxItems { limit } => self.size(error, &at, "at most", *limit, "entry"),
            Kind::AdditionalItems { limit } => self.size(error, &at, "at most", *limit as u64, "entry"),
            Kind::MinProperties { limit } => self.size(error, &at, "at least", *limit, "key"),
            Kind::MaxProperties { limit } => self.size(error, &at, "at most", *limit, "key"),
            Kind::Pattern { pattern } => {
                let message = must(format!("match the pattern `{pattern}`"));
                self.value(error, &at, Code::WrongForm, message, None);
            }
            Kind::Format { format } => {
                let message = must(format!("be {}", of_format(format)));
                self.value(error, &at, Code::WrongForm, message, None);
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => self.variants(error, &at, context),
            Kind::OneOfMultipleValid { .. } => {
                let message =
                    format!("{name} fits more than one of several variants that exclude each other");
                self.value(error, &at, Code::NoVariant, message, None);
            }
            Kind::UniqueItems => self.repeated(error, &at, value),
            Kind::PropertyNames { error: inner } => {
                let key = inner
                    .instance()
                    .as_str()
                    .map_or_else(|| at.clone(), |key| at.key(key));
                let message = match inner.kind() {
                    Kind::Pattern { pattern } => {
                        format!("the key `{}` must match the pattern `{pattern}`", key.name())
                    }
                    _ => format!("the key `{}` is not allowed: {inner}", key.name()),
                };
                let span = self.document.key_span(&key);
                self.push(error, Code::SchemaRule, key, span, message, None);
            }
            Kind::FalseSchema => {
                let message = format!("{name} is not allowed here");
                let span = self.document.key_span(&at);
                self.push(
                    error,
                    Code::UnknownKey,
                    at,
                    span,
                    message,
                    Some("remove it".into()),
                );
            }
            Kind::BacktrackLimitExceeded { .. }
            | Kind::RegexEngineFailure { .. }
            | Kind::Contains
            | Kind::ContentEncoding { .. }
            | Kind::ContentMediaType { .. }
            | Kind::Custom { .. }
            | Kind::FromUtf8 { .. }
            | Kind::Not { .. }
            | Kind::UnevaluatedItems { .. }
            | Kind::Referencing(_) => {
                let message = format!(
                    "{name} breaks a rule of the schema (`{}`)",
                    error.kind().keyword()
                );
                self.value(error, &at, Code::SchemaRule, message, None);
            }
        }
    }

    fn unknown(&mut self, error: &ValidationError<'_>, table: &KeyPath, name: &str) {
        // Of several variants the one that is judged by knows its own keys; else all that is said counts.
        let place = error
            .absolute_keyword_location()
            .and_then(|location| self.schema?.keyword(location));
        let named = place
            .filter(|_| matches!(error.kind(), Kind::AdditionalProperties { .. }))
            .and_then(|(_, file, keyword)| file.get(&keyword.parent()?.key("properties"))?.as_object())
            .filter(|named| !named.is_empty());
        let known: BTreeSet<&str> = match named {
            Some(named) => named
                .iter()
                .filter(|(_, schema)| **schema != Value::Bool(false))
                .map(|(key, _)| key.as_str())
                .collect(),
            None => self
                .schema
                .map(|schema| schema.known_keys(table))
                .unwrap_or_default(),
        };
        // One that is there already was not meant, unless it may be repeated.
        let open = |known: &&str| self.document.get(&table.key(known)).is_none_or(Value::is_array);
        let meant = nearest(name, known.iter().copied().filter(open));
        let help = match meant {
            Some(meant) => Some(format!("did you mean `{meant}`?")),
            None if known.is_empty() => Some("remove it".to_owned()),
            None if known.len() <= 12 => Some(format!(
                "known here: {}",
                known
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            None => None,
        };
        let at = table.key(name);
        let place = if table.is_root() {
            String::new()
        } else {
            format!(" in `{table}`")
        };
        let span = self.document.key_span(&at);
        let message = format!("unknown key `{}`{place}", at.name());
        let unevaluated = matches!(error.kind(), Kind::UnevaluatedProperties { .. });
        let echo_of = (unevaluated && known.contains(name)).then(|| table.clone());
        let fix = meant
            .filter(|_| self.document.place(&at).is_some())
            .map(|meant| key(meant, self.document.syntax()));
        let meant = meant.map(|meant| table.key(meant));
        self.push(error, Code::UnknownKey, at, span, message, help);
        if let Some(last) = self.mistakes.last_mut() {
            last.meant = meant;
            last.echo_of = echo_of;
            last.diagnostic.fix = fix;
        }
    }

    fn missing(&mut self, error: &ValidationError<'_>, table: &KeyPath, property: &Value) {
        let Some(key) = property.as_str() else { return };
        let at = table.key(key);
        let place = if table.is_root() {
            String::new()
        } else {
            format!(" in `{table}`")
        };
        let message = format!("missing key `{}`{place}", at.name());
        let annotation = |keyword| self.schema.and_then(|schema| schema.annotation(&at, keyword));
        let example = annotation("default").or_else(|| annotation("examples")?.get(0));
        let options = self.schema.map(|schema| schema.options(&at)).unwrap_or_default();
        let name = at.name();
        let syntax = self.document.syntax();
        let add = |value: &str| format!("add `{}`", entry(&name, value, syntax));
        let add = match (example, annotation("type").and_then(Value::as_str)) {
            (Some(example), _) => add(&written(example, syntax)),
            (None, Some("object")) if syntax == Syntax::Toml => format!("add a table `[{at}]`"),
            (None, Some("object")) => format!("add `{name}`, {}", table_word(syntax)),
            (None, _) if !options.is_empty() => {
                let options = or(options
                    .iter()
                    .take(20)
                    .map(|option| format!("`{}`", written(option, syntax))));
                format!("{} with {options}", add("…"))
            }
            (None, _) => add("…"),
        };
        let help = match self.description(&at) {
            Some(about) => format!("{add}: {about}"),
            None => add,
        };
        let span = self.document.header_span(table);
        self.push(error, Code::MissingKey, at, span, message, Some(help));
    }

    fn not_allowed(&mut self, error: &ValidationError<'_>, at: &KeyPath, options: &[Value]) {
        let value = shown(at, self.document.get(at).unwrap_or(&Value::Null));
        let syntax = self.document.syntax();
        let listed = or(options
            .iter()
            .take(20)
            .map(|option| format!("`{}`", written(option, syntax))));
        let meant = value
            .as_str()
            .and_then(|typed| nearest(typed, options.iter().filter_map(Value::as_str)));
        let meant = meant.map(|meant| written(&Value::from(meant), syntax));
        let help = meant.as_ref().map(|meant| format!("did you mean `{meant}`?"));
        let name = if at.is_root() {
            "the document".to_owned()
        } else {
            format!("`{}`", at.name())
        };
        let message = format!("{name} must be {listed}, not {}", found(&value, syntax));
        self.value(error, at, Code::NotAllowed, message, help);
        if let Some(last) = self.mistakes.last_mut() {
            last.diagnostic.fix = meant.filter(|_| self.document.place(at).is_some());
        }
    }

    fn variants(
        &mut self,
        error: &ValidationError<'_>,
        at: &KeyPath,
        branches: &[Vec<ValidationError<'static>>],
    ) {
        match variants::decide(branches, error.instance_path().as_str(), self.document.syntax()) {
            Verdict::Branch(branch) => match branches.get(branch) {
                Some(errors) if !errors.is_empty() => errors.iter().for_each(|error| self.one(error)),
                Some(_) | None => {
                    let message = format!("`{}` fits none of the schema's variants", at.name());
                    self.value(error, at, Code::NoVariant, message, None);
                }
            },
            Verdict::Wanted { words, options } if options.len() < words.len() => {
                let value = shown(at, self.document.get(at).unwrap_or(&Value::Null));
                let message = format!(
                    "`{}` must be {}, not {}",
                    at.name(),
                    or(words),
                    found(&value, self.document.syntax())
                );
                self.value(error, at, Code::NoVariant, message, None);
            }
            Verdict::Wanted { options, .. } => self.not_allowed(error, at, &options),
            Verdict::Discriminator { pointer, options } => {
                let at = from_pointer(self.document.value(), &pointer);
                self.not_allowed(error, &at, &options);
            }
        }
    }

    fn size(&mut self, error: &ValidationError<'_>, at: &KeyPath, bound: &str, limit: u64, unit: &str) {
        let has = match error.instance().as_ref() {
            Value::String(text) => text.chars().count(),
            Value::Array(entries) => entries.len(),
            Value::Object(table) => table.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        };
        let units = match (limit, unit) {
            (1, unit) => unit.to_owned(),
            (_, "entry") => "entries".to_owned(),
            (_, unit) => format!("{unit}s"),
        };
        let name = if at.is_root() {
            "the document".to_owned()
        } else {
            format!("`{}`", at.name())
        };
        let message = format!("{name} must have {bound} {limit} {units}, not {has}");
        self.value(error, at, Code::WrongSize, message, None);
    }

    fn repeated(&mut self, error: &ValidationError<'_>, at: &KeyPath, list: &Value) {
        let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let again = (1..entries.len()).find(|i| entries[..*i].contains(&entries[*i]));
        let entry = again.map_or_else(|| at.clone(), |i| at.index(i));
        // For a schema 1 and 1.0 are the same; then no entry is marked.
        let what = again.map_or_else(
            || "an entry".to_owned(),
            |i| written(&kept(&entry, &entries[i]), self.document.syntax()),
        );
        let message = format!("`{}` holds {what} twice", at.name());
        self.value(
            error,
            &entry,
            Code::Repeated,
            message,
            Some("remove one of the two".into()),
        );
    }

    /// A mistake that marks the value.
    fn value(
        &mut self,
        error: &ValidationError<'_>,
        at: &KeyPath,
        code: Code,
        message: String,
        help: Option<String>,
    ) {
        let help = help.or_else(|| Some(format!("`{}`: {}", at.name(), self.description(at)?)));
        let table = matches!(self.document.get(at), Some(Value::Object(_)));
        let span = if table {
            self.document.header_span(at)
        } else {
            self.document.value_span(at)
        };
        self.push(error, code, at.clone(), span, message, help);
    }

    /// The first sentence of what the schema tells about a key.
    fn description(&self, at: &KeyPath) -> Option<String> {
        let text = self.schema?.description(at)?.as_str()?;
        let first = text.split_terminator(['\n']).next()?.split(". ").next()?;
        let first = first.trim().trim_end_matches('.');
        (!first.is_empty()).then(|| first.to_owned())
    }

    fn push(
        &mut self,
        error: &ValidationError<'_>,
        code: Code,
        key: KeyPath,
        span: std::ops::Range<usize>,
        message: String,
        help: Option<String>,
    ) {
        let keyword = error
            .absolute_keyword_location()
            .and_then(|location| self.schema?.keyword(location));
        let related = keyword.map(|(path, file, keyword)| Related {
            path: path.to_owned(),
            span: file.key_span(&keyword),
            message: "the schema says so".into(),
        });
        let related = related.into_iter().collect();
        let diagnostic = Diagnostic::error(code, self.path, message).at(span).about(key);
        self.mistakes.push(Mistake {
            diagnostic: Diagnostic {
                help,
                related,
                ..diagnostic
            },
            meant: None,
            echo_of: None,
        });
    }
}
