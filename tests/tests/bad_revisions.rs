//! Revisions that must not be published: rejected with a clear message, and nobody notices.

use std::fmt::Write as _;
use std::fs;

use lockstep_protocol::Revision;
use lockstep_source::testing::Entry;
use lockstep_tests::{Lab, Service};

/// Publishes something bad, and asserts that it is rejected in these words and that nothing moved.
#[track_caller]
fn rejected(lab: &Lab, publish: impl FnOnce(&Lab) -> Revision, words: &[&str]) {
    let (live, a, b) = (lab.status().live, lab.ask("a"), lab.ask("b"));
    let revision = publish(lab);
    let rejected = lab.wait_kind("Rejected", &revision);
    for word in words {
        assert!(
            rejected.message.contains(word),
            "{:?} does not say {word:?}",
            rejected.message
        );
    }
    let status = lab.wait_status("it is shown", |status| status.candidate.is_some());
    let candidate = status.candidate.expect("it was waited for");
    assert_eq!(
        (candidate.revision, candidate.state.as_str()),
        (revision.clone(), "rejected")
    );
    assert_eq!(candidate.reason.as_deref(), Some(rejected.message.as_str()));
    assert_eq!(
        (status.live, lab.ask("a"), lab.ask("b")),
        (live, a, b),
        "nobody noticed"
    );
    let releases = fs::read_dir(lab.volume().join(".lockstep/releases")).expect("the volume is there");
    for release in releases.flatten() {
        let name = release.file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(revision.short()), "it was built: {name}");
    }
    lab.assert_volume_whole();
}

fn lab() -> Lab {
    let schema = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": { "$ref": "#/$defs/service" },
        "$defs": { "service": {
            "type": "object",
            "required": ["value"],
            "additionalProperties": false,
            "properties": { "value": { "type": "integer", "minimum": 0 } } } }
    }"##;
    let policy =
        "version = 1\n[[document]]\npath = \"config/config.toml\"\nschema = \".lockstep/schema.json\"\n";
    Lab::builder()
        .service(Service::voting("a"))
        .service(Service::acknowledged("b"))
        .file(".lockstep/policy.toml", policy)
        .file(".lockstep/schema.json", schema)
        .start()
}

/// What is wrong with it is mended by the next commit, whatever it was.
#[track_caller]
fn and_the_next_is_taken(lab: &Lab, good: &Revision) {
    lab.origin().git(&["reset", "-q", "--hard", good.as_str()]);
    lab.force_push();
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
}

#[test]
fn broken_toml_wrong_types_and_unknown_keys_are_named_with_their_place() {
    let lab = lab();
    let before = lab.services();
    let document = |text: &'static str| move |lab: &Lab| lab.publish(&[("config/config.toml", text)]);
    rejected(
        &lab,
        document("[a]\nvalue = 1\n[b\nvalue = 1\n"),
        &["config/config.toml:3"],
    );
    rejected(
        &lab,
        document("[a]\nvalue = \"one\"\n[b]\nvalue = 1\n"),
        &["config/config.toml:2:9", "whole number"],
    );
    rejected(
        &lab,
        document("[a]\nvalu = 1\nvalue = 1\n[b]\nvalue = 1\n"),
        &["config/config.toml:2:1", "valu", "value"],
    );
    rejected(
        &lab,
        document("[a]\n[b]\nvalue = 1\n"),
        &["config/config.toml:1", "value"],
    );
    rejected(
        &lab,
        document("[a]\nvalue = -1\n[b]\nvalue = 1\n"),
        &["config/config.toml:2:9", "0"],
    );
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.assert_same_processes(&before);
}

#[test]
fn a_broken_policy_or_schema_is_named() {
    let lab = lab();
    let file = |path: &'static str, text: &'static str| move |lab: &Lab| lab.publish(&[(path, text)]);
    rejected(
        &lab,
        file(".lockstep/policy.toml", "version = 1\n[[documents]]\n"),
        &[".lockstep/policy.toml:2", "documents"],
    );
    rejected(
        &lab,
        file(".lockstep/policy.toml", "version = 9\n"),
        &[".lockstep/policy.toml:1"],
    );
    lab.origin().git(&["checkout", "-q", "HEAD~2", "--", "."]);
    rejected(
        &lab,
        file(".lockstep/schema.json", "{ \"type\": \"objekt\" }"),
        &[".lockstep/schema.json"],
    );
}

#[test]
fn a_file_of_fifty_megabytes_is_refused() {
    let lab = lab();
    let good = lab.origin().revision("HEAD");
    let publish = |lab: &Lab| lab.origin().publish_file("config/big.bin", vec![b'x'; 50 << 20]);
    rejected(
        &lab,
        publish,
        &["config/big.bin", "52428800 bytes", "10485760 are allowed"],
    );
    and_the_next_is_taken(&lab, &good);
}

