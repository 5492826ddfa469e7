//! A start of the reconciler: what it takes up touches nobody, and one that cannot be leaves everything as it was.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

fn two() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("a").reads(&["config.toml#a"]))
        .service(Service::acknowledged("b").reads(&["config.toml#b"]))
        .start()
}

/// A port of the lab that nobody listens on.
fn free_port(lab: &Lab) -> u16 {
    let listener = TcpListener::bind((lab.address(), 0)).expect("there are ports");
    listener.local_addr().expect("it is bound").port()
}

fn append_settings(lab: &Lab, lines: &str) {
    let path = lab.settings();
    let text = fs::read_to_string(&path).expect("it was written");
    fs::write(path, format!("{text}\n{lines}\n")).expect("the lab's folder is writable");
}

fn releases(lab: &Lab) -> Vec<std::path::PathBuf> {
    let folder = lab.volume().join(".lockstep/releases");
    let entries = fs::read_dir(folder).expect("it is there");
    entries.flatten().map(|entry| entry.path()).collect()
}

#[test]
fn who_was_left_alone_by_the_last_change_still_counts_after_a_restart() {
    let lab = two();
    lab.wait_settled(&lab.set(&[("b", "value = 2")]));
    lab.stop_reconciler();
    lab.start_reconciler();
    let status = lab.wait_status("everybody was heard", |status| {
        status.services.iter().all(|service| service.current)
    });
    assert_eq!(status.alarms, Vec::<String>::new());
    assert_eq!(status.instance("a").state, "applied");
    let before = lab.services();
    let refused = lab.set(&[("a", "value = 3\nrefuse = true"), ("b", "value = 3")]);
    lab.wait_rolled_back(&refused);
    assert_eq!((lab.value("a"), lab.value("b")), (1, 2));
    lab.assert_same_processes(&before);
}

#[test]
fn a_reconciler_that_hangs_is_taken_over_although_it_holds_the_web_port() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    lab.stop_reconciler();
    let port = free_port(&lab);
    append_settings(&lab, &format!("[web]\nlisten = \"{}:{port}\"", lab.address()));
    lab.start_reconciler();
    let before = lab.services();
    let hanging = lab.reconciler().expect("it runs");
    hanging.signal(Signal::STOP);
    let mut deposed = lab.take_reconciler();
    lab.start_reconciler_with(&["--take-over"]);
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    lab.assert_same_processes(&before);

    assert_eq!(deposed.wake_to_end().code(), Some(1), "how the deposed one ended");
    eventually("the web port is the successor's", || {
        std::net::TcpStream::connect((lab.address(), port)).is_ok()
    });
}

#[test]
fn a_second_one_on_the_same_state_is_refused_and_changes_nothing() {
    let lab = two();
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    let other = lab.root().join("other.toml");
    let changed = settings.replace("path = \"volume\"", "path = \"volume2\"");
    assert_ne!(changed, settings);
    fs::write(&other, changed).expect("the lab's folder is writable");
    let before = (lab.services(), lab.now());
    let second = Command::new(lab.root().join("bin/lockstep"))
        .args(["run", "--settings"])
        .arg(&other)
        .output()
        .expect("it can be run");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains("another reconciler uses the state folder"),
        "{said}"
    );
    assert!(said.contains("--take-over"), "the next step: {said}");
    assert!(!lab.root().join("volume2").exists());
    lab.wait_settled(&lab.set(&[("a", "value = 2"), ("b", "value = 2")]));
    lab.assert_same_processes(&before.0);
}

#[test]
fn a_start_that_fails_leaves_no_guard_behind() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .unstarted()
        .start();
    let taken = TcpListener::bind((lab.address(), 0)).expect("there are ports");
    let address = taken.local_addr().expect("it is bound");
    append_settings(&lab, &format!("[web]\nlisten = \"{address}\""));
    let said = lab.run_to_end(&[]).failed(1);
    assert!(
        said.contains(&format!("the web port {address} cannot be opened")),
        "{said}"
    );
    assert_eq!(lab.processes(), Vec::new(), "before the guard is asked for");
    drop(taken);

    fs::create_dir(lab.state().join("events.jsonl")).expect("the state is the lab's");
    let said = lab.run_to_end(&[]).failed(1);
    assert!(said.contains("events.jsonl"), "{said}");
    eventually("the guard that was started for it is gone", || {
        lab.processes().is_empty()
    });
}

