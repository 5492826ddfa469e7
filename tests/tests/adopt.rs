//! A folder that holds files of somebody else: refused with a comparison, or taken over with nothing lost.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Builder, Lab, Service};

fn lab() -> Builder {
    Lab::builder().service(Service::acknowledged("a"))
}

/// What an operator had before.
fn put_theirs(lab: &Lab) {
    for (path, contents) in [
        ("config.toml", "[a]\nvalue = 5\napi_token = \"hunter2\"\n"),
        ("data/cache", "theirs"),
        ("notes.txt", "theirs"),
    ] {
        let path = lab.volume().join(path);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the lab is ours");
        fs::write(path, contents).expect("the lab is ours");
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_kept(lab: &Lab) {
    let kept = lab.volume().join(".lockstep/adopted-1");
    assert!(text(&kept.join("config.toml")).contains("value = 5"));
    assert_eq!(text(&kept.join("data/cache")), "theirs");
    assert_eq!(text(&kept.join("notes.txt")), "theirs");
}

#[test]
fn files_of_before_are_refused_with_a_comparison_and_then_taken_over() {
    let lab = lab().file("config/other.toml", "").unstarted().start();
    put_theirs(&lab);
    let said = lab.run_to_end(&[]).failed(1);
    for part in [
        "holds files that are not Lockstep's: config.toml, data, notes.txt",
        "--adopt",
        "only on the volume, kept aside by --adopt: data/cache, notes.txt",
        "only in git: other.toml",
        "-value = 5",
        "+value = 1",
        "-api_token = (not shown)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    let names = fs::read_dir(lab.volume()).expect("it is there").count();
    assert_eq!(names, 3, "nothing was made");

    lab.start_reconciler_with(&["--adopt"]);
    let told = lab.wait_event("it is told", |event| event.kind == "Adopted");
    assert!(
        told.message.contains("config.toml, data, notes.txt"),
        "{}",
        told.message
    );
    assert!(told.message.contains(".lockstep/adopted-1"), "{}", told.message);
    lab.wait_settled(&lab.origin().revision("HEAD"));
    assert_eq!(lab.value("a"), 1);
    assert_kept(&lab);
    assert!(!lab.volume().join("notes.txt").exists());
    assert!(
        text(&lab.root().join("run.log")).contains("Adopted: "),
        "the log says so"
    );
    let mark = lab.volume().join(".lockstep/adopting");
    eventually("the take-over is over", || !mark.is_symlink());

    // It is a volume now, and to ask again changes nothing.
    lab.stop_reconciler();
    let before = lab.services();
    lab.start_reconciler_with(&["--adopt"]);
    let next = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&next);
    lab.assert_same_processes(&before);
    assert_kept(&lab);
    assert!(text(&lab.root().join("run.log")).contains("nothing is taken over"));
    assert_eq!(
        lab.events()
            .iter()
            .filter(|event| event.kind == "Adopted")
            .count(),
        1
    );
    lab.assert_volume_whole();
}

#[test]
fn a_first_release_that_fails_leads_readers_back_to_the_files_of_before() {
    let lab = lab().unpublished().start();
    put_theirs(&lab);
    let bad = lab.set(&[("a", "value = 1\nrefuse = true")]);
    lab.start_reconciler_with(&["--adopt"]);
    lab.wait_rolled_back(&bad);
    let config = lab.volume().join("config.toml");
    assert!(text(&config).contains("value = 5"));
    assert_eq!(text(&lab.volume().join("notes.txt")), "theirs");

    // Killed in this state, it goes on without being asked.
    lab.kill_reconciler();
    lab.start_reconciler();
    assert!(text(&config).contains("value = 5"));
    let good = lab.set(&[("a", "value = 3")]);
    lab.wait_settled(&good);
    assert_eq!(lab.value("a"), 3);
    assert!(text(&config).contains("value = 3"));
    assert_kept(&lab);
}

#[test]
fn what_cannot_be_kept_aside_is_refused_by_name() {
    let lab = lab().unstarted().start();
    put_theirs(&lab);
    let _waiting = UnixListener::bind(lab.volume().join("data/socket")).expect("the lab is ours");
    let said = lab.run_to_end(&["--adopt"]).failed(1);
    assert!(said.contains("data/socket is a socket"), "{said}");
    assert!(!lab.volume().join(".lockstep").exists(), "nothing was made");
}

#[test]
fn without_a_repository_the_refusal_says_that_nothing_can_be_compared() {
    let lab = lab().unpublished().start();
    put_theirs(&lab);
    let said = lab.run_to_end(&[]).failed(1);
    assert!(said.contains("config.toml, data, notes.txt"), "{said}");
    assert!(said.contains("cannot be compared"), "{said}");
}
