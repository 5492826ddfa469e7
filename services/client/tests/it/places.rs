//! Where the configuration is read from.

use std::fs;

use lockstep_client::{Client, Snapshot, StartError, StatusState, Trigger};

use crate::volume::{Volume, eventually};
use crate::{load, publish, supervised};

#[test]
fn what_leads_out_of_the_release_is_not_read() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    let file = volume.path().join("current/config.toml");
    let snapshot = Snapshot::of_file(&file).unwrap();
    assert_eq!(snapshot.text("config.toml").unwrap(), "limit = 5\n");
    for path in [
        "../config.toml",
        "/etc/hostname",
        "",
        "a/../../b",
        "./config.toml",
    ] {
        let refusal = snapshot.bytes(path).unwrap_err();
        assert!(
            refusal.to_string().contains("inside the release"),
            "{path:?}: {refusal}"
        );
    }
    fs::write(file, b"limit = 5 # caf\xe9\n").unwrap();
    assert_eq!(
        snapshot.text("config.toml").unwrap_err().to_string(),
        "config.toml:1:16: this is no UTF-8 text"
    );
}

#[test]
fn without_lockstep_one_file_is_enough_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, "limit = 5\n").unwrap();
    let var = |name: &str| (name == "CONFIG_PATH").then(|| file.clone().into());
    let client = Client::builder(load)
        .trigger(Trigger::Watch)
        .vote(true)
        .from_vars(var)
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(client.current().limit, 5);
    let status = client.status();
    assert_eq!(
        (status.state, status.switch, status.revision),
        (StatusState::Applied, None, None)
    );

    let next = folder.path().join("next");
    fs::write(&next, "limit = 6\n").unwrap();
    fs::rename(&next, &file).unwrap();
    eventually("the new limit", || (client.current().limit == 6).then_some(()));
    fs::write(&file, "limit = 0\n").unwrap();
    eventually("the refusal", || {
        (client.status().state == StatusState::Rejected).then_some(())
    });
    assert_eq!(client.current().limit, 6);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["mine.toml"]);
}

#[test]
fn a_file_on_a_volume_is_read_through_current_even_without_supervision() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    std::os::unix::fs::symlink("current/config.toml", volume.path().join("config.toml")).unwrap();
    let client = Client::builder(load)
        .file(volume.path().join("config.toml"))
        .unwrap()
        .start()
        .unwrap();
    let second = publish(&mut volume, "6");
    client.reload().unwrap();
    assert_eq!(
        (client.current().limit, client.status().switch),
        (6, Some(second))
    );
    assert_eq!(volume.status(), None);
}

#[test]
fn the_command_line_overrides_the_environment_only_when_it_comes_later() {
    let mut volume = Volume::new();
    publish(&mut volume, "5");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, "limit = 9\n").unwrap();
    let client = supervised(&volume).file(&file).unwrap().start().unwrap();
    assert_eq!((client.current().limit, volume.status()), (9, None));
    let client = Client::builder(load)
        .file(&file)
        .unwrap()
        .from_vars(volume.var())
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(client.current().limit, 5);
    let nowhere = Client::builder(load).from_vars(|_| None).unwrap().start();
    assert!(matches!(nowhere, Err(StartError::Nowhere)));
}

#[test]
fn a_file_on_a_volume_that_is_being_taken_over_is_the_one_of_before_until_the_first_release() {
    use std::os::unix::fs::symlink;
    let mut volume = Volume::new();
    let root = volume.path();
    let kept = root.join(".lockstep/adopted-1");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("config.toml"), "limit = 9\n").unwrap();
    symlink("adopted-1", root.join(".lockstep/adopting")).unwrap();
    symlink(".lockstep/adopted-1", root.join("current")).unwrap();
    symlink("current/config.toml", root.join("config.toml")).unwrap();
    let client = Client::builder(load)
        .trigger(Trigger::Watch)
        .file(root.join("config.toml"))
        .unwrap()
        .start()
        .unwrap();
    assert_eq!((client.current().limit, client.status().switch), (9, None));
    let first = publish(&mut volume, "5");
    eventually("the first release", || {
        (client.current().limit == 5 && client.status().switch == Some(first)).then_some(())
    });
}