#[test]
fn what_settled_last_is_put_back_under_its_services_when_it_cannot_be_read_any_more() {
    let lab = two();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    lab.wait_settled(&revision);
    let before = lab.services();
    lab.stop_reconciler();
    for release in releases(&lab) {
        let document = release.join(".lockstep/release.json");
        // The folder itself is not writable for anybody but root, who runs without a capability in some places.
        fs::remove_file(document).expect("the volume is the lab's");
    }
    let restarted = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(restarted, "it is live again", |event| {
        event.is("Settled", &revision)
    });
    lab.assert_same_processes(&before);
    let status = lab.wait_status("all is well", |status| status.alarms.is_empty());
    assert_eq!(status.live.expect("it is live").revision, revision);
    assert!(status.services.iter().all(|service| service.current));
}

#[test]
fn a_volume_that_was_deleted_is_filled_again_under_its_services() {
    let lab = two();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    let settled = lab.wait_status("it settled", |status| {
        status.live.as_ref().is_some_and(|live| live.revision == revision)
    });
    let before = lab.services();
    lab.stop_reconciler();
    let nothing = Command::new("rm").arg("-rf").arg(lab.volume()).status();
    assert!(nothing.is_ok_and(|status| status.success()));
    let restarted = lab.now();
    lab.start_reconciler();
    lab.wait_event_after(restarted, "it is live again", |event| {
        event.is("Settled", &revision)
    });
    lab.assert_same_processes(&before);
    let (now, then) = (lab.status().live, settled.live);
    let (now, then) = (now.expect("it is live"), then.expect("it was live"));
    assert!(now.switch > then.switch, "no old statement looks new");
    lab.wait_settled(&lab.set(&[("a", "value = 3"), ("b", "value = 3")]));
    lab.assert_same_processes(&before);
}

#[test]
fn wait_means_what_the_repository_holds_when_it_is_asked() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .source("interval = \"1h\"")
        .start();
    // So much that looking at it takes longer than the next push.
    let names: Vec<_> = (0..4000)
        .map(|number| format!("config/many/{number}.toml"))
        .collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "number = 1\n")).collect();
    lab.publish(&many);
    let last = lab.set(&[("a", "value = 2")]);
    lab.lockstep(&["wait"]).done();
    let live = lab.status().live.expect("something is live");
    assert_eq!(live.revision, last);
}

#[test]
fn a_release_that_is_healed_keeps_the_name_of_the_commit_that_published_it() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    let published = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&published);
    let document =
        || fs::read_to_string(lab.volume().join("current/.lockstep/release.json")).unwrap_or_default();
    let facts = |text: &str| {
        let document: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        ["revision", "author", "committed", "subject"].map(|key| document[key].clone())
    };
    let before = document();
    lab.wait_settled(&lab.publish(&[("README.md", "nothing that is published\n")]));
    let healed = lab.now();
    let file = lab.volume().join("current/config.toml");
    let file = file.canonicalize().expect("it is there");
    fs::remove_file(&file).expect("the volume is the lab's");
    lab.stop_reconciler();
    lab.start_reconciler();
    lab.wait_event_after(healed, "it is healed", |event| event.kind == "Settled");
    assert_ne!(document(), before, "it was built anew");
    assert_eq!(facts(&document()), facts(&before));
}

#[test]
fn the_mirror_does_not_grow_by_a_pack_with_each_commit() {
    let lab = two();
    let packs = || {
        let folder = lab.state().join("mirror.git/objects/pack");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|kind| kind == "pack"))
            .count()
    };
    let mut most = 0;
    for number in 0..120 {
        lab.publish(&[("README.md", &format!("{number}\n"))]);
        lab.lockstep(&["sync"]).done();
        most = most.max(packs());
    }
    eventually("they are made one", || packs() < most.min(100) / 2);
    lab.wait_settled(&lab.set(&[("a", "value = 5")]));
}
