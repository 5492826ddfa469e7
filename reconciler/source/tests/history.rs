//! Commits: their facts, what leads from one to another, what a text names.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use lockstep_protocol::Revision;
use lockstep_source::testing::Origin;
use lockstep_source::{Mirror, Next, SourceSpec};
use tempfile::TempDir;

fn fetched(origin: &Origin) -> (Mirror, TempDir) {
    let state = TempDir::new().unwrap();
    let mirror = Mirror::open(
        state.path().join("mirror.git"),
        SourceSpec::new(origin.url(), "main"),
    )
    .unwrap();
    mirror.fetch().unwrap();
    (mirror, state)
}

/// A merge: `base` - `one` - `merge` - `last` along first parents, `side` coming in as second parent.
struct Merged {
    origin: Origin,
    base: Revision,
    one: Revision,
    side: Revision,
    merge: Revision,
    last: Revision,
}

fn merged() -> Merged {
    let origin = Origin::new();
    let base = origin.publish_file("a", "1");
    origin.git(&["checkout", "-q", "-b", "side"]);
    origin.write_file("b", "1");
    let side = origin.commit("Side");
    origin.git(&["checkout", "-q", "main"]);
    origin.write_file("a", "2");
    let one = origin.commit("One");
    origin.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    let merge = origin.commit("Merge");
    let last = origin.publish_file("a", "3");
    Merged {
        origin,
        base,
        one,
        side,
        merge,
        last,
    }
}

#[test]
fn the_first_parents_since_a_revision_are_those_of_git() {
    let Merged {
        origin,
        base,
        one,
        side,
        merge,
        last,
    } = merged();
    let (mirror, _state) = fetched(&origin);
    let all = [&base, &one, &side, &merge, &last];
    for head in all {
        for since in all {
            let ours = mirror.first_parents_since(head, since, 100).unwrap();
            let theirs = origin.git(&[
                "rev-list",
                "--first-parent",
                "--reverse",
                &format!("{since}..{head}"),
            ]);
            assert_eq!(
                ours.iter().map(Revision::as_str).collect::<Vec<_>>(),
                theirs.lines().collect::<Vec<_>>()
            );
            let is_ancestor = origin.git(&["merge-base", since.as_str(), head.as_str()]) == since.as_str();
            assert_eq!(mirror.is_ancestor(since, head).unwrap(), is_ancestor);
        }
    }
    assert_eq!(
        mirror.first_parents_since(&last, &base, 100).unwrap(),
        [one, merge.clone(), last.clone()]
    );
    assert_eq!(
        mirror.first_parents_since(&last, &side, 100).unwrap().last(),
        Some(&last)
    );
    assert_eq!(mirror.commit(&merge).unwrap().parents.len(), 2);
}

#[test]
fn beyond_the_limit_the_oldest_and_the_head_remain() {
    let origin = Origin::new();
    let all: Vec<_> = (0..6).map(|n| origin.publish_file("a", n.to_string())).collect();
    let (mirror, _state) = fetched(&origin);
    let since = |limit| mirror.first_parents_since(&all[5], &all[0], limit).unwrap();
    assert_eq!(since(5), all[1..]);
    assert_eq!(since(3), [all[1].clone(), all[2].clone(), all[5].clone()]);
    assert_eq!(since(1), [all[5].clone()]);
}

#[test]
fn labels_are_one_line_without_what_steers_a_terminal() {
    let origin = Origin::new();
    origin.git(&[
        "-c",
        "i18n.commitEncoding=latin1",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "\u{1b}[31mRed\u{7}\r\nand a body",
    ]);
    origin.push();
    let (mirror, _state) = fetched(&origin);
    let facts = mirror.commit(&origin.revision("HEAD")).unwrap();
    assert_eq!(facts.subject, "[31mRed");
    origin.git(&["commit", "-q", "--allow-empty", "--allow-empty-message", "-m", ""]);
    origin.push();
    mirror.fetch().unwrap();
    let facts = mirror.commit(&origin.revision("HEAD")).unwrap();
    assert_eq!(facts.subject, "");
    assert_eq!(facts.parents, [origin.revision("HEAD~1")]);
}

