//! Over HTTPS: the first release, changes, rotations, ways back, and what is said when it fails.

use std::fs;

use lockstep_source::testing::{Authority, Certified, Fault, GitHttps};
use lockstep_tests::Lab;
use lockstep_tests::wait::eventually;

use lockstep_tests::followed::{
    assert_fails, assert_fails_when_looked, assert_mended, follow, lab, secret, served, start,
};

/// A lab that follows its repository over HTTPS as user `ada`.
struct Over {
    lab: Lab,
    server: GitHttps,
    authority: Authority,
}

fn over_https() -> Over {
    let lab = lab();
    let authority = Authority::new();
    let server = GitHttps::serve(served(&lab), &authority.certify(&["localhost"]));
    server.accept(&[("ada", "first")]);
    secret(&lab, "ca.pem", &authority.pem());
    secret(&lab, "password", "first\n");
    follow(
        &lab,
        &server.url("origin.git"),
        "username = \"ada\"\npassword_file = \"password\"\nca_file = \"ca.pem\"",
    );
    Over {
        lab,
        server,
        authority,
    }
}

#[test]
fn a_push_goes_live_over_https_and_ways_back_are_pushed() {
    let it = over_https();
    start(&it.lab);
    let before = it.lab.services();
    assert_mended(&it.lab, 2);
    assert_mended(&it.lab, 3);
    it.lab.lockstep(&["rollback", "-m", "three was too much"]).done();
    it.lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert_eq!(it.lab.value("a"), 2);
    assert_eq!(
        it.lab.origin().list_commits().len(),
        4,
        "the way back is a commit at the server"
    );
    it.lab.origin().git(&["fetch", "-q", "origin"]);
    let head = it.lab.origin().revision("origin/main");
    it.lab.lockstep(&["revert", head.as_str()]).done();
    it.lab.lockstep(&["wait", "--timeout", "20s"]).done();
    assert_eq!(it.lab.value("a"), 3);
    it.lab.assert_same_processes(&before);
}

#[test]
fn a_password_is_rotated_in_either_order_without_a_restart() {
    let it = over_https();
    start(&it.lab);
    // The file first.
    secret(&it.lab, "password", "second\n");
    assert_mended(&it.lab, 2);
    it.server.accept(&[("ada", "second")]);
    assert_mended(&it.lab, 3);
    // The server first.
    it.server.accept(&[("ada", "third")]);
    assert_fails(&it.lab, "CredentialsRefused", &["ada", "password"]);
    secret(&it.lab, "password", "third\n");
    assert_mended(&it.lab, 4);
    let text = fs::read_to_string(it.lab.root().join("run.log")).unwrap();
    assert!(text.contains("does not take the new credentials"), "{text}");
    for word in ["first", "second", "third"] {
        assert!(!text.contains(word), "the log shows a password:\n{text}");
    }
}

#[test]
fn whom_nobody_vouches_for_is_named_and_the_live_release_stays() {
    let it = over_https();
    start(&it.lab);
    let other = Authority::new();
    it.server.certify(&other.certify(&["localhost"]));
    assert_fails_when_looked(&it.lab, "CertificateUntrusted", &["localhost", "ca.pem"]);
    it.server.certify(&Certified::by_itself(&["localhost"]));
    assert_fails_when_looked(&it.lab, "CertificateSelfSigned", &["source.ca_file"]);
    it.server.certify(&it.authority.certify(&["git.example"]));
    assert_fails_when_looked(&it.lab, "CertificateOfAnotherHost", &["git.example"]);
    it.server
        .certify(&it.authority.certify_between(&["localhost"], (2001, 2002)));
    assert_fails_when_looked(&it.lab, "CertificateExpired", &["2002-01-01"]);
    // A CA that was replaced: its file is noticed at once.
    it.server.certify(&other.certify(&["localhost"]));
    secret(&it.lab, "ca.pem", &other.pem());
    assert_mended(&it.lab, 2);
}

#[test]
fn what_answers_instead_of_git_is_named_and_the_live_release_stays() {
    let it = over_https();
    start(&it.lab);
    for (fault, code, words) in [
        (Fault::Page, "NotGit", "text/html"),
        (Fault::Status(403), "Forbidden", "403"),
        (Fault::Status(404), "NotARepository", "404"),
        (Fault::Status(502), "ServerFailed", "502"),
        (
            Fault::Redirect("https://elsewhere.example/login".to_owned()),
            "Redirected",
            "https://elsewhere.example/login",
        ),
        (Fault::SilentBeforeTls, "TimedOut", "agreeing on encryption"),
        (Fault::SilentBeforeAnswer, "TimedOut", "listing its branches"),
    ] {
        it.server.fault(fault);
        assert_fails_when_looked(&it.lab, code, &[words]);
    }
    it.server.fault(Fault::None);
    it.lab.lockstep(&["sync"]).done();
    assert_mended(&it.lab, 2);
}

#[test]
fn a_server_that_hangs_keeps_nobody_from_ending() {
    let it = over_https();
    let text = fs::read_to_string(it.lab.settings()).unwrap();
    fs::write(
        it.lab.settings(),
        text.replace("timeout = \"2s\"", "timeout = \"2m\""),
    )
    .unwrap();
    start(&it.lab);
    it.server.fault(Fault::SilentBeforeAnswer);
    let before = it.server.seen().len();
    eventually("it was asked", || it.server.seen().len() > before);
    let began = std::time::Instant::now();
    it.lab.stop_reconciler();
    assert!(
        began.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_damaged_pack_is_named_and_taken_when_it_is_whole() {
    let it = over_https();
    start(&it.lab);
    it.server.fault(Fault::DamagedPack);
    it.lab.set(&[("a", "value = 2")]);
    assert_fails(&it.lab, "RemoteCorrupt", &["damaged", "git fsck"]);
    assert_eq!(it.lab.value("a"), 1);
    it.server.fault(Fault::None);
    it.lab.lockstep(&["sync"]).done();
    assert_mended(&it.lab, 3);
}

#[test]
fn a_damaged_mirror_heals_from_the_server() {
    let it = over_https();
    start(&it.lab);
    it.lab.stop_reconciler();
    let packs = it.lab.state().join("mirror.git/objects/pack");
    for pack in fs::read_dir(packs).unwrap().flatten() {
        fs::remove_file(pack.path()).unwrap();
    }
    it.lab.start_reconciler();
    assert_mended(&it.lab, 2);
}

#[test]
fn a_first_start_without_a_way_in_waits_for_it() {
    let it = over_https();
    secret(&it.lab, "password", "");
    it.lab.start_reconciler();
    assert_fails(
        &it.lab,
        "CredentialsUnreadable",
        &["source.password_file", "it is empty"],
    );
    assert!(
        it.lab.services().is_empty(),
        "nobody is started before there is a release"
    );
    secret(&it.lab, "password", "first");
    it.lab.wait_settled(&it.lab.origin().revision("HEAD"));
}
