use std::fs::File;

use super::*;

fn lab() -> (tempfile::TempDir, Folders, ServiceName) {
    let dir = tempfile::tempdir().unwrap();
    let folders = Folders {
        base: dir.path().to_owned(),
        foreign: BTreeMap::new(),
    };
    let service = ServiceName::new("bot");
    std::fs::create_dir(folders.of(&service)).unwrap();
    (dir, folders, service)
}

const WHOLE: &str = r#"{"protocol":1,"instance":"t","switch":null,"revision":null,"digest":null,"state":"rejected",
    "attempted":{"switch":null,"revision":null},"error":null,"at":"2026-11-24T07:00:00Z"}"#;

#[test]
fn a_whole_document_is_read_and_none_is_none() {
    let (_dir, folders, service) = lab();
    assert_eq!(folders.status(&service).unwrap(), None);
    assert_eq!(folders.status(&ServiceName::new("nobody")).unwrap(), None);
    std::fs::write(folders.of(&service).join(STATUS), WHOLE).unwrap();
    assert_eq!(folders.status(&service).unwrap().unwrap().instance.0, "t");
}

#[test]
fn half_a_document_is_refused_in_words() {
    let (_dir, folders, service) = lab();
    std::fs::write(folders.of(&service).join(STATUS), &WHOLE[..40]).unwrap();
    let error = folders.status(&service).unwrap_err().to_string();
    assert!(error.contains("is not a status document"), "{error}");
}

#[test]
fn a_link_a_pipe_and_a_folder_are_not_followed_and_do_not_block() {
    let (dir, folders, service) = lab();
    let path = folders.of(&service).join(STATUS);
    std::fs::write(dir.path().join("elsewhere"), WHOLE).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
    assert!(
        folders
            .status(&service)
            .unwrap_err()
            .to_string()
            .contains("a symbolic link")
    );
    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(
        folders
            .status(&service)
            .unwrap_err()
            .to_string()
            .contains("a named pipe")
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(
        folders
            .status(&service)
            .unwrap_err()
            .to_string()
            .contains("a folder")
    );
}

#[test]
fn a_folder_that_is_a_link_is_not_entered() {
    let (dir, folders, service) = lab();
    std::fs::remove_dir(folders.of(&service)).unwrap();
    std::fs::create_dir(dir.path().join("other")).unwrap();
    std::fs::write(dir.path().join("other").join(STATUS), WHOLE).unwrap();
    std::os::unix::fs::symlink(dir.path().join("other"), folders.of(&service)).unwrap();
    assert!(folders.status(&service).is_err());
}

#[test]
fn a_huge_file_is_not_read() {
    let (_dir, folders, service) = lab();
    let file = File::create(folders.of(&service).join(STATUS)).unwrap();
    file.set_len(1 << 30).unwrap();
    assert!(
        folders
            .status(&service)
            .unwrap_err()
            .to_string()
            .contains("are not read")
    );
}

fn offer() -> Offer {
    Offer {
        protocol: 1,
        rollout: lockstep_protocol::RolloutId("1-2".to_owned()),
        revision: lockstep_protocol::Revision::new(&"a".repeat(40)).unwrap(),
        digest: lockstep_protocol::Digest::of_bytes(b""),
        directory: ".lockstep/releases/x".to_owned(),
    }
}

fn pipe(path: &Path) {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn what_a_service_put_in_the_place_of_its_offer_is_neither_followed_nor_waited_for() {
    let (dir, folders, service) = lab();
    let (offer, place) = (offer(), folders.of(&service).join(OFFER));
    // Nobody writes into it: whoever opens it for reading waits for ever.
    let elsewhere = dir.path().join("elsewhere");
    pipe(&elsewhere);

    pipe(&place);
    folders.withdraw_offer(&service, &offer.rollout);
    assert!(!place.exists());

    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    folders.withdraw_offer(&service, &offer.rollout);
    assert!(place.symlink_metadata().is_err(), "the link is taken away");
    assert!(elsewhere.exists(), "and what it leads to stays");

    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    folders.offer(&service, &offer).unwrap();
    assert!(
        place.symlink_metadata().unwrap().is_file(),
        "the link is replaced"
    );

    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    folders.withdraw_offer(&service, &offer.rollout);
    assert!(folders.offer(&service, &offer).is_err());
}

#[test]
fn an_offer_is_not_written_through_what_a_service_put_in_its_way() {
    let (dir, folders, service) = lab();
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "of somebody else").unwrap();
    let temporary = folders
        .of(&service)
        .join(format!(".offer-{}.tmp", std::process::id()));
    std::os::unix::fs::symlink(&precious, &temporary).unwrap();
    folders.offer(&service, &offer()).unwrap();
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "of somebody else");

    // The folder itself leads elsewhere.
    let other = dir.path().join("other");
    std::fs::rename(folders.of(&service), &other).unwrap();
    std::fs::remove_file(other.join(OFFER)).unwrap();
    std::os::unix::fs::symlink(&other, folders.of(&service)).unwrap();
    assert!(folders.offer(&service, &offer()).is_err());
    std::fs::write(other.join(OFFER), "of somebody else").unwrap();
    folders.withdraw_offer(&service, &offer().rollout);
    assert!(other.join(OFFER).exists());
}

#[test]
fn folders_are_removed_and_what_links_in_them_lead_to_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let kept = dir.path().join("kept");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("file"), "").unwrap();
    let folders = Folders::open(&state).unwrap();
    let of = folders.of(&ServiceName::new("bot"));

    std::fs::create_dir(&of).unwrap();
    Folders::remove_unused(&state);
    assert!(of.exists(), "somebody may live in it");

    std::os::unix::fs::symlink(&kept, of.join("link")).unwrap();
    Folders::remove(&state).unwrap();
    assert!(!folders.base().exists());
    assert!(kept.join("file").exists());
    Folders::remove(&state).unwrap();

    let folders = Folders::open(&state).unwrap();
    Folders::remove_unused(&state);
    assert!(!folders.base().exists());
}

#[test]
fn an_offer_is_put_there_whole_and_taken_back() {
    let (_dir, folders, service) = lab();
    let offer = offer();
    folders.offer(&service, &offer).unwrap();
    let read: Offer =
        serde_json::from_slice(&std::fs::read(folders.of(&service).join(OFFER)).unwrap()).unwrap();
    assert_eq!(read, offer);
    assert_eq!(
        std::fs::read_dir(folders.of(&service)).unwrap().count(),
        1,
        "no temporary is left"
    );
    folders.withdraw_offer(&service, &lockstep_protocol::RolloutId("2-3".to_owned()));
    assert!(
        folders.of(&service).join(OFFER).exists(),
        "another rollout's offer stays"
    );
    folders.withdraw_offer(&service, &offer.rollout);
    folders.withdraw_offer(&service, &offer.rollout);
    assert_eq!(std::fs::read_dir(folders.of(&service)).unwrap().count(), 0);
}
