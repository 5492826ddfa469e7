//! Committing a way back: what is pushed, what is refused, and that nothing is ever forced.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use lockstep_source::testing::{GitDaemon, Origin};
use lockstep_source::{CommitError, Mirror, SourceSpec};
use tempfile::TempDir;

fn followed(url: String) -> (Mirror, TempDir) {
    let state = TempDir::new().unwrap();
    let spec = SourceSpec::new(url, "main").publishing("config");
    (
        Mirror::open(state.path().join("mirror.git"), spec).unwrap(),
        state,
    )
}

/// What the bare repository's branch holds of a file.
fn held(origin: &Origin, path: &str) -> String {
    origin.run(&origin.bare(), &["show", &format!("main:{path}")])
}

#[test]
fn a_rollback_puts_the_whole_earlier_tree_on_top_of_the_branch() {
    let origin = Origin::new();
    let first = origin.publish_file("config/a.toml", "a = 1\n");
    origin.write_file("config/b.toml", "b = 1\n");
    let second = origin.publish_file("config/a.toml", "a = 2\n");
    let (mirror, _state) = followed(origin.url());
    let made = mirror
        .commit_rollback(&first, Some(&second), Some("prices looked wrong"))
        .unwrap();
    assert_eq!(made.parents, [second]);
    assert_eq!(made.subject, format!("Roll back to {}", first.short()));
    let tree = |revision: &str| origin.run(&origin.bare(), &["rev-parse", &format!("{revision}^{{tree}}")]);
    assert_eq!(tree("main"), tree(first.as_str()));
    assert_eq!(mirror.fetched().unwrap(), Some(made.revision.clone()));
    let message = origin.run(&origin.bare(), &["log", "-1", "--format=%B", "main"]);
    assert!(message.contains("prices looked wrong"), "{message}");
}

#[test]
fn a_rollback_to_what_the_head_holds_makes_no_commit() {
    let origin = Origin::new();
    let only = origin.publish_file("config/a.toml", "a = 1\n");
    let (mirror, _state) = followed(origin.url());
    let error = mirror.commit_rollback(&only, Some(&only), None).unwrap_err();
    assert!(matches!(error, CommitError::NothingToDo { .. }), "{error}");
    assert_eq!(origin.revision("main"), only);
}

#[test]
fn after_a_rewind_the_rollback_descends_from_what_settled_too() {
    let origin = Origin::new();
    let first = origin.publish_file("config/a.toml", "a = 1\n");
    let settled = origin.publish_file("config/a.toml", "a = 2\n");
    let (mirror, _state) = followed(origin.url());
    mirror.fetch().unwrap();
    origin.reset_to(&first);
    origin.write_file("config/a.toml", "a = 3\n");
    let rewound = origin.commit("Rewritten");
    origin.force_push();
    let made = mirror.commit_rollback(&settled, Some(&settled), None).unwrap();
    assert_eq!(made.parents, [rewound, settled.clone()]);
    assert!(mirror.is_ancestor(&settled, &made.revision).unwrap());
    assert_eq!(held(&origin, "config/a.toml"), "a = 2");
}

#[test]
fn a_revert_undoes_one_commit_and_leaves_the_later_ones() {
    let origin = Origin::new();
    origin.publish_file("config/a.toml", "a = 1\n");
    let bad = origin.publish_file("config/a.toml", "a = 2\n");
    origin.publish_file("config/b.toml", "b = 1\n");
    let (mirror, _state) = followed(origin.url());
    mirror.fetch().unwrap();
    let made = mirror.commit_revert(&bad, None).unwrap();
    assert_eq!(held(&origin, "config/a.toml"), "a = 1");
    assert_eq!(held(&origin, "config/b.toml"), "b = 1");
    assert!(made.subject.starts_with("Revert \""), "{}", made.subject);
    let again = mirror.commit_revert(&bad, None).unwrap_err().to_string();
    assert!(
        again.contains("there is nothing to commit") || again.contains("touched the same lines"),
        "{again}"
    );
}

#[test]
fn a_revert_that_later_commits_overtook_names_the_files_and_the_other_way() {
    let origin = Origin::new();
    let first = origin.publish_file("config/a.toml", "a = 1\n");
    let bad = origin.publish_file("config/a.toml", "a = 2\n");
    let head = origin.publish_file("config/a.toml", "a = 3\n");
    let (mirror, _state) = followed(origin.url());
    mirror.fetch().unwrap();
    let error = mirror.commit_revert(&bad, None).unwrap_err().to_string();
    assert!(error.contains("config/a.toml"), "{error}");
    assert!(
        error.contains(&format!("lockstep rollback --to {}", first.short())),
        "{error}"
    );
    assert_eq!(origin.revision("main"), head, "nothing was pushed");
    let error = mirror.commit_revert(&first, None).unwrap_err();
    assert!(matches!(error, CommitError::First(_)), "{error}");
}

#[test]
fn a_server_that_takes_no_pushes_is_named_and_nothing_changes() {
    let origin = Origin::new();
    let first = origin.publish_file("config/a.toml", "a = 1\n");
    let second = origin.publish_file("config/a.toml", "a = 2\n");
    let daemon = GitDaemon::serve(origin.bare().parent().unwrap());
    let name = origin.bare().file_name().unwrap().to_string_lossy().into_owned();
    let (mirror, _state) = followed(daemon.url(&name));
    let error = mirror.commit_rollback(&first, None, None).unwrap_err();
    assert!(matches!(error, CommitError::NotPushed { .. }), "{error}");
    assert!(
        error.to_string().contains("make the commit in a clone"),
        "{error}"
    );
    assert_eq!(origin.revision("main"), second);
}
