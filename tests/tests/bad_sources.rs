//! Repositories that cannot be followed, or were changed under the reconciler's feet.

use lockstep_tests::{Lab, Remote, Service};

fn lab() -> Lab {
    Lab::builder().service(Service::acknowledged("a")).start()
}

/// Waits until the status says why the source is no good.
#[track_caller]
fn says(lab: &Lab, words: &[&str]) {
    let status = lab.wait_status("the source's error", |status| status.source.error.is_some());
    let error = status.source.error.expect("it was waited for");
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
    let said = lab.lockstep(&["sync"]).failed(1);
    assert!(said.contains(words[0]), "{said}");
}

#[test]
fn an_empty_repository_is_waited_for() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unpublished()
        .start();
    lab.start_reconciler();
    says(&lab, &["is empty", "Push a first commit", "main"]);
    assert!(!lab.volume().join("current").exists());
    assert!(
        lab.services().is_empty(),
        "nobody is started before there is a release"
    );
    lab.wait_settled(&lab.set(&[("a", "value = 4")]));
    assert_eq!(lab.value("a"), 4);
}

#[test]
fn a_missing_branch_is_named_with_those_that_exist() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .source("branch = \"release\"")
        .unstarted()
        .start();
    lab.start_reconciler();
    says(&lab, &["release", "main"]);
    lab.origin().push_to("release");
    lab.wait_settled(&lab.origin().revision("HEAD"));
}

#[test]
fn a_missing_path_is_named() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unpublished()
        .start();
    let first = lab.publish(&[("elsewhere/config.toml", "[a]\nvalue = 1\n")]);
    lab.start_reconciler();
    let rejected = lab.wait_kind("Rejected", &first);
    assert!(
        rejected.message.contains("config") && rejected.message.contains("path"),
        "{rejected:?}"
    );
    lab.wait_settled(&lab.set(&[("a", "value = 4")]));
}

#[test]
fn a_repository_that_is_not_there_is_named_and_taken_when_it_comes() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    let away = lab.root().join("away.git");
    std::fs::rename(lab.origin().bare(), &away).expect("the lab is ours");
    lab.start_reconciler();
    says(&lab, &["origin.git"]);
    std::fs::rename(&away, lab.origin().bare()).expect("the lab is ours");
    lab.wait_settled(&lab.origin().revision("HEAD"));
}

#[test]
fn a_rewound_branch_is_held_until_a_commit_on_top_of_what_settled() {
    let lab = lab();
    let first = lab.origin().revision("HEAD");
    let second = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&second);
    lab.origin().reset_to(&first);
    let other = lab.edit(&[("a", "value = 3")]);
    lab.force_push();
    let held = lab.wait_kind("Held", &other);
    assert!(
        held.message.contains("the branch was rewound") && held.message.contains(second.short()),
        "{held:?}"
    );
    assert_eq!(lab.value("a"), 2);

    lab.origin().reset_to(&second);
    lab.force_push();
    let third = lab.set(&[("a", "value = 4")]);
    lab.wait_settled(&third);
    assert_eq!(lab.value("a"), 4);
}

#[test]
fn a_branch_that_is_rewound_to_what_settled_before_is_held_as_well() {
    let lab = lab();
    let first = lab.origin().revision("HEAD");
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.origin().reset_to(&first);
    lab.force_push();
    let held = lab.wait_kind("Held", &first);
    assert!(held.message.contains("rewound"), "{held:?}");
    assert_eq!(lab.value("a"), 2);
    lab.lockstep(&["rollback"]).done();
    lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert_eq!(
        lab.value("a"),
        2,
        "the live tree on top of what the branch is now"
    );
}

#[test]
fn a_rewound_branch_is_followed_where_the_settings_allow_it() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .source("rewind = \"allow\"")
        .start();
    let first = lab.origin().revision("HEAD");
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.origin().reset_to(&first);
    let settled = lab.now();
    lab.force_push();
    lab.wait_event_after(settled, "the old head is live again", |event| {
        event.is("Settled", &first)
    });
    assert_eq!(lab.value("a"), 1);
}

#[test]
fn a_repository_that_was_deleted_and_made_anew_is_held() {
    for remote in [Remote::Path, Remote::Daemon] {
        let lab = Lab::builder()
            .service(Service::acknowledged("a"))
            .remote(remote)
            .source("interval = \"100ms\"")
            .start();
        let before = lab.services();
        lab.origin().delete_bare();
        lab.wait_status("the source is missed", |status| status.source.error.is_some());
        lab.origin().make_bare();
        lab.origin().git(&["checkout", "-q", "--orphan", "anew"]);
        let anew = lab.set(&[("a", "value = 9")]);
        let held = lab.wait_kind("Held", &anew);
        assert!(held.message.contains("rewound"), "{held:?}");
        assert_eq!(lab.value("a"), 1);
        lab.assert_same_processes(&before);
    }
}
