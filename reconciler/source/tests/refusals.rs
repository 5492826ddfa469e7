//! What a revision may not hold: each refusal with its whole message, and all of them at once.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use lockstep_protocol::Revision;
use lockstep_source::testing::{Entry, Origin};
use lockstep_source::{Limits, Mirror, Next, Reason, SourceError, SourceSpec, TreeRefused};
use tempfile::TempDir;

/// A repository that publishes its folder `config`, and a mirror of it.
struct Judged {
    origin: Origin,
    mirror: Mirror,
    _state: TempDir,
}

fn judged() -> Judged {
    judged_within(Limits::default())
}

fn judged_within(limits: Limits) -> Judged {
    let (origin, state) = (Origin::new(), TempDir::new().unwrap());
    let spec = SourceSpec {
        limits,
        ..SourceSpec::new(origin.url(), "main").publishing("config")
    };
    let mirror = Mirror::open(state.path().join("mirror.git"), spec).unwrap();
    Judged {
        origin,
        mirror,
        _state: state,
    }
}

impl Judged {
    fn refused(&self) -> TreeRefused {
        let head = self.mirror.fetch().unwrap();
        match self.mirror.tree(&head, None).unwrap_err() {
            SourceError::Refused(refused) => *refused,
            other => panic!("{other}"),
        }
    }

    /// The message for the head, without its first line, which names the revision.
    fn message(&self) -> Vec<String> {
        let refused = self.refused();
        let message = refused.to_string();
        let mut lines = message.lines().map(str::to_owned);
        assert_eq!(
            lines.next().unwrap(),
            format!("revision {} cannot be published:", refused.revision.short())
        );
        lines.collect()
    }

    /// Publishes a tree whose folder `config` has exactly these entries.
    fn publish_entries(&self, entries: &[Entry<'_>]) -> Revision {
        let config = self.origin.raw_tree(entries);
        let root = self.origin.raw_tree(&[Entry {
            mode: "40000",
            name: b"config",
            id: &config,
        }]);
        self.origin.publish_tree(&root, "Made by hand")
    }
}

#[test]
fn a_symbolic_link_is_refused() {
    let judged = judged();
    judged.origin.write_file("config/a.toml", "");
    judged.origin.symlink("config/link", "/etc/passwd");
    judged.origin.publish("Link");
    assert_eq!(
        judged.message(),
        [
            "  config/link is a symbolic link, which could lead out of the release. Commit a copy of the file that it points to"
        ]
    );
}

#[test]
fn a_submodule_is_refused() {
    let judged = judged();
    let commit = judged.origin.publish_file("config/a.toml", "");
    judged.publish_entries(&[Entry {
        mode: "160000",
        name: b"sub",
        id: commit.as_str(),
    }]);
    assert_eq!(
        judged.message(),
        ["  config/sub is a submodule, whose files are not in this repository. Commit the files themselves"]
    );
}

#[test]
fn names_that_differ_in_case_only_are_refused_in_one_folder() {
    let judged = judged();
    for name in [
        "sub/Ärger.toml",
        "sub/ärger.toml",
        "sub/ÄRGER.toml",
        "other/ÄRGER.toml",
    ] {
        judged.origin.write_file(&format!("config/{name}"), name);
    }
    judged.origin.publish("Collide");
    assert_eq!(
        judged.message(),
        [
            "  config/sub/Ärger.toml differs from config/sub/ÄRGER.toml in upper and lower case only. Rename it",
            "  config/sub/ärger.toml differs from config/sub/ÄRGER.toml in upper and lower case only. Rename it",
        ]
    );
}

#[test]
fn a_folder_and_a_file_collide_as_well() {
    let judged = judged();
    judged.origin.write_file("config/Risk/a.toml", "");
    judged.origin.write_file("config/risk", "");
    judged.origin.publish("Collide");
    assert_eq!(
        judged.message(),
        ["  config/risk differs from config/Risk in upper and lower case only. Rename it"]
    );
}

#[test]
fn a_name_that_is_not_utf_8_is_refused_and_shown() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    judged.publish_entries(&[Entry {
        mode: "100644",
        name: b"caf\xe9 1.toml",
        id: &blob,
    }]);
    assert_eq!(
        judged.message(),
        [r#"  "config/caf\xe9 1.toml" has a name that is not UTF-8. Rename it"#]
    );
}

#[test]
fn names_that_leave_their_folder_are_refused() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    for name in ["..", ".", "a/b", "/etc"] {
        let below = judged.origin.raw_tree(&[Entry {
            mode: "100644",
            name: name.as_bytes(),
            id: &blob,
        }]);
        judged.publish_entries(&[Entry {
            mode: "40000",
            name: b"sub",
            id: &below,
        }]);
        assert_eq!(
            judged.message(),
            [format!(
                "  config/sub/{name} has a name that leaves its folder. Rename it"
            )]
        );
    }
}

#[test]
fn top_level_names_of_the_volume_are_refused_at_the_top_only() {
    let judged = judged();
    for name in ["current", "lost+found", "deeper/current", "deeper/lost+found"] {
        judged.origin.write_file(&format!("config/{name}"), "");
    }
    judged.origin.publish("Reserved");
    assert_eq!(
        judged.message(),
        [
            r#"  config/current has the name "current", which the volume needs for itself. Rename it"#,
            r#"  config/lost+found has the name "lost+found", which the volume needs for itself. Rename it"#,
        ]
    );
}

