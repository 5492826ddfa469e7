//! What one process, rollout or start leaves to the next: nothing counts that was said to somebody else.

use std::fs;

use lockstep_tests::{Lab, Service};

#[test]
fn current_that_somebody_removed_is_put_back_at_the_start_without_a_restart() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let (before, live) = (lab.services(), lab.status().live);
    lab.stop_reconciler();
    fs::remove_file(lab.volume().join("current")).expect("the lab is ours");
    let changed = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(changed, "it is put back", |event| event.kind == "Settled");
    lab.assert_volume_whole();
    lab.assert_same_processes(&before);
    let now = lab.status().live.map(|live| (live.revision, live.digest));
    assert_eq!(now, live.map(|live| (live.revision, live.digest)));
}

#[test]
fn a_commit_beside_the_published_files_is_what_the_branch_descends_from_after_a_restart() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let first = lab.origin().revision("HEAD");
    let beside = lab.publish(&[("README.md", "beside\n")]);
    lab.wait_settled(&beside);
    lab.stop_reconciler();
    lab.start_reconciler();
    lab.origin().reset_to(&first);
    lab.edit(&[("a", "value = 3")]);
    lab.force_push();
    let held = lab.wait_status("the rewind", |status| status.held.is_some());
    let reason = held.held.expect("it was waited for").reason;
    assert!(reason.contains("the branch was rewound"), "{reason}");
    lab.lockstep(&["rollback"]).done();
    lab.lockstep(&["wait"]).done();
    assert_eq!(lab.value("a"), 1);
}

#[test]
fn a_status_with_an_absurd_switch_uses_no_numbers_up() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let path = lab.instance_folder("a").join("status.json");
    let text = fs::read_to_string(&path).expect("it was written");
    let absurd = text.replace("\"switch\":1,", &format!("\"switch\":{},", u64::MAX));
    assert_ne!(text, absurd, "the status names its switch");
    fs::write(path.with_extension("new"), absurd).expect("the lab is ours");
    fs::rename(path.with_extension("new"), &path).expect("the lab is ours");
    lab.wait_status("it is heard", |status| {
        !status.services[0].current || status.live.is_some()
    });
    let settled = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&settled);
    let switch = lab.status().live.expect("it settled").switch;
    assert!(switch < 100, "{switch:?}");
    assert_eq!(lab.value("a"), 2);
}

#[test]
fn a_check_of_an_earlier_candidate_says_nothing_of_the_next() {
    // The check of a good candidate takes its time; it is overtaken by a bad one whose check refuses at once.
    let check = [
        "/bin/sh",
        "-c",
        "grep -q slow {candidate}/config.toml && sleep 3; ! grep -q bad {candidate}/config.toml",
    ];
    let lab = Lab::builder()
        .service(Service::acknowledged("a").check(&check))
        .service(Service::acknowledged("b"))
        .start();
    let slow = lab.set(&[("a", "value = 2 # slow")]);
    lab.wait_kind("Preparing", &slow);
    let bad = lab.edit(&[("a", "value = 3 # slow bad"), ("b", "value = 3")]);
    lab.push();
    // Its rollout is given up by the death of a participant, and the bad candidate begins.
    lab.process("a").signal(rustix::process::Signal::KILL);
    let rejected = lab.wait_kind("Rejected", &bad);
    assert!(rejected.message.contains("its check refused"), "{rejected:?}");
    assert_ne!(lab.status().live.map(|live| live.revision), Some(bad));
}