#[test]
fn a_text_names_a_revision_by_id_abbreviation_branch_or_expression() {
    let origin = Origin::new();
    let first = origin.publish_file("a", "1");
    let second = origin.publish_file("a", "2");
    let (mirror, _state) = fetched(&origin);
    for text in [
        second.as_str(),
        second.short(),
        &second.as_str()[..7],
        "main",
        "refs/heads/main",
        "HEAD",
    ] {
        assert_eq!(mirror.resolve(text).unwrap(), second, "{text}");
    }
    assert_eq!(mirror.resolve("main~1").unwrap(), first);
    let error = mirror.resolve("prod").unwrap_err();
    assert_eq!(error.next(), Next::Reject);
    assert_eq!(
        error.to_string(),
        format!(
            "\"prod\" names no revision in the mirror of {}: only the branch \"main\" and kept revisions are fetched. \
             Push it to that branch, or give a full commit id",
            origin.url()
        )
    );
    let tree = origin.git(&["rev-parse", "HEAD^{tree}"]);
    assert!(
        mirror
            .resolve(&tree)
            .unwrap_err()
            .to_string()
            .contains("it names an object that is no commit")
    );
    for text in ["", "\0", "..", "main..main", "@{", ":/", "main^{blob}"] {
        assert!(mirror.resolve(text).is_err(), "{text:?}");
    }
    assert!(mirror.resolve(&"ab".repeat(20)).is_err());
}

#[test]
fn settings_that_name_no_branch_or_folder_stop() {
    let state = TempDir::new().unwrap();
    let open = |branch: &str, path: &str| {
        let spec = SourceSpec::new("/srv/config.git", branch).publishing(path);
        Mirror::open(state.path().join("mirror.git"), spec)
            .map(|_| ())
            .unwrap_err()
    };
    let branch = open("a..b", "");
    assert_eq!(branch.next(), Next::Stop);
    assert_eq!(
        branch.to_string(),
        "source.branch \"a..b\" is not a name that git allows. Write it without refs/heads/, such as \"main\""
    );
    let path = open("main", "../config");
    assert_eq!(path.next(), Next::Stop);
    assert_eq!(
        path.to_string(),
        "source.path \"../config\" cannot be used: it leaves the repository (`..`). Write a folder of the \
         repository such as \"config\""
    );
}

#[test]
fn a_value_was_set_by_the_commit_that_changed_it_and_came_by_the_merge() {
    let origin = Origin::new();
    let base = origin.publish_file("a", "x = 1\n");
    origin.git(&["checkout", "-q", "-b", "side"]);
    origin.write_file("a", "x = 2\n");
    let set = origin.commit("Set it\n\nReviewed-by: Bob <bob@example.com>\nFixes: #3");
    origin.write_file("a", "x = 2\n# a comment\n");
    origin.commit("Explain it");
    origin.git(&["checkout", "-q", "main"]);
    origin.write_file("b", "1");
    origin.commit("Something else");
    origin.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    let merge = origin.commit("Merge pull request #7");
    let last = origin.publish_file("b", "2");
    let (mirror, _state) = fetched(&origin);
    let says = |number: &'static str| {
        move |contents: Option<&[u8]>| {
            contents.is_some_and(|text| String::from_utf8_lossy(text).contains(number))
        }
    };
    let found = mirror.set_by(&last, "a", says("x = 2")).unwrap();
    assert_eq!(found.commit.revision, set);
    assert_eq!(found.merged.map(|merged| merged.revision), Some(merge));
    assert_eq!(found.reviews, ["Reviewed-by: Bob <bob@example.com>"]);
    let found = mirror.set_by(&base, "a", says("x = 1")).unwrap();
    assert_eq!((found.commit.revision, found.merged), (base, None));
    assert_eq!(mirror.said(&last, "nothing/here").unwrap(), None);
}
