//! `lockstep convert`: what it prints, what it writes, and what it refuses.

use std::path::Path;

use crate::harness::{Folder, POLICY, SCHEMA};

fn folder(files: &[&str]) -> Folder {
    let folder = Folder::new();
    for file in files {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/cli/convert")
            .join(file);
        folder.write(file, &std::fs::read_to_string(from).unwrap());
    }
    folder
}

/// A copy of the template that users copy, without its document.
fn template(files: &[&str]) -> Folder {
    let folder = folder(files);
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config-repo-template");
    for file in [
        ".lockstep/policy.toml",
        ".lockstep/schema/trader.json",
        ".lockstep/older-yaml.toml",
    ] {
        folder.write(file, &std::fs::read_to_string(template.join(file)).unwrap());
    }
    std::fs::create_dir(folder.path().join("config")).unwrap();
    folder
}

#[test]
fn the_older_yaml_becomes_a_document_that_the_policy_takes_and_says_the_same() {
    let folder = template(&["older.yaml"]);
    let convert = |rest: &[&'static str]| -> Vec<&'static str> {
        let mut args = vec![
            "convert",
            "older.yaml",
            "--map",
            ".lockstep/older-yaml.toml",
            "--yaml",
            "1.1",
        ];
        args.extend(rest);
        args
    };
    folder.case(
        "convert-older",
        &[
            &convert(&["-o", "config/config.toml"]),
            &convert(&["-o", "config/config.toml"]),
            &convert(&["--check", "config/config.toml"]),
            &["validate", "config/config.toml"],
            &convert(&[]),
        ],
    );
}

#[test]
fn what_toml_cannot_say_is_told_at_its_place_all_at_once() {
    folder(&["impossible.yaml", "several.yaml"]).case(
        "convert-impossible",
        &[
            &["convert", "impossible.yaml"],
            &["convert", "several.yaml", "-o", "out.toml"],
            &["convert", "none.yaml"],
        ],
    );
}

#[test]
fn mistakes_of_a_mapping_are_told_all_at_once() {
    let folder = folder(&["older.yaml", "mapping.toml"]);
    folder.write(
        "short.toml",
        "version = 1\n[keys]\nMAX_POSITION = \"trading.max_positions\"\nibkr = \"ibkr\"\n",
    );
    folder.write("tiny.yaml", "MAX_POSITIONS: 5\nibkr:\n  host: x\n");
    folder.case(
        "convert-mapping",
        &[
            &["convert", "older.yaml", "--map", "mapping.toml"],
            &["convert", "tiny.yaml", "--map", "short.toml"],
        ],
    );
}

#[test]
fn each_difference_is_named_with_both_places() {
    let folder = folder(&[]);
    folder.write(
        "a.yaml",
        "limits:\n  max: 5\n  min: 1\n  share: 5000\nnames: [a, b, c]\n",
    );
    folder.write(
        "same.toml",
        "names = ['a', \"b\", \"c\"]\n[limits]\nshare = 5000.0\nmax = 0x5\nmin = 1\n",
    );
    folder.write(
        "other.toml",
        "extra = true\nnames = [\"a\", \"c\"]\n[limits]\nmax = \"5\"\nshare = 5000\n",
    );
    folder.case(
        "convert-check",
        &[
            &["convert", "a.yaml", "--check", "same.toml"],
            &["convert", "a.yaml", "--check", "other.toml"],
            &["convert", "a.yaml", "--check", "none.toml"],
        ],
    );
}

#[test]
fn a_result_that_the_policy_refuses_is_written_and_told() {
    let folder = folder(&[]);
    folder.write(".lockstep/policy.toml", POLICY);
    folder.write(".lockstep/schema.json", SCHEMA);
    folder.write("config/note.txt", "");
    folder.write("a.yaml", "limits:\n  max: 0\n");
    folder.case(
        "convert-refused",
        &[
            &["convert", "a.yaml", "-o", "config/config.toml"],
            &["convert", "a.yaml", "-o", "config/else.toml"],
        ],
    );
    let written = std::fs::read_to_string(folder.path().join("config/config.toml")).unwrap();
    assert_eq!(written, "[limits]\nmax = 0\n");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("config")).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}