#[test]
fn modes_that_git_never_writes_are_refused() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    judged.publish_entries(&[
        Entry {
            mode: "20644",
            name: b"device",
            id: &blob,
        },
        Entry {
            mode: "10644",
            name: b"pipe",
            id: &blob,
        },
        Entry {
            mode: "100600",
            name: b"private",
            id: &blob,
        },
    ]);
    assert_eq!(
        judged.message(),
        [
            "  config/device is a device, pipe or socket. Remove it and commit it again with git itself",
            "  config/pipe is a device, pipe or socket. Remove it and commit it again with git itself",
            "  config/private has the mode 100600, which git does not define. Remove it and commit it again with git itself",
        ]
    );
}

#[test]
fn a_mode_that_early_git_wrote_is_a_plain_file() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    let head = judged.publish_entries(&[Entry {
        mode: "100664",
        name: b"old",
        id: &blob,
    }]);
    judged.mirror.fetch().unwrap();
    let tree = judged.mirror.tree(&head, None).unwrap();
    assert_eq!(
        tree.iter().next().unwrap().1.mode,
        lockstep_protocol::FileMode::Regular
    );
}

#[test]
fn a_name_that_is_there_twice_is_refused() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    let entry = |mode| Entry {
        mode,
        name: b"twice",
        id: &blob,
    };
    judged.publish_entries(&[entry("100644"), entry("100755")]);
    assert_eq!(
        judged.message(),
        ["  config/twice is there twice. Remove it and commit it again with git itself"]
    );
}

#[test]
fn a_folder_that_git_cannot_parse_is_refused_and_does_not_stop_what_comes_later() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    let broken = judged.origin.raw_tree(&[Entry {
        mode: "100644",
        name: b"",
        id: &blob,
    }]);
    judged.publish_entries(&[Entry {
        mode: "40000",
        name: b"sub",
        id: &broken,
    }]);
    assert_eq!(
        judged.message(),
        ["  config/sub is a folder that git cannot parse. Remove it and commit it again with git itself"]
    );
    judged.origin.write_file("config/a.toml", "");
    judged.origin.commit("Mended");
    judged.origin.force_push();
    let head = judged.mirror.fetch().unwrap();
    assert_eq!(judged.mirror.tree(&head, None).unwrap().len(), 1);
}

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
fn everything_is_listed_at_once_in_order_of_path() {
    let judged = judged();
    let commit = judged.origin.publish_file("config/a.toml", "");
    let blob = judged.origin.blob(b"x");
    let link = |name: &'static [u8]| Entry {
        mode: "120000",
        name,
        id: &blob,
    };
    let sub = judged.origin.raw_tree(&[link(b"link")]);
    judged.publish_entries(&[
        Entry {
            mode: "100644",
            name: b"B",
            id: &blob,
        },
        Entry {
            mode: "100644",
            name: b"b",
            id: &blob,
        },
        link(b"current"),
        Entry {
            mode: "160000",
            name: b"module",
            id: commit.as_str(),
        },
        Entry {
            mode: "40000",
            name: b"sub",
            id: &sub,
        },
    ]);
    let refused = judged.refused();
    let found: Vec<_> = refused
        .refusals
        .iter()
        .map(|refusal| (refusal.path.as_str(), &refusal.reason))
        .collect();
    assert_eq!(
        found,
        [
            (
                "config/b",
                &Reason::CaseCollision {
                    with: "config/B".to_owned()
                }
            ),
            ("config/current", &Reason::Symlink),
            ("config/current", &Reason::ReservedName { name: "current" }),
            ("config/module", &Reason::Submodule),
            ("config/sub/link", &Reason::Symlink),
        ]
    );
    assert_eq!(SourceError::from(Box::new(refused)).next(), Next::Reject);
}

#[test]
fn a_message_shows_the_first_fifty_and_counts_the_rest() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    let names: Vec<_> = (0..60).map(|n| format!("link{n:02}")).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|n| Entry {
            mode: "120000",
            name: n.as_bytes(),
            id: &blob,
        })
        .collect();
    judged.publish_entries(&entries);
    assert_eq!(judged.refused().refusals.len(), 60);
    let message = judged.message();
    assert_eq!((message.len(), message[50].as_str()), (51, "  and 10 more"));
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
fn an_empty_folder_is_refused() {
    let judged = judged();
    let empty = judged.origin.raw_tree(&[]);
    judged.publish_entries(&[Entry {
        mode: "40000",
        name: b"sub",
        id: &empty,
    }]);
    assert_eq!(
        judged.message(),
        [
            "  config/sub is a folder without files, which git itself never commits. Remove it, or commit a file in it"
        ]
    );
}

#[test]
fn what_begins_with_a_dot_at_the_top_is_neither_published_nor_judged() {
    let judged = judged();
    judged.origin.write_file("config/a.toml", "");
    judged.origin.write_file("config/sub/.kept", "");
    judged.origin.write_file("config/.hidden/Current", "");
    judged.origin.write_file("config/.hidden/current", "");
    judged.origin.symlink("config/.link", "/etc");
    let head = judged.origin.publish("Dots");
    judged.mirror.fetch().unwrap();
    let tree = judged.mirror.tree(&head, None).unwrap();
    assert_eq!(
        tree.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["a.toml", "sub/.kept"]
    );
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
