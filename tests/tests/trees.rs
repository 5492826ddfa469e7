//! Shapes of the published tree.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lockstep_tests::{Lab, Service};

/// One service that reads everything, and one that reads its table.
fn lab() -> Lab {
    Lab::builder()
        .service(Service::acknowledged("all").reads(&["**"]))
        .service(Service::acknowledged("a"))
        .start()
}

#[test]
fn a_file_becomes_a_folder_and_a_file_again() {
    let lab = lab();
    let before = lab.services();
    let thing = lab.volume().join("thing");
    lab.wait_settled(&lab.publish(&[("config/thing", "a file\n")]));
    assert_eq!(fs::read_to_string(&thing).expect("it is published"), "a file\n");
    lab.origin().remove("config/thing");
    lab.wait_settled(&lab.publish(&[("config/thing/part", "in a folder\n")]));
    assert_eq!(
        fs::read_to_string(thing.join("part")).expect("it is published"),
        "in a folder\n"
    );
    lab.origin().remove("config/thing");
    lab.wait_settled(&lab.publish(&[("config/thing", "a file again\n")]));
    assert_eq!(
        fs::read_to_string(&thing).expect("it is published"),
        "a file again\n"
    );
    lab.origin().remove("config/thing");
    lab.wait_settled(&lab.origin().publish("Nothing"));
    assert!(thing.symlink_metadata().is_err(), "its link is gone");
    lab.assert_volume_whole();
    lab.assert_same_processes(&before);
    assert_eq!((lab.ask("all").rings, lab.ask("a").rings), (4, 0));
}

#[test]
fn the_executable_bit_alone_is_a_change() {
    let lab = lab();
    lab.wait_settled(&lab.publish(&[("config/run.sh", "#!/bin/sh\n")]));
    let mode = |lab: &Lab| {
        fs::metadata(lab.volume().join("run.sh"))
            .expect("it is published")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&lab) & 0o777, 0o444);
    let before = lab.status().live.expect("it is live").digest;
    lab.origin().set_executable("config/run.sh", true);
    lab.wait_settled(&lab.origin().publish("Executable"));
    assert_eq!(mode(&lab) & 0o777, 0o555);
    assert_ne!(lab.status().live.expect("it is live").digest, before);
}

#[test]
fn what_lies_on_the_volume_is_byte_for_byte_what_is_in_git() {
    let lab = lab();
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    lab.origin().write_file("config/data/Ünïcode name.bin", &bytes);
    lab.origin().write_file("config/data/crlf.txt", "a\r\nb\r\n");
    lab.origin().write_file("config/data/empty", "");
    lab.origin().write_file("config/.hidden", "not published\n");
    lab.wait_settled(&lab.origin().publish("Bytes"));
    let read = |name: &str| fs::read(lab.volume().join(name)).expect("it is published");
    assert_eq!(read("data/Ünïcode name.bin"), bytes);
    assert_eq!(read("data/crlf.txt"), b"a\r\nb\r\n");
    assert_eq!(read("data/empty"), b"");
    assert!(
        !lab.volume().join(".hidden").exists(),
        "names with a dot are not published"
    );
    let release =
        fs::read_to_string(lab.volume().join("current/.lockstep/release.json")).expect("it is there");
    assert!(
        release.contains(lab.origin().revision("HEAD").as_str()),
        "{release}"
    );
}

#[test]
fn a_document_that_is_deleted_is_refused_by_its_reader() {
    let lab = lab();
    lab.origin().remove("config/config.toml");
    let revision = lab.publish(&[("config/other.toml", "x = 1\n")]);
    lab.wait_rolled_back(&revision);
    assert!(lab.volume().join("config.toml").is_file());
    assert!(
        lab.volume().join("other.toml").symlink_metadata().is_err(),
        "its link went with it"
    );
    assert_eq!(lab.value("a"), 1);
    lab.assert_volume_whole();
}

#[test]
fn a_published_folder_that_is_deleted_is_rejected() {
    let lab = lab();
    lab.origin().remove("config");
    let revision = lab.publish(&[("README.md", "gone\n")]);
    let rejected = lab.wait_kind("Rejected", &revision);
    assert!(rejected.message.contains("config"), "{rejected:?}");
    assert_eq!(lab.value("a"), 1);
}

#[test]
fn the_whole_repository_can_be_published() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .path("")
        .start();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
    assert!(lab.volume().join("config.toml").is_file());
}

#[test]
fn a_burst_of_commits_ends_at_the_last() {
    let lab = lab();
    let before = lab.services();
    let mut last = lab.origin().revision("HEAD");
    for value in 2..=25 {
        last = lab.set(&[
            ("a", &format!("value = {value}")),
            ("all", &format!("value = {value}")),
        ]);
    }
    lab.wait_settled(&last);
    assert_eq!((lab.value("a"), lab.value("all")), (25, 25));
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
    let failed = lab
        .events()
        .into_iter()
        .find(|event| matches!(event.kind.as_str(), "RolledBack" | "Failed"));
    assert_eq!(failed, None);
}
