//! The vectors that every port must pass, run against this implementation and against the schemas.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use std::path::{Path, PathBuf};

use lockstep_protocol::{Digest, DigestBuilder, FileMode, Offer, Release, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

#[derive(Deserialize)]
struct Digests {
    trees: Vec<Tree>,
    texts: Vec<Text>,
}

#[derive(Deserialize)]
struct Tree {
    name: String,
    files: Vec<File>,
    digest: Digest,
}

#[derive(Deserialize)]
struct File {
    path: String,
    mode: FileMode,
    text: Option<String>,
    hex: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    valid: bool,
}

#[derive(Deserialize)]
struct Documents {
    documents: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    name: String,
    valid: bool,
    document: Option<Value>,
    text: Option<String>,
}

fn read<T: DeserializeOwned>(path: &str) -> T {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl File {
    fn contents(&self) -> Vec<u8> {
        match (&self.text, &self.hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(hex)) => (0..hex.len() / 2)
                .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
                .collect(),
            (Some(_), Some(_)) | (None, None) => panic!("{}: either text or hex", self.path),
        }
    }
}

#[test]
fn the_digests_of_the_trees_are_those_of_the_vectors() {
    let vectors: Digests = read("vectors/digest.json");
    assert!(vectors.trees.len() >= 10, "the vectors were read");
    for mut tree in vectors.trees {
        tree.files
            .sort_by(|one, other| one.path.as_bytes().cmp(other.path.as_bytes()));
        let mut builder = DigestBuilder::new();
        for file in &tree.files {
            builder.file(file.mode, &Sha256::digest(file.contents()).into(), &file.path);
        }
        assert_eq!(builder.finish(), tree.digest, "{}", tree.name);
    }
}

#[test]
fn only_what_the_vectors_call_a_digest_is_taken_for_one() {
    for Text { text, valid } in read::<Digests>("vectors/digest.json").texts {
        match text.parse::<Digest>() {
            Ok(digest) => assert!(valid && digest.to_string() == text, "{text:?}"),
            Err(error) => assert!(!valid && error.to_string().contains("64 lowercase"), "{error}"),
        }
    }
}

#[test]
fn statuses_are_taken_or_ignored_as_the_vectors_say() {
    documents::<Status>("status");
}

#[test]
fn offers_are_taken_or_ignored_as_the_vectors_say() {
    documents::<Offer>("offer");
}

#[test]
fn releases_are_taken_or_ignored_as_the_vectors_say() {
    documents::<Release>("release");
}

fn documents<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(kind: &str) {
    let schema: Value = read(&format!("schema/{kind}.schema.json"));
    let schema = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    let vectors: Documents = read(&format!("vectors/{kind}.json"));
    for vector in vectors.documents {
        let name = format!("{kind}: {}", vector.name);
        let text = vector
            .text
            .unwrap_or_else(|| vector.document.as_ref().expect(&name).to_string());
        let taken = serde_json::from_str::<T>(&text);
        assert_eq!(taken.is_ok(), vector.valid, "{name}: {taken:?}");
        if let Some(document) = &vector.document {
            let errors: Vec<_> = schema
                .iter_errors(document)
                .map(|error| error.to_string())
                .collect();
            assert_eq!(
                errors.is_empty(),
                vector.valid,
                "{name}, by its schema: {errors:?}"
            );
        }
        if let Ok(taken) = taken {
            // What this implementation writes is taken as well, and means the same.
            let written = serde_json::to_value(&taken).unwrap();
            assert!(schema.is_valid(&written), "{name}: {written}");
            assert_eq!(serde_json::from_value::<T>(written).unwrap(), taken, "{name}");
        }
    }
}

#[test]
fn a_file_out_of_order_is_noticed() {
    let added = |first: &str, second: &str| {
        let (first, second) = (first.to_owned(), second.to_owned());
        std::panic::catch_unwind(move || {
            let mut builder = DigestBuilder::new();
            builder.file(FileMode::Regular, &[0; 32], &first);
            builder.file(FileMode::Regular, &[0; 32], &second);
        })
    };
    assert!(added("a-b", "a/b").is_ok());
    assert!(added("a", "a/b").is_ok());
    if cfg!(debug_assertions) {
        assert!(added("a/b", "a-b").is_err());
        assert!(added("a", "a").is_err());
    }
}

#[test]
fn an_error_reads_as_file_line_and_column() {
    let error = |text: &str| {
        serde_json::from_str::<lockstep_protocol::StatusError>(text)
            .unwrap()
            .to_string()
    };
    assert_eq!(
        error(r#"{"message": "no", "path": "a.toml", "line": 3, "column": 7}"#),
        "a.toml:3:7: no"
    );
    assert_eq!(error(r#"{"message": "no", "path": "a.toml"}"#), "a.toml: no");
    assert_eq!(error(r#"{"message": "no", "line": 3}"#), "no");
}
