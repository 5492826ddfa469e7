//! YAML to TOML: values, their order and the comments around them.
//!
//! | module | for |
//! |---|---|
//! | `tree` | a configuration between two syntaxes |
//! | `yaml`, `scalar`, `comments` | YAML into a tree |
//! | `mapping`, `apply`, `change` | which key becomes which, and in which unit |
//! | `write` | a tree as TOML |
//! | `compare` | two documents, value by value |
//!
//! What TOML cannot say is never guessed: it is a diagnostic at its place in the YAML, and there is no result.
//! What is the same value said in another way (an alias written out, a null left out) is a warning.

mod apply;
mod change;
mod comments;
mod compare;
mod mapping;
mod scalar;
mod tree;
mod write;
mod yaml;

use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::document::{Document, Syntax};

pub use compare::compare;
pub use mapping::{Mapping, Unmapped};
pub use scalar::Flavour;
use tree::Tree;

/// What a conversion came to.
#[derive(Debug)]
pub struct Converted {
    /// The document; none if something could not be said in TOML.
    pub document: Option<TomlDocument>,
    /// What was found: in the YAML, or in what came of it.
    pub found: Vec<Diagnostic>,
    /// How many keys of the YAML the mapping named.
    pub mapped: usize,
    /// Keys of the mapping that the YAML does not have.
    pub idle: Vec<String>,
}

/// The TOML, and from where in the YAML its values came.
#[derive(Debug)]
pub struct TomlDocument {
    /// The text.
    pub text: String,
    /// The same, read back.
    pub document: Document,
    tree: Tree,
}

impl TomlDocument {
    /// Where in the YAML a value of the result stands.
    #[must_use]
    pub fn origin(&self, key: &crate::document::KeyPath) -> Option<std::ops::Range<usize>> {
        self.tree.span_of(key)
    }
}

/// Converts the text of a file named `path`.
#[must_use]
pub fn convert(path: &str, text: &[u8], mapping: Option<&Mapping>, flavour: Option<Flavour>) -> Converted {
    let mut found = Vec::new();
    let read = yaml::read(path, text, flavour, &mut found);
    let (mut mapped, mut idle) = (0, Vec::new());
    let tree = match (read, mapping) {
        (Some(tree), Some(mapping)) => {
            let applied = apply::apply(tree, mapping, path, &mut found);
            (mapped, idle) = (applied.mapped, applied.idle);
            Some(applied.tree)
        }
        (read, _) => read,
    };
    if let Some(tree) = &tree {
        tree.judge_nulls(path, &mut found);
    }
    let failed = found.iter().any(|found| found.severity == Severity::Error);
    let document = tree
        .filter(|_| !failed)
        .and_then(|tree| match written(path, tree) {
            Ok(document) => Some(document),
            Err(mistakes) => {
                found.extend(mistakes);
                None
            }
        });
    found.sort_by_key(|found| found.span.as_ref().map(|span| span.start));
    Converted {
        document,
        found,
        mapped,
        idle,
    }
}

/// Writes a tree and reads it back: what is handed out says the same as what was read.
fn written(path: &str, tree: Tree) -> Result<TomlDocument, Vec<Diagnostic>> {
    let text = write::write(&tree);
    let not_ours = |mut mistake: Diagnostic| {
        // The place is one of the TOML, which nobody sees.
        mistake.span = None;
        mistake.path = path.to_owned();
        mistake.message = format!("what came of it is no good document: {}", mistake.message);
        mistake
    };
    let document = Document::parse(path, text.as_bytes(), Syntax::Toml)
        .map_err(|mistakes| mistakes.into_iter().map(not_ours).collect::<Vec<_>>())?;
    if !tree.says_the_same(document.value()) {
        return Err(vec![
            Diagnostic::error(
                Code::NoTomlValue,
                path,
                "the TOML does not say what the YAML says: this is a mistake of Lockstep's own",
            )
            .with_help("please report it with the file"),
        ]);
    }
    Ok(TomlDocument { text, document, tree })
}
