//! The JSON Schemas (2020-12) of the documents, generated from their types; `schema/` holds them.
//!
//! They describe what a reader takes: unknown fields are allowed, absent optional ones are null.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use crate::{Offer, Release, Status};

/// Each document's name and schema.
#[must_use]
pub fn documents() -> [(&'static str, Schema); 3] {
    [
        ("offer", of::<Offer>()),
        ("release", of::<Release>()),
        ("status", of::<Status>()),
    ]
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_schema_files_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        let update = std::env::var_os("UPDATE").is_some();
        let mut differing = Vec::new();
        for (name, schema) in super::documents() {
            let file = folder.join(format!("{name}.schema.json"));
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            if update {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&file, text).unwrap();
            } else if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
                differing.push(file);
            }
        }
        assert!(
            differing.is_empty(),
            "{differing:?} differ from the types; run this again with UPDATE=1"
        );
    }
}
