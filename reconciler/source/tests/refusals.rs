//! What a revision may not hold: each refusal with its whole message, and all of them at once.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

mod judging;

use judging::judged;
use lockstep_source::testing::Entry;
use lockstep_source::{Next, Reason, SourceError};

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
fn a_top_that_git_cannot_parse_is_refused_and_no_damage() {
    let judged = judged();
    let blob = judged.origin.blob(b"x");
    let broken = judged.origin.raw_tree(&[Entry {
        mode: "100644",
        name: b"",
        id: &blob,
    }]);
    let head = judged.origin.publish_tree(&broken, "Broken");
    assert_eq!(
        judged.message(),
        ["  the repository is a folder that git cannot parse. Remove it and commit it again with git itself"]
    );
    assert_eq!(
        judged.mirror.fetch().unwrap(),
        head,
        "it is fetched like any other"
    );
    assert_eq!(judged.mirror.file(&head, "a").unwrap_err().next(), Next::Reject);
}
