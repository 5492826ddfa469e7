//! Following a branch: what a look sees, what a fetch brings, whatever happens to the repository.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use lockstep_core::tree::TreePath;
use lockstep_protocol::FileMode;
use lockstep_source::testing::{GitDaemon, Origin, Relay};
use lockstep_source::{Head, Mirror, Next, SourceError, SourceSpec};
use tempfile::TempDir;

/// A mirror in a state folder of its own.
struct Followed {
    mirror: Mirror,
    state: TempDir,
}

fn follow(spec: SourceSpec) -> Followed {
    let state = TempDir::new().unwrap();
    let mirror = Mirror::open(state.path().join("mirror.git"), spec).unwrap();
    Followed { mirror, state }
}

fn followed(origin: &Origin) -> Followed {
    follow(SourceSpec::new(origin.url(), "main").publishing("config"))
}

#[test]
fn a_commit_is_listed_fetched_and_read() {
    let origin = Origin::new();
    origin.write_file("config/config.toml", "a = 1\n");
    origin.write_file("config/run.sh", "#!/bin/sh\n");
    origin.set_executable("config/run.sh", true);
    origin.write_file("config/.hidden/x", "not published");
    origin.write_file(".lockstep/policy.toml", "version = 1\n");
    let first = origin.publish("Begin");
    let Followed {
        mirror,
        state: _state,
    } = followed(&origin);

    assert_eq!(mirror.list_head().unwrap(), Head::Revision(first.clone()));
    assert_eq!(mirror.fetched().unwrap(), None);
    assert_eq!(mirror.fetch().unwrap(), first);
    assert_eq!(mirror.fetched().unwrap(), Some(first.clone()));

    let tree = mirror.tree(&first, None).unwrap();
    let files: Vec<_> = tree
        .iter()
        .map(|(path, file)| (path.as_str(), file.mode, file.size))
        .collect();
    assert_eq!(
        files,
        [
            ("config.toml", FileMode::Regular, 6),
            ("run.sh", FileMode::Executable, 10)
        ]
    );
    let blob = tree.get(&TreePath::new("config.toml").unwrap()).unwrap().blob;
    assert_eq!(mirror.blobs().unwrap().read(blob).unwrap(), b"a = 1\n");
    assert_eq!(
        mirror.file(&first, ".lockstep/policy.toml").unwrap().unwrap(),
        b"version = 1\n"
    );
    assert_eq!(mirror.file(&first, ".lockstep/none.toml").unwrap(), None);

    let facts = mirror.commit(&first).unwrap();
    assert_eq!(facts.revision, first);
    assert_eq!(facts.parents, []);
    assert_eq!(facts.author, "Ada Byron <ada@example.org>");
    assert_eq!(facts.committed.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(facts.subject, "Begin");
}

#[test]
fn an_unchanged_remote_costs_one_listing_and_no_fetch() {
    let origin = Origin::new();
    let first = origin.publish_file("config/config.toml", "a = 1\n");
    let daemon = GitDaemon::serve(origin.bare().parent().unwrap());
    let relay = Relay::to(daemon.address());
    let Followed {
        mirror,
        state: _state,
    } = follow(SourceSpec::new(format!("git://{}/origin.git", relay.address()), "main").publishing("config"));

    assert_eq!(mirror.fetch().unwrap(), first);
    assert_eq!(
        relay.connections(),
        1,
        "a first fetch lists and transfers over one connection"
    );
    assert_eq!(relay.sent_by_clients().matches("want ").count(), 1);

    assert_eq!(mirror.list_head().unwrap(), Head::Revision(first.clone()));
    assert_eq!(relay.connections(), 2);
    assert_eq!(mirror.fetch().unwrap(), first);
    assert_eq!(relay.connections(), 3);
    assert_eq!(
        relay.sent_by_clients().matches("want ").count(),
        1,
        "nothing was asked for again"
    );

    let second = origin.publish_file("config/config.toml", "a = 2\n");
    assert_eq!(mirror.fetch().unwrap(), second);
    assert_eq!(relay.connections(), 4);
    assert_eq!(relay.sent_by_clients().matches("want ").count(), 2);
    assert_eq!(
        relay.sent_by_clients().matches("have ").count(),
        1,
        "only the difference was asked for"
    );
}

#[test]
fn a_head_that_was_rewound_is_taken_and_what_it_left_stays_readable() {
    let origin = Origin::new();
    let first = origin.publish_file("config/config.toml", "a = 1\n");
    let second = origin.publish_file("config/config.toml", "a = 2\n");
    let Followed {
        mirror,
        state: _state,
    } = followed(&origin);
    assert_eq!(mirror.fetch().unwrap(), second);
    mirror.pin(&second).unwrap();

    origin.reset_to(&first);
    origin.force_push();
    assert_eq!(mirror.fetch().unwrap(), first);
    assert!(!mirror.is_ancestor(&second, &first).unwrap());
    assert!(mirror.is_ancestor(&first, &second).unwrap());
    assert!(mirror.tree(&second, None).is_ok());
    assert_eq!(mirror.pinned().unwrap(), std::slice::from_ref(&second));
    mirror.unpin(&second).unwrap();
    mirror.unpin(&second).unwrap();
    assert_eq!(mirror.pinned().unwrap(), []);
}

#[test]
fn a_repository_that_was_deleted_and_remade_is_followed_again() {
    let origin = Origin::new();
    let first = origin.publish_file("config/config.toml", "a = 1\n");
    let Followed {
        mirror,
        state: _state,
    } = followed(&origin);
    assert_eq!(mirror.fetch().unwrap(), first);

    origin.delete_bare();
    let gone = mirror.list_head().unwrap_err();
    assert_eq!(gone.next(), Next::Retry);
    assert_eq!(
        gone.to_string(),
        format!(
            "there is no git repository at {}: nothing is there. It is tried again; create it there, or correct source.url",
            origin.url()
        )
    );
    origin.make_bare();
    assert_eq!(mirror.list_head().unwrap(), Head::Empty);
    origin.git(&["checkout", "-q", "--orphan", "anew"]);
    let anew = origin.publish_file("config/config.toml", "a = 9\n");
    assert_eq!(mirror.fetch().unwrap(), anew);
    assert!(!mirror.is_ancestor(&first, &anew).unwrap());
}

#[test]
fn an_empty_repository_and_a_missing_branch_are_named() {
    let origin = Origin::new();
    let daemon = GitDaemon::serve(origin.bare().parent().unwrap());
    for url in [
        origin.url(),
        format!("file://{}", origin.url()),
        daemon.url("origin.git"),
    ] {
        let Followed {
            mirror,
            state: _state,
        } = follow(SourceSpec::new(&url, "main"));
        assert_eq!(mirror.list_head().unwrap(), Head::Empty);
        let empty = mirror.fetch().unwrap_err();
        assert!(matches!(empty, SourceError::EmptyRepository { .. }) && empty.next() == Next::Retry);
        assert_eq!(
            empty.to_string(),
            format!("the git repository at {url} is empty. Push a first commit to its branch \"main\"")
        );
    }
    origin.publish_file("a", "1");
    origin.push_to("release/1");
    for url in [origin.url(), daemon.url("origin.git")] {
        let Followed {
            mirror,
            state: _state,
        } = follow(SourceSpec::new(&url, "prod"));
        let branches = vec!["main".to_owned(), "release/1".to_owned()];
        assert_eq!(mirror.list_head().unwrap(), Head::BranchMissing { branches });
        let missing = mirror.fetch().unwrap_err();
        assert_eq!(missing.next(), Next::Retry);
        assert_eq!(
            missing.to_string(),
            format!(
                "the git repository at {url} has no branch \"prod\"; it has \"main\", \"release/1\". Push that \
                 branch, or correct source.branch"
            )
        );
    }
}

#[test]
fn what_is_no_repository_says_what_is_there_instead() {
    let state = TempDir::new().unwrap();
    let file = state.path().join("file");
    std::fs::write(&file, "").unwrap();
    let daemon = GitDaemon::serve(state.path());
    let cases = [
        (
            state.path().join("nowhere").display().to_string(),
            "nothing is there",
        ),
        (file.display().to_string(), "it is a file"),
        (
            state.path().display().to_string(),
            "it is a folder, but not that of a repository",
        ),
        (daemon.url("nowhere.git"), "no such repository"),
    ];
    for (url, why) in cases {
        let Followed {
            mirror,
            state: _state,
        } = follow(SourceSpec::new(&url, "main"));
        let error = mirror.list_head().unwrap_err();
        assert!(matches!(error, SourceError::NotARepository { .. }), "{error:?}");
        assert_eq!(error.next(), Next::Retry);
        assert!(
            error
                .to_string()
                .contains(&format!("there is no git repository at {url}: ")),
            "{error}"
        );
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_server_that_is_away_is_unreachable_and_tried_again() {
    let origin = Origin::new();
    let first = origin.publish_file("config/config.toml", "a = 1\n");
    let daemon = GitDaemon::serve(origin.bare().parent().unwrap());
    let relay = Relay::to(daemon.address());
    let url = format!("git://{}/origin.git", relay.address());
    let Followed {
        mirror,
        state: _state,
    } = follow(SourceSpec::new(&url, "main"));
    relay.break_networking();
    for error in [
        mirror.list_head().map(|_| ()).unwrap_err(),
        mirror.fetch().map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(error, SourceError::Unreachable { .. }), "{error:?}");
        assert_eq!(error.next(), Next::Retry);
        assert!(
            error
                .to_string()
                .starts_with(&format!("{url} cannot be reached: ")),
            "{error}"
        );
    }
    relay.restore_networking();
    assert_eq!(mirror.fetch().unwrap(), first);
}

#[test]
fn other_branches_are_neither_fetched_nor_needed() {
    let origin = Origin::new();
    let first = origin.publish_file("config/config.toml", "a = 1\n");
    origin.git(&["checkout", "-q", "-b", "other"]);
    let other = origin.publish_file_to("other", "config/config.toml", "a = 3\n");
    let Followed {
        mirror,
        state: _state,
    } = followed(&origin);
    assert_eq!(mirror.fetch().unwrap(), first);
    assert!(mirror.has(&first));
    assert!(!mirror.has(&other));
}

#[test]
fn a_work_tree_can_be_followed_as_well_as_a_bare_repository() {
    let origin = Origin::new();
    origin.write_file("config/config.toml", "a = 1\n");
    let local = origin.commit("Only committed");
    let Followed {
        mirror,
        state: _state,
    } = follow(SourceSpec::new(origin.work().display().to_string(), "main"));
    assert_eq!(mirror.fetch().unwrap(), local);
    assert!(mirror.tree(&local, None).is_ok());
}

#[test]
fn a_repository_that_borrows_its_objects_is_followed() {
    let origin = Origin::new();
    origin.publish_file("config/config.toml", "a = 1\n");
    let root = origin.bare().parent().unwrap().to_owned();
    origin.run(
        &root,
        &["clone", "-q", "--bare", "--shared", "origin.git", "borrower.git"],
    );
    let head = origin.revision("HEAD");
    let url = root.join("borrower.git").display().to_string();
    let Followed {
        mirror,
        state: _state,
    } = follow(SourceSpec::new(url, "main").publishing("config"));
    assert_eq!(mirror.fetch().unwrap(), head);
    origin.delete_bare();
    assert_eq!(
        mirror.tree(&head, None).unwrap().len(),
        1,
        "the mirror borrows nothing"
    );
}

#[test]
fn a_shallow_clone_is_refused_with_the_way_out() {
    let origin = Origin::new();
    origin.publish_file("a", "1");
    origin.publish_file("a", "2");
    let root = origin.bare().parent().unwrap().to_owned();
    let url = format!("file://{}", origin.url());
    origin.run(
        &root,
        &["clone", "-q", "--bare", "--depth=1", &url, "shallow.git"],
    );
    let url = root.join("shallow.git").display().to_string();
    let Followed {
        mirror,
        state: _state,
    } = follow(SourceSpec::new(&url, "main"));
    let error = mirror.fetch().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the git repository at {url} cannot be read: it is a shallow clone, which lacks history. Run `git \
             fetch --unshallow` there"
        )
    );
}

#[test]
fn another_url_is_fetched_anew_and_kept_revisions_stay() {
    let (one, two) = (Origin::new(), Origin::new());
    let first = one.publish_file("config/config.toml", "a = 1\n");
    let other = two.publish_file("config/config.toml", "b = 2\n");
    let Followed { mirror, state } = followed(&one);
    mirror.fetch().unwrap();
    mirror.pin(&first).unwrap();
    drop(mirror);

    let open = |origin: &Origin| {
        Mirror::open(
            state.path().join("mirror.git"),
            SourceSpec::new(origin.url(), "main"),
        )
    };
    let mirror = open(&one).unwrap();
    assert_eq!(
        mirror.fetched().unwrap(),
        Some(first.clone()),
        "the same URL keeps what was fetched"
    );
    drop(mirror);
    let mirror = open(&two).unwrap();
    assert_eq!(mirror.fetched().unwrap(), None);
    assert_eq!(mirror.fetch().unwrap(), other);
    assert_eq!(mirror.pinned().unwrap(), [first]);
}
