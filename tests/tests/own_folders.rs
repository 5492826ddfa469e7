//! What a service does in the folder that is its own holds nobody up but itself.

use std::fs;
use std::path::Path;

use lockstep_protocol::Revision;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A voter whose check holds a rollout up for as long as `lab/go` is not there.
fn lab() -> Lab {
    let wait = "while [ ! -e {lab}/go ]; do sleep 0.05; done # {candidate}";
    let lab = Lab::builder()
        .service(Service::voting("a").check(&["/bin/sh", "-c", wait]))
        .service(Service::acknowledged("b"))
        .unstarted()
        .start();
    go(&lab);
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab
}

fn go(lab: &Lab) {
    fs::write(lab.root().join("lab/go"), "").expect("the lab is ours");
}

/// A pipe into which nobody writes: whoever opens it for reading waits for ever.
fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("the lab is ours");
}

/// Commits, and once the voter has answered its offer has something else in the offer's place.
fn replaced(lab: &Lab, what: impl FnOnce(&Path)) -> Revision {
    fs::remove_file(lab.root().join("lab/go")).expect("it is there");
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    let preparing = lab.wait_kind("Preparing", &revision);
    let rollout = preparing.rollout.expect("it names its rollout");
    let folder = lab.instance_folder("a");
    eventually("it has voted", || {
        let status = fs::read_to_string(folder.join("status.json")).expect("it keeps one");
        status.contains(&format!("\"{rollout}\""))
    });
    let beside = folder.join("beside");
    what(&beside);
    fs::rename(beside, folder.join("offer.json")).expect("the lab is ours");
    go(lab);
    revision
}

#[test]
fn whoever_puts_a_pipe_in_the_place_of_its_offer_is_not_waited_for() {
    let lab = lab();
    let before = lab.services();
    let revision = replaced(&lab, pipe);
    lab.wait_settled(&revision);
    let offer = lab.instance_folder("a").join("offer.json");
    eventually("it is taken back", || offer.symlink_metadata().is_err());
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.lockstep(&["status"]).done();
    lab.assert_same_processes(&before);
}

#[test]
fn nor_is_whoever_puts_a_link_to_one_there() {
    let lab = lab();
    let elsewhere = lab.root().join("lab/elsewhere");
    pipe(&elsewhere);
    let revision = replaced(&lab, |path| {
        std::os::unix::fs::symlink(&elsewhere, path).expect("the lab is ours");
    });
    lab.wait_settled(&revision);
    let offer = lab.instance_folder("a").join("offer.json");
    eventually("it is taken back", || offer.symlink_metadata().is_err());
    assert!(elsewhere.exists(), "what the link led to is nobody's business");
    lab.lockstep(&["status"]).done();
}

#[test]
fn a_link_in_a_folder_is_not_watched_through() {
    let lab = lab();
    lab.stop_reconciler();
    let many = lab.root().join("lab/many");
    for number in 0..200 {
        fs::create_dir_all(many.join(number.to_string())).expect("the lab is ours");
    }
    std::os::unix::fs::symlink(&many, lab.instance_folder("a").join("link")).expect("the lab is ours");
    lab.start_reconciler();
    let pid = lab.reconciler().expect("it was started").pid;
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    lab.wait_settled(&revision);
    let handles = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it lives");
    let watches: usize = handles
        .flatten()
        // One may have been closed meanwhile.
        .filter_map(|handle| fs::read_to_string(handle.path()).ok())
        .map(|facts| {
            facts
                .lines()
                .filter(|line| line.starts_with("inotify wd:"))
                .count()
        })
        .sum();
    assert!((3..200).contains(&watches), "{watches} folders are watched");
}
