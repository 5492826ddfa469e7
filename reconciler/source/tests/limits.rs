//! How much a revision may hold, and where what is published and what is asked for by name must lie.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

mod judging;

use judging::{judged, judged_within};
use lockstep_source::testing::{Entry, Origin};
use lockstep_source::{Limits, Mirror, Next, Reason, SourceError, SourceSpec};
use tempfile::TempDir;

#[test]
fn names_and_paths_that_no_file_system_takes_are_refused() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    let long = "n".repeat(256);
    judged.publish_entries(&[Entry {
        mode: "100644",
        name: long.as_bytes(),
        id: &blob,
    }]);
    assert_eq!(
        judged.message(),
        [format!(
            "  config/{long} is 256 bytes long, 255 are allowed. Shorten its name or those of its folders"
        )]
    );
    let mut folder = judged.origin.raw_tree(&[Entry {
        mode: "100644",
        name: b"file",
        id: &blob,
    }]);
    for _ in 0..20 {
        folder = judged.origin.raw_tree(&[Entry {
            mode: "40000",
            name: &long.as_bytes()[..200],
            id: &folder,
        }]);
    }
    judged.publish_entries(&[Entry {
        mode: "40000",
        name: b"deep",
        id: &folder,
    }]);
    let refused = judged.refused();
    assert_eq!(refused.refusals.len(), 1, "what lies below is not looked at");
    assert_eq!(
        refused.refusals[0].reason,
        Reason::TooLong {
            bytes: 3220,
            limit: 3072
        }
    );
}

#[test]
fn limits_are_judged_before_contents_are_read() {
    let judged = judged_within(Limits {
        file_bytes: 10,
        files: 3,
        total_bytes: 24,
    });
    for (name, bytes) in [("a", 10), ("b", 11), ("c", 1), ("sub/d", 3)] {
        judged
            .origin
            .write_file(&format!("config/{name}"), "x".repeat(bytes));
    }
    judged.origin.publish("Too much");
    assert_eq!(
        judged.message(),
        [
            "  config holds more than the 3 files allowed. Publish a smaller folder, or raise the limit on files in the policy",
            "  config holds 25 bytes in all, 24 are allowed. Publish a smaller folder, or raise the limit on bytes in all in the policy",
            "  config/b has 11 bytes, 10 are allowed. Keep large data elsewhere, or raise the limit on bytes a file in the policy",
        ]
    );
    let head = judged.mirror.fetch().unwrap();
    let wider = Limits {
        file_bytes: 11,
        files: 4,
        total_bytes: 25,
    };
    let tree = judged.mirror.tree_within(&head, None, &wider).unwrap();
    let narrower = judged.mirror.tree(&head, Some((&head, &tree))).unwrap_err();
    assert!(
        matches!(narrower, SourceError::Refused(_)),
        "unchanged files are held to narrower limits too"
    );
}

#[test]
fn a_few_bytes_that_name_endless_folders_are_given_up_early() {
    let judged = judged_within(Limits {
        files: 1000,
        ..Limits::default()
    });
    let blob = judged.origin.blob(b"x");
    for leaf in [
        vec![Entry {
            mode: "100644",
            name: b"f",
            id: &blob,
        }],
        vec![],
    ] {
        let mut id = judged.origin.raw_tree(&leaf);
        for _ in 0..12 {
            let names: Vec<_> = (0..10).map(|n| format!("d{n}")).collect();
            let ten: Vec<_> = names
                .iter()
                .map(|n| Entry {
                    mode: "40000",
                    name: n.as_bytes(),
                    id: &id,
                })
                .collect();
            id = judged.origin.raw_tree(&ten);
        }
        judged.publish_entries(&[Entry {
            mode: "40000",
            name: b"bomb",
            id: &id,
        }]);
        let refused = judged.refused();
        let many = [
            Reason::TooManyFolders { limit: 1000 },
            Reason::TooManyFiles { limit: 1000 },
        ];
        assert!(
            refused
                .refusals
                .iter()
                .any(|refusal| many.contains(&refusal.reason))
        );
    }
}

#[test]
fn a_published_folder_that_is_not_there_is_named_with_what_is() {
    let (origin, state) = (Origin::new(), TempDir::new().unwrap());
    origin.write_file("configs/a.toml", "");
    origin.write_file("configs/deep/file", "");
    origin.write_file("README.md", "");
    let head = origin.publish("Begin");
    let open = |path: &str| {
        let spec = SourceSpec::new(origin.url(), "main").publishing(path);
        let mirror = Mirror::open(state.path().join("mirror.git"), spec).unwrap();
        mirror.fetch().unwrap();
        let error = mirror.tree(&head, None).unwrap_err();
        assert_eq!(error.next(), Next::Reject);
        error.to_string()
    };
    let rev = head.short();
    assert_eq!(
        open("config"),
        format!(
            "revision {rev} has no folder \"config\"; its top holds \"README.md\", \"configs\". Commit that \
             folder, or correct source.path"
        )
    );
    assert_eq!(
        open("configs/prod"),
        format!(
            "revision {rev} has no folder \"configs/prod\"; its folder \"configs\" holds \"a.toml\", \"deep\". \
             Commit that folder, or correct source.path"
        )
    );
    assert_eq!(
        open("configs/deep/file"),
        format!(
            "in revision {rev} \"configs/deep/file\" is a file, where source.path expects a folder. Commit a \
             folder there, or correct source.path"
        )
    );
    assert!(open("README.md/x").contains("\"README.md\" is a file"));
}

#[test]
fn a_file_by_name_is_bounded_and_never_a_link() {
    let judged = judged_within(Limits {
        file_bytes: 4,
        ..Limits::default()
    });
    judged.origin.write_file(".lockstep/policy.toml", "12345");
    judged.origin.write_file(".lockstep/schema/a.json", "{}");
    judged.origin.symlink(".lockstep/link.toml", "/etc/passwd");
    judged.origin.symlink("linked", ".lockstep");
    let head = judged.origin.publish("Policy");
    judged.mirror.fetch().unwrap();
    let says = |path: &str| judged.mirror.file(&head, path).unwrap_err().to_string();
    let rev = head.short();
    assert_eq!(
        says(".lockstep/policy.toml"),
        format!(
            "in revision {rev} .lockstep/policy.toml cannot be read: it has 5 bytes, 4 are allowed. Make it smaller"
        )
    );
    assert_eq!(
        says(".lockstep/link.toml"),
        format!(
            "in revision {rev} .lockstep/link.toml cannot be read: .lockstep/link.toml is a symbolic link, which \
             could lead out of the release. Commit a copy of the file that it points to"
        )
    );
    assert!(says("linked/policy.toml").contains("linked is a symbolic link"));
    assert!(says(".lockstep/schema").contains("it is a folder. Name a file"));
    assert!(says("../policy.toml").contains("that is no path from the repository's root"));
    assert_eq!(
        judged
            .mirror
            .file(&head, ".lockstep/schema/a.json")
            .unwrap()
            .unwrap(),
        b"{}"
    );
    for nothing in [".lockstep/none", "none/policy.toml", ".lockstep/policy.toml/x"] {
        assert_eq!(judged.mirror.file(&head, nothing).unwrap(), None);
    }
}
