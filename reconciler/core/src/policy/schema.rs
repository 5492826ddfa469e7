//! A JSON Schema of the candidate, with all the files of the repository that it refers to.
//!
//! Nothing is ever fetched: a reference that leaves the repository is a mistake. A file is addressed by its
//! path in the repository, so a relative `$ref` means the file beside it, whatever `$id` says.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{Draft, Registry, Uri, ValidationError, Validator};
use serde_json::Value;

use super::effect::Restart;
use super::effort::chain_too_long;
use crate::diagnostic::{Code, Diagnostic, Sources};
use crate::document::{Document, KeyPath, Part, Syntax};
use crate::validate::mistakes;

/// What a schema is written for that does not say it.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema that is valid and complete, ready to judge documents.
#[derive(Debug)]
pub(crate) struct Schema {
    files: BTreeMap<String, Document>,
    pub(super) registry: Registry<'static>,
    pub(super) base: Uri<String>,
    root: String,
    validator: Validator,
}

impl Schema {
    /// Loads the schema at `root`, which the caller knows to be in `sources`.
    ///
    /// # Errors
    /// With a diagnostic for each mistake in it and in the files it refers to.
    pub(crate) fn load(root: &str, sources: &Sources) -> Result<Self, Vec<Diagnostic>> {
        let mut loading = Loading {
            // The files that it refers to are written for the same draft unless they say another.
            draft: draft_of(root, sources),
            ..Loading::default()
        };
        loading.file(root, sources);
        while let Some(path) = loading.wanted.pop_first() {
            loading.file(&path, sources);
        }
        loading.check_references(root);
        if !loading.mistakes.is_empty() {
            return Err(loading.mistakes);
        }
        let whole = |error: &dyn std::fmt::Display| {
            vec![Diagnostic::error(
                Code::SchemaInvalid,
                root,
                format!("not a valid schema: {error}"),
            )]
        };
        let mut registry = Registry::new();
        for (path, file) in &loading.files {
            let uri = uri_of(path).map_err(|error| whole(&error))?;
            let draft = loading.draft.detect(file.value());
            registry = registry
                .add(uri.as_str(), draft.create_resource(loading.addressed(path)))
                .map_err(|error| whole(&error))?;
        }
        let registry = registry.prepare().map_err(|error| whole(&error))?;
        let base = uri_of(root).map_err(|error| whole(&error))?;
        let validator = jsonschema::options()
            .with_draft(loading.draft)
            .with_registry(&registry)
            .with_base_uri(base.as_str())
            .should_validate_formats(true)
            .build(&loading.addressed(root))
            .map_err(|error| refused(error, root, &loading.files))?;
        Ok(Self {
            files: loading.files,
            registry,
            base,
            root: root.to_owned(),
            validator,
        })
    }

    /// The file it begins in.
    pub(crate) fn path(&self) -> &str {
        &self.root
    }

    /// Everything that the schema finds wrong with a document.
    pub(crate) fn judge<'s>(&'s self, document: &'s Document) -> impl Iterator<Item = ValidationError<'s>> {
        self.validator.iter_errors(document.value())
    }

    /// The file and place that a keyword stands at, as the validator names it.
    pub(crate) fn keyword(&self, location: &Uri<String>) -> Option<(&str, &Document, KeyPath)> {
        let (file, pointer) = location.as_str().split_once('#')?;
        let path = path_of(&Uri::parse(file.to_owned()).ok()?)?;
        let (path, document) = self.files.get_key_value(&path)?;
        Some((path, document, from_pointer(document.value(), pointer)))
    }
}

/// The files that a schema refers to, to be loaded with it: paths from the repository's root.
///
/// A reference that leaves the repository is not among them; it is reported when the schema is loaded.
#[must_use]
pub fn references(path: &str, schema: &[u8]) -> Vec<String> {
    let Ok(document) = Document::parse(path, schema, Syntax::Json) else {
        return Vec::new();
    };
    let mut found = BTreeSet::new();
    visit(document.value(), &KeyPath::root(), &mut |keyword, _, value| {
        if let (true, Some(reference)) = (is_reference(keyword), value.as_str()) {
            found.extend(target(path, reference).ok().and_then(|(file, _)| file));
        }
    });
    found.remove(path);
    found.into_iter().collect()
}

/// A text that refers, and where: file, place of the keyword, the text.
type Reference = (String, KeyPath, String);

#[derive(Default)]
struct Loading {
    draft: Draft,
    files: BTreeMap<String, Document>,
    seen: BTreeSet<String>,
    wanted: BTreeSet<String>,
    /// `$id` to path, for references that name a file of the repository by its id.
    ids: BTreeMap<String, String>,
    references: Vec<Reference>,
    mistakes: Vec<Diagnostic>,
}