#[test]
fn a_symbolic_link_is_refused() {
    let lab = lab();
    let good = lab.origin().revision("HEAD");
    let publish = |lab: &Lab| {
        lab.origin().symlink("config/passwd", "/etc/passwd");
        lab.origin().publish("A link")
    };
    rejected(&lab, publish, &["config/passwd", "symbolic link"]);
    and_the_next_is_taken(&lab, &good);
}

#[test]
fn a_submodule_is_refused() {
    let lab = lab();
    let good = lab.origin().revision("HEAD");
    let publish = |lab: &Lab| {
        let entry = format!("160000,{good},config/module");
        lab.origin()
            .git(&["update-index", "--add", "--cacheinfo", &entry]);
        lab.origin().git(&["commit", "-q", "-m", "A submodule"]);
        lab.push();
        lab.origin().revision("HEAD")
    };
    rejected(&lab, publish, &["config/module", "submodule"]);
    and_the_next_is_taken(&lab, &good);
}

#[test]
fn names_that_differ_in_case_only_are_refused() {
    let lab = lab();
    let good = lab.origin().revision("HEAD");
    let publish =
        |lab: &Lab| lab.publish(&[("config/Extra.toml", "x = 1\n"), ("config/extra.toml", "x = 2\n")]);
    rejected(&lab, publish, &["Extra.toml", "extra.toml", "case"]);
    and_the_next_is_taken(&lab, &good);
}

/// Publishes a file of this name in the published folder itself, or in a folder of it: as only bytes can say it.
fn publish_name(lab: &Lab, in_a_folder: bool, name: &[u8]) -> Revision {
    let origin = lab.origin();
    let (blob, document) = (
        origin.blob(b"x = 1\n"),
        origin.git(&["rev-parse", "HEAD:config/config.toml"]),
    );
    let bad = Entry {
        mode: "100644",
        name,
        id: &blob,
    };
    let below = origin.raw_tree(std::slice::from_ref(&bad));
    let bad = if in_a_folder {
        Entry {
            mode: "40000",
            name: b"below",
            id: &below,
        }
    } else {
        bad
    };
    let mut entries = [
        Entry {
            mode: "100644",
            name: b"config.toml",
            id: &document,
        },
        bad,
    ];
    entries.sort_by_key(|entry| entry.name);
    let config = origin.raw_tree(&entries);
    let root = origin.raw_tree(&[Entry {
        mode: "40000",
        name: b"config",
        id: &config,
    }]);
    origin.publish_tree(&root, "A name")
}

#[test]
fn names_that_lead_out_of_the_volume_or_into_lockstep_are_refused() {
    let lab = lab();
    let good = lab.origin().revision("HEAD");
    for (folder, name, words) in [
        (false, &b"current"[..], "current"),
        (false, b"lost+found", "lost+found"),
        (false, b"\xff.toml", "UTF-8"),
        (true, b"..", "below"),
        (true, b"a/b", "below"),
    ] {
        rejected(&lab, |lab| publish_name(lab, folder, name), &[words]);
    }
    and_the_next_is_taken(&lab, &good);
}

#[test]
fn too_many_files_are_refused() {
    let policy = "version = 1\n[limits]\nfiles = 20\n";
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("b"))
        .file(".lockstep/policy.toml", policy)
        .start();
    let good = lab.origin().revision("HEAD");
    let publish = |lab: &Lab| {
        for number in 0..30 {
            lab.origin().write_file(&format!("config/part-{number}.txt"), "x");
        }
        lab.origin().publish("Many")
    };
    rejected(&lab, publish, &["20"]);
    and_the_next_is_taken(&lab, &good);
}

#[test]
fn a_thousand_files_come_and_go() {
    let lab = lab();
    let before = lab.services();
    let mut text = String::new();
    for number in 0..1000 {
        write!(text, "{number} ").expect("a text takes it");
        lab.origin().write_file(
            &format!("config/parts/{:02}/{number}.txt", number % 40),
            &text[text.len() / 2..],
        );
    }
    lab.wait_settled(&lab.origin().publish("Parts"));
    assert!(lab.volume().join("parts/39/999.txt").is_file());
    lab.origin().remove("config/parts");
    lab.wait_settled(&lab.origin().publish("No parts"));
    assert!(
        lab.volume().join("parts").symlink_metadata().is_err(),
        "its link is gone"
    );
    lab.assert_volume_whole();
    lab.assert_same_processes(&before);
}
