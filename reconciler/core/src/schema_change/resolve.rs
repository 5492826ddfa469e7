//! A schema behind its reference, as far as it lies in the same file.

use serde_json::Value;

use crate::document::KeyPath;
use crate::policy::from_pointer;

/// How many references may lead to one another.
const MOST_STEPS: usize = 32;

/// A schema, and where it stands in its file.
#[derive(Debug, Clone)]
pub(super) struct Side<'s> {
    pub(super) schema: &'s Value,
    pub(super) at: KeyPath,
}

/// What a schema refers to, if that lies in the same file and nothing beside the reference judges too.
pub(super) fn resolved<'s>(root: &'s Value, side: Side<'s>) -> Option<Side<'s>> {
    let mut side = side;
    for _ in 0..MOST_STEPS {
        let Some(table) = side.schema.as_object() else {
            return Some(side);
        };
        let Some(reference) = table.get("$ref") else {
            return Some(side);
        };
        let judges = |name: &String| {
            name != "$ref"
                && !name.starts_with("x-")
                && !super::SILENT.contains(&name.as_str())
                && name != "default"
        };
        if table.keys().any(judges) {
            return None;
        }
        let pointer = reference.as_str()?.strip_prefix('#')?;
        side = Side {
            schema: root.pointer(pointer)?,
            at: from_pointer(root, pointer),
        };
    }
    None
}