impl Loading {
    fn file(&mut self, path: &str, sources: &Sources) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        let Some(bytes) = sources.get(path) else { return };
        let document = match Document::parse(path, bytes, Syntax::Json) {
            Ok(document) => document,
            Err(mistakes) => return self.mistakes.extend(mistakes.into_iter().map(of_schema)),
        };
        if let Some(id) = document
            .value()
            .get(self.draft.detect(document.value()).id_keyword())
            .and_then(Value::as_str)
            .filter(|id| id.contains(':'))
        {
            self.ids
                .insert(id.trim_end_matches('#').to_owned(), path.to_owned());
        }
        self.check_valid(path, &document);
        visit(document.value(), &KeyPath::root(), &mut |keyword, at, value| {
            if let (true, Some(reference)) = (is_reference(keyword), value.as_str()) {
                self.wanted
                    .extend(target(path, reference).ok().and_then(|(file, _)| file));
                self.references
                    .push((path.to_owned(), at.clone(), reference.to_owned()));
            }
            if keyword == "x-lockstep-effect" && Restart::from_schema(value).is_none() {
                let help = "it is \"restart\", or { \"restart\": [\"service\"] }";
                let mistake = Diagnostic::error(Code::SchemaInvalid, path, "the effect is not known");
                self.mistakes
                    .push(mistake.at(document.value_span(at)).with_help(help));
            }
        });
        self.files.insert(path.to_owned(), document);
    }

    fn check_valid(&mut self, path: &str, document: &Document) {
        let validator = match self.draft.detect(document.value()) {
            Draft::Draft4 => jsonschema::draft4::meta::validator(),
            Draft::Draft6 => jsonschema::draft6::meta::validator(),
            Draft::Draft7 => jsonschema::draft7::meta::validator(),
            Draft::Draft201909 => jsonschema::draft201909::meta::validator(),
            Draft::Draft202012 => jsonschema::draft202012::meta::validator(),
            _ => {
                let named = KeyPath::root().key("$schema");
                let draft = document.get(&named).and_then(Value::as_str).unwrap_or_default();
                let message = format!(
                    "the schema is written for `{draft}`; drafts 2020-12, 2019-09, 7, 6 and 4 are known"
                );
                let mistake = Diagnostic::error(Code::SchemaInvalid, path, message);
                let help = format!("write \"$schema\": \"{DRAFT}\" and move to the keywords of that draft");
                self.mistakes
                    .push(mistake.at(document.value_span(&named)).with_help(help));
                return;
            }
        };
        let errors = validator.iter_errors(document.value());
        self.mistakes.extend(invalid(errors, path, document));
    }

    fn check_references(&mut self, root: &str) {
        let mut mistakes = Vec::new();
        let leads = self.references.iter().map(|(path, at, reference)| {
            let target = target(path, reference)
                .ok()
                .and_then(|(file, fragment)| Some((file?, fragment)));
            (path.as_str(), at, target)
        });
        if chain_too_long(&self.files, leads) {
            let mistake = Diagnostic::error(
                Code::SchemaEffort,
                root,
                "the schema's chains of references are too long",
            );
            mistakes.push(mistake.with_help("refer to fewer definitions, or nest them less"));
        }
        for (path, at, reference) in &self.references {
            let problem = match target(path, reference) {
                Err(problem) => Some(problem),
                Ok((None, _)) => self.foreign(reference),
                Ok((Some(file), fragment)) => self.dangling(&file, &fragment),
            };
            let Some(problem) = problem else { continue };
            let span = self.files.get(path).map_or(0..0, |file| file.value_span(at));
            let mistake = Diagnostic::error(Code::SchemaReference, path, problem).at(span);
            mistakes.push(mistake.with_help(
                "nothing is fetched to judge a change: refer to a file of this repository by a relative path",
            ));
        }
        self.mistakes.extend(mistakes);
    }

    /// A schema with paths for addresses: without its own `$id` at the top, and with references to the `$id`
    /// of a file of the repository turned into references to that file.
    fn addressed(&self, path: &str) -> Value {
        let mut schema = self
            .files
            .get(path)
            .map(|file| file.value().clone())
            .unwrap_or_default();
        if let Value::Object(keywords) = &mut schema {
            keywords.shift_remove("$id");
            // What it was called up to draft 4.
            if self.draft == Draft::Draft4 {
                keywords.shift_remove("id");
            }
        }
        for (_, at, reference) in self.references.iter().filter(|(file, ..)| file == path) {
            let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
            let Some(file) = self.ids.get(address) else {
                continue;
            };
            let place = at.parts().iter().try_fold(&mut schema, |value, part| match part {
                Part::Key(key) => value.get_mut(key),
                Part::Index(index) => value.get_mut(index),
            });
            if let (Some(place), Ok(uri)) = (place, uri_of(file)) {
                *place = Value::from(format!("{uri}#{fragment}"));
            }
        }
        schema
    }

    fn foreign(&self, reference: &str) -> Option<String> {
        let uri = reference.split('#').next().unwrap_or(reference);
        let known = self.ids.contains_key(uri) || Draft::from_schema_uri(uri) != Draft::Unknown;
        (!known).then(|| format!("`{reference}` is not in this repository"))
    }

    fn dangling(&self, file: &str, fragment: &str) -> Option<String> {
        let Some(document) = self.files.get(file) else {
            // A file that is there but broken has its own diagnostics.
            let broken = self.mistakes.iter().any(|mistake| mistake.path == file);
            return (!broken).then(|| format!("there is no file `{file}` in this revision"));
        };
        let pointer = fragment.starts_with('/') && !fragment.contains('%');
        let nowhere = pointer && document.value().pointer(fragment).is_none();
        nowhere.then(|| format!("there is no `{fragment}` in {file}"))
    }
}

