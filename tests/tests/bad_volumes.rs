//! Volumes that cannot be written, or are somebody else's.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use lockstep_tests::{Lab, Service};

fn lab() -> lockstep_tests::Builder {
    Lab::builder().service(Service::acknowledged("a"))
}

/// What the reconciler says when it refuses to start.
fn refusal(lab: &Lab) -> String {
    let said = lab.run_to_end(&[]).failed(1);
    assert!(lab.services().is_empty(), "nobody was started");
    said
}

#[test]
fn files_of_somebody_else_are_listed_and_left_alone() {
    let lab = lab().unstarted().start();
    fs::create_dir(lab.volume()).expect("the lab is ours");
    fs::write(lab.volume().join("config.toml"), "mine = true\n").expect("the lab is ours");
    let said = refusal(&lab);
    assert!(
        said.contains("holds files that are not Lockstep's: config.toml"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(lab.volume().join("config.toml")).expect("it is there"),
        "mine = true\n"
    );
    assert_eq!(
        fs::read_dir(lab.volume()).expect("it is there").count(),
        1,
        "nothing was added"
    );
}

#[test]
fn a_file_in_the_volumes_place_is_named() {
    let lab = lab().unstarted().start();
    fs::write(lab.volume(), "").expect("the lab is ours");
    let said = refusal(&lab);
    assert!(
        said.contains("is not a folder") && said.contains("[volume] path"),
        "{said}"
    );
}

#[test]
fn a_volume_of_another_owner_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can give a folder away");
        return;
    }
    let lab = lab().unstarted().start();
    fs::create_dir_all(lab.volume().join(".lockstep")).expect("the lab is ours");
    for path in [lab.volume(), lab.volume().join(".lockstep")] {
        chown(path, Some(65534), Some(65534)).expect("root may");
    }
    let said = refusal(&lab);
    assert!(
        said.contains("belongs to the user 65534") && said.contains("chown"),
        "{said}"
    );
}

#[test]
fn a_second_reconciler_on_one_volume_is_refused_and_the_first_goes_on() {
    let lab = lab().start();
    let before = lab.services();
    let said = lab.run_to_end(&[]).failed(1);
    assert!(
        said.contains("another reconciler uses the state folder"),
        "{said}"
    );
    let settings = fs::read_to_string(lab.settings()).expect("they are there");
    let other = lab.root().join("other.toml");
    fs::write(
        &other,
        settings.replace("path = \"state\"", "path = \"other-state\""),
    )
    .expect("the lab is ours");
    let said = lab.run_to_end_with(&other).failed(1);
    assert!(
        said.contains("in use by") && said.contains("--take-over"),
        "{said}"
    );
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.assert_same_processes(&before);
}

#[test]
fn a_read_only_volume_is_named() {
    let lab = lab().unstarted().start();
    fs::create_dir(lab.volume()).expect("the lab is ours");
    let Some(ran) = lab.run_mounted("ro,size=1m") else {
        return;
    };
    let said = ran.failed(1);
    assert!(
        said.contains("the volume is read-only") && said.contains("read-write"),
        "{said}"
    );
}

#[test]
fn a_full_volume_aborts_changes_nothing_and_is_tried_again() {
    let lab = lab().unstarted().start();
    fs::create_dir(lab.volume()).expect("the lab is ours");
    if !lab.start_reconciler_mounted("size=512k") {
        return;
    }
    let first = lab.origin().revision("HEAD");
    lab.wait_settled(&first);
    let before = lab.services();
    let big = lab.publish(&[("config/big.txt", &"x".repeat(600_000))]);
    let aborted = lab.wait_kind("Aborted", &big);
    assert!(
        aborted.message.contains("the volume is full") && aborted.message.contains("Free space"),
        "{aborted:?}"
    );
    assert_eq!(lab.status().live.map(|live| live.revision), Some(first));
    assert_eq!(lab.value("a"), 1);
    lab.assert_same_processes(&before);
    lab.origin().remove("config/big.txt");
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
    lab.assert_same_processes(&before);
}