/// What the schema at `root` is written for.
fn draft_of(root: &str, sources: &Sources) -> Draft {
    let document = sources
        .get(root)
        .and_then(|bytes| Document::parse(root, bytes, Syntax::Json).ok());
    match document.map(|document| Draft::default().detect(document.value())) {
        Some(Draft::Unknown) | None => Draft::default(),
        Some(draft) => draft,
    }
}

/// A mistake in the syntax of a schema, which has a code of its own.
fn of_schema(mistake: Diagnostic) -> Diagnostic {
    let code = match mistake.code {
        Code::JsonSyntax => Code::SchemaSyntax,
        code => code,
    };
    Diagnostic { code, ..mistake }
}

fn is_reference(keyword: &str) -> bool {
    matches!(keyword, "$ref" | "$dynamicRef" | "$recursiveRef")
}

/// Where a reference leads: to a file of the repository (with the fragment), or to a foreign address.
fn target(path: &str, reference: &str) -> Result<(Option<String>, String), String> {
    let malformed = |error: &dyn std::fmt::Display| format!("`{reference}` is not a reference: {error}");
    let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    if address.is_empty() {
        return Ok((Some(path.to_owned()), fragment.to_owned()));
    }
    let base = uri_of(path).map_err(|error| malformed(&error))?;
    let uri = jsonschema::uri::resolve_against(&base.borrow(), address).map_err(|error| malformed(&error))?;
    Ok((path_of(&uri), fragment.to_owned()))
}

/// The address of a file of the repository.
fn uri_of(path: &str) -> Result<Uri<String>, jsonschema::ReferencingError> {
    let mut encoded = jsonschema::uri::EncodedBuffer::new();
    encoded.encode_str::<jsonschema::uri::Path>(path);
    jsonschema::uri::from_str(&format!("repo:///{}", encoded.as_str()))
}

/// The path of a file of the repository; none for a foreign address.
fn path_of(uri: &Uri<String>) -> Option<String> {
    (uri.scheme().as_str() == "repo").then(|| {
        uri.path()
            .decode()
            .to_string_lossy()
            .trim_start_matches('/')
            .to_owned()
    })
}

/// Calls `found` with each keyword of each subschema, its place and its value.
fn visit(schema: &Value, at: &KeyPath, found: &mut impl FnMut(&str, &KeyPath, &Value)) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                let at = at.key(keyword);
                found(keyword, &at, value);
                match (keyword.as_str(), value) {
                    ("const" | "enum" | "default" | "examples", _) => {}
                    (
                        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
                        | "dependencies",
                        Value::Object(named),
                    ) => {
                        for (name, schema) in named {
                            visit(schema, &at.key(name), found);
                        }
                    }
                    (_, value) => visit(value, &at, found),
                }
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                visit(entry, &at.index(index), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A JSON pointer as a path into this value.
pub(crate) fn from_pointer(value: &Value, pointer: &str) -> KeyPath {
    let mut at = Some(value);
    let mut path = KeyPath::root();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        match (at, token.parse::<usize>()) {
            (Some(Value::Array(entries)), Ok(index)) => {
                path = path.index(index);
                at = entries.get(index);
            }
            (value, _) => {
                path = path.key(&token);
                at = value.and_then(|value| value.get(&token));
            }
        }
    }
    path
}

/// What the compiler of schemas refuses although the schema of schemas does not: a broken pattern.
fn refused(error: ValidationError<'_>, root: &str, files: &BTreeMap<String, Document>) -> Vec<Diagnostic> {
    // The compiler names the place within the file that is being compiled, as if it were the instance.
    let place = error.absolute_keyword_location().and_then(|location| {
        let file = location.as_str().split('#').next()?;
        path_of(&Uri::parse(file.to_owned()).ok()?)
    });
    let path = place.unwrap_or_else(|| root.to_owned());
    match files.get(&path) {
        Some(document) => invalid(std::iter::once(error), &path, document),
        None => vec![Diagnostic::error(
            Code::SchemaInvalid,
            root,
            format!("not a valid schema: {error}"),
        )],
    }
}

/// What is wrong with a schema, judged as a document.
fn invalid<'e>(
    errors: impl Iterator<Item = ValidationError<'e>>,
    path: &str,
    document: &Document,
) -> Vec<Diagnostic> {
    let mut mistakes = mistakes::explain(errors, path, document, None);
    for mistake in &mut mistakes {
        mistake.code = Code::SchemaInvalid;
        mistake.message = format!("not a valid schema: {}", mistake.message);
    }
    mistakes
}