#[test]
fn what_somebody_changes_on_the_volume_is_noticed_and_healed() {
    let lab = lab().start();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    let before = lab.services();
    let current = lab.volume().join("current");
    let right = fs::read_link(&current).expect("it is a link");
    let old = lab.volume().join("aside");
    symlink(".lockstep/switches/1", &old).expect("the lab is ours");
    let changed = lab.now();
    fs::rename(&old, &current).expect("the lab is ours");
    lab.wait_event_after(changed, "it is noticed", |event| event.kind == "Drift");
    lab.wait_event_after(changed, "it is healed", |event| event.kind == "Settled");
    let now = fs::read_link(&current).expect("it is a link");
    assert!(
        now != right && now.parent() == right.parent(),
        "{} after {}",
        now.display(),
        right.display()
    );
    assert_eq!(lab.value("a"), 2);
    lab.assert_volume_whole();
    lab.assert_same_processes(&before);
}

#[test]
fn a_tampered_file_is_found_at_the_start_and_everybody_who_reads_it_is_told() {
    let lab = lab()
        .service(Service::acknowledged("b").reads(&["other.toml"]))
        .file("config/other.toml", "")
        .start();
    let before = lab.services();
    lab.kill_reconciler();
    let file = lab.volume().join("current/config.toml");
    let right = fs::read_to_string(&file).expect("it is there");
    let open = |mode| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode));
    open(0o644).expect("the lab is ours");
    fs::write(&file, right.replace("value = 1", "value = 666")).expect("the lab is ours");
    open(0o444).expect("the lab is ours");
    let changed = lab.now();
    lab.start_reconciler();
    let drift = lab.wait_event_after(changed, "it is noticed", |event| event.kind == "Drift");
    assert!(drift.message.contains("config.toml is modified"), "{drift:?}");
    lab.wait_event_after(changed, "it is healed", |event| event.kind == "Settled");
    assert_eq!(fs::read_to_string(&file).expect("it is there"), right);
    assert_eq!(
        (lab.value("a"), lab.ask("a").rings, lab.ask("b").rings),
        (1, 1, 0)
    );
    lab.assert_volume_whole();
    lab.assert_same_processes(&before);
}

#[test]
fn a_removed_link_is_put_back_also_while_reconciling_is_suspended() {
    let lab = lab().start();
    // A suspension holds candidates back, never a healing.
    lab.lockstep(&["suspend", "--reason", "the exchange is open"])
        .done();
    let link = lab.volume().join("config.toml");
    let changed = lab.now();
    fs::remove_file(&link).expect("the lab is ours");
    lab.wait_event_after(changed, "it is noticed", |event| event.kind == "Drift");
    lab.wait_event_after(changed, "it is healed", |event| event.kind == "Settled");
    assert!(link.is_file());
    lab.assert_volume_whole();
}

#[test]
fn a_healing_and_a_candidate_that_both_cannot_be_made_wait_longer_with_each_try() {
    let lab = lab().start();
    let live = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&live);
    let before = lab.services();
    lab.stop_reconciler();
    // What is live has to be put back, and something of somebody else stands in the way, of every release.
    fs::remove_file(lab.volume().join("current")).expect("the lab is ours");
    let link = lab.volume().join("config.toml");
    fs::remove_file(&link).expect("the lab is ours");
    fs::write(&link, "mine").expect("the lab is ours");
    let candidate = lab.set(&[("a", "value = 3")]);
    let start = lab.now();
    lab.start_reconciler();
    for revision in [&live, &candidate] {
        let given_up =
            |seq| lab.wait_event_after(seq, "it is given up", |event| event.is("Aborted", revision));
        let first = given_up(start);
        let second = given_up(first.seq);
        let waited = second.at.duration_since(first.at);
        assert!(
            waited.as_millis() > 900,
            "{waited:?} between {first:?} and {second:?}"
        );
    }
    fs::remove_file(&link).expect("the lab is ours");
    lab.wait_settled(&candidate);
    assert_eq!(lab.value("a"), 3);
    lab.assert_volume_whole();
    lab.assert_same_processes(&before);
}
