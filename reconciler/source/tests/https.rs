//! Following a branch over HTTPS: git's own backend behind real TLS, and everything that can be wrong with it.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use lockstep_source::testing::{Authority, Certified, Fault, GitHttps, eventually};
use lockstep_source::{Access, Bounds, CommitError, Head, Mirror, Next, SourceError, SourceSpec};

use served::{secret, served, served_with};

mod served;

#[test]
fn a_commit_is_listed_fetched_and_read_over_https() {
    let it = served();
    it.assert_mended();
    assert_eq!(it.mirror.fetch().unwrap(), it.first);
    let tree = it.mirror.tree(&it.first, None).unwrap();
    assert_eq!(tree.iter().count(), 1);
    // A second one comes as a difference: the questions have a have.
    let second = it.origin.publish_file("config/config.toml", "a = 2\n");
    assert_eq!(it.mirror.fetch().unwrap(), second);
    assert_eq!(it.mirror.fetched().unwrap(), Some(second));
}

#[test]
fn an_unchanged_branch_costs_one_question() {
    let it = served();
    it.mirror.fetch().unwrap();
    let before = it.server.seen().len();
    it.mirror.list_head().unwrap();
    it.mirror.fetch().unwrap();
    let lines: Vec<_> = it
        .server
        .seen()
        .split_off(before)
        .into_iter()
        .map(|seen| seen.line)
        .collect();
    let listing = "GET /origin.git/info/refs?service=git-upload-pack";
    assert_eq!(lines, [listing, listing]);
}

#[test]
fn a_long_history_is_negotiated_and_many_files_come() {
    let it = served();
    it.mirror.fetch().unwrap();
    for round in 0..60 {
        it.origin
            .write_file("config/config.toml", format!("a = {round}\n"));
        it.origin.commit("Another");
    }
    let noise: Vec<u8> = (0..500_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    let last = it.origin.publish_file("config/large", noise);
    assert_eq!(it.mirror.fetch().unwrap(), last);
    assert_eq!(it.mirror.tree(&last, None).unwrap().iter().count(), 2);
}

#[test]
fn a_way_back_is_pushed_and_a_server_that_takes_no_pushes_says_so() {
    let it = served();
    it.origin.publish_file("config/config.toml", "a = 2\n");
    it.mirror.fetch().unwrap();
    let facts = it
        .mirror
        .commit_rollback(&it.first, None, Some("it was wrong"))
        .unwrap();
    assert_eq!(it.origin.list_commits()[0], facts.subject);
    assert_eq!(it.mirror.list_head().unwrap(), Head::Revision(facts.revision));

    it.server.refuse_pushes();
    let before = it.origin.list_commits();
    let error = it.mirror.commit_revert(&it.first, None).err();
    // The first commit has nothing before it; its successor has.
    assert!(matches!(error, Some(CommitError::First(_))), "{error:?}");
    let second = it.origin.revision("HEAD");
    let error = it.mirror.commit_rollback(&second, None, None).unwrap_err();
    assert!(
        matches!(&error, CommitError::NotPushed { why, .. } if why.contains("403")),
        "{error:?}"
    );
    assert_eq!(it.origin.list_commits(), before);
}

#[test]
fn a_push_that_breaks_off_is_not_said_to_have_failed() {
    let it = served();
    it.origin.publish_file("config/config.toml", "a = 2\n");
    it.mirror.fetch().unwrap();
    it.server.fault(Fault::SilentAfterListing);
    let error = it.mirror.commit_rollback(&it.first, None, None).unwrap_err();
    assert!(
        matches!(&error, CommitError::Unknown { why, .. } if why.contains("while pushing")),
        "{error:?}"
    );
}

#[test]
fn whom_nobody_vouches_for_is_refused_each_with_its_own_reason() {
    let it = served();
    // Of the same name: what counts is the key.
    let other = Authority::new();
    it.server.certify(&other.certify(&["localhost"]));
    it.assert_refused("CertificateUntrusted", &["localhost", "ca.pem", "source.ca_file"]);
    it.server.certify(&Certified::by_itself(&["localhost"]));
    it.assert_refused("CertificateSelfSigned", &["localhost", "source.ca_file"]);
    it.server
        .certify(&it.authority.certify(&["git.example", "other.example"]));
    it.assert_refused(
        "CertificateOfAnotherHost",
        &["localhost", "git.example, other.example"],
    );
    it.server
        .certify(&it.authority.certify_between(&["localhost"], (2001, 2002)));
    it.assert_refused("CertificateExpired", &["since 2002-01-01T00:00:00Z", "clock"]);
    it.server
        .certify(&it.authority.certify_between(&["localhost"], (2101, 2102)));
    it.assert_refused("CertificateNotYetValid", &["2101-01-01T00:00:00Z", "clocks"]);
    // The same failure reads the same: it is told once.
    assert_eq!(it.refused(), it.refused());
    assert!(
        it.server.seen().is_empty(),
        "nobody was asked anything before it was known who it is"
    );

    it.server.certify(&it.authority.certify(&["localhost"]));
    it.assert_mended();
}

#[test]
fn a_ca_file_is_read_anew_and_what_it_no_longer_holds_is_no_longer_trusted() {
    let it = served();
    it.assert_mended();
    let (ca, next) = (it.folder.path().join("ca.pem"), Authority::new());
    fs::write(&ca, next.pem()).unwrap();
    it.assert_refused("CertificateUntrusted", &[]);
    it.server.certify(&next.certify(&["localhost"]));
    it.assert_mended();
    fs::write(&ca, "").unwrap();
    it.assert_refused(
        "CredentialsUnreadable",
        &["source.ca_file", "no certificate in it"],
    );
    fs::remove_file(&ca).unwrap();
    it.assert_refused("CredentialsUnreadable", &["source.ca_file", "exists"]);
    fs::write(&ca, format!("{}{}", it.authority.pem(), next.pem())).unwrap();
    it.assert_mended();
}

#[test]
fn a_certificate_that_signs_itself_may_be_trusted_by_name() {
    let it = served();
    let own = Certified::by_itself(&["localhost"]);
    it.server.certify(&own);
    fs::write(it.folder.path().join("ca.pem"), own.pem()).unwrap();
    it.assert_mended();
}

#[test]
fn a_password_is_shown_once_and_replaced_while_it_runs() {
    let it = served_with(|folder, access| Access {
        username: Some("ada".to_owned()),
        password_file: Some(secret(folder, "password", "first\n")),
        ..access
    });
    it.server.accept(&[("ada", "first")]);
    it.assert_mended();

    // The file comes first: what worked before still opens the door.
    secret(it.folder.path(), "password", "second\n");
    it.assert_mended();
    // A file that is half written, or gone, does not lock anybody out.
    secret(it.folder.path(), "password", "");
    it.assert_mended();
    // Then the server forgets the first: nothing that we know opens it.
    it.server.accept(&[("ada", "second")]);
    let before = it.server.seen().len();
    secret(it.folder.path(), "password", "wrong");
    it.assert_refused(
        "CredentialsRefused",
        &["user \"ada\"", "password", "No restart is needed"],
    );
    assert_eq!(
        it.server.seen().len() - before,
        2,
        "the new one and the old one, once each"
    );
    let (_, message) = it.refused();
    assert!(
        !message.contains("wrong") && !message.contains("first"),
        "{message}"
    );

    secret(it.folder.path(), "password", "second");
    it.assert_mended();
    let before = it.server.seen().len();
    it.assert_mended();
    assert_eq!(it.server.seen().len() - before, 1, "the old one is forgotten");
}

#[test]
fn a_token_is_shown_as_the_server_wants_it() {
    let it = served_with(|folder, access| Access {
        token_file: Some(secret(folder, "token", "t0ken\n")),
        ..access
    });
    it.server.accept(&[("x-access-token", "t0ken")]);
    it.assert_mended();
    it.server.accept_bearer("t0ken");
    assert_eq!(it.mirror.fetch().unwrap(), it.first);
    it.server.accept_bearer("another");
    it.assert_refused("CredentialsRefused", &["the token in", "token"]);
}

#[test]
fn files_that_cannot_open_a_door_have_reasons_of_their_own() {
    let it = served_with(|folder, access| Access {
        token_file: Some(secret(folder, "token", "")),
        ..access
    });
    let file = it.folder.path().join("token");
    it.assert_refused("CredentialsUnreadable", &["source.token_file", "it is empty"]);
    secret(it.folder.path(), "token", "one\ntwo\n");
    it.assert_refused("CredentialsUnreadable", &["more than one line"]);
    fs::write(&file, [0xff, 0xfe]).unwrap();
    it.assert_refused("CredentialsUnreadable", &["it is no text"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    it.assert_refused("CredentialsUnreadable", &["no regular file"]);
    fs::remove_dir(&file).unwrap();
    secret(it.folder.path(), "token", "t0ken");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    it.assert_refused("CredentialsTooOpen", &["its mode is 0640", "chmod 600"]);
    assert!(it.server.seen().is_empty(), "nothing was asked");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    it.assert_mended();
}

#[test]
fn a_server_that_wants_to_know_who_asks_is_not_answered_with_nothing() {
    let it = served();
    it.server.accept(&[("ada", "secret")]);
    it.assert_refused("CredentialsMissing", &["source.token_file"]);
}

#[test]
fn what_is_not_git_is_named() {
    let it = served();
    for (fault, code, words) in [
        (Fault::Page, "NotGit", "a web page (text/html)"),
        (Fault::Files, "NotGit", "the dumb protocol"),
        (Fault::Status(403), "Forbidden", "403 Forbidden"),
        (Fault::Status(404), "NotARepository", "404 Not Found"),
        (Fault::Status(500), "ServerFailed", "500 Internal Server Error"),
        (Fault::Status(503), "ServerFailed", "503 Service Unavailable"),
        (Fault::Status(204), "ServerFailed", "204 No Content"),
    ] {
        it.server.fault(fault);
        it.assert_refused(code, &[words]);
    }
    it.server.fault(Fault::None);
    it.assert_mended();
}

#[test]
fn a_repository_that_is_not_there_is_named() {
    let it = served();
    it.origin.delete_bare();
    it.assert_refused("NotARepository", &["404 Not Found"]);
    it.origin.make_bare();
    assert_eq!(it.mirror.list_head().unwrap(), Head::Empty);
}

#[test]
fn a_redirection_to_another_server_is_refused_and_gets_no_credentials() {
    let it = served_with(|folder, access| Access {
        token_file: Some(secret(folder, "token", "t0ken")),
        ..access
    });
    let other = GitHttps::serve(
        it.origin.bare().parent().unwrap(),
        &it.authority.certify(&["localhost"]),
    );
    let path = "/origin.git/info/refs?service=git-upload-pack";
    let to = format!("https://u:p@localhost:{}{path}", other.address().port());
    for to in [
        to.clone(),
        to.replace("u:p@", ""),
        to.replace("https://u:p@", "http://"),
        "//elsewhere/x".to_owned(),
        "/login?next=x".to_owned(),
    ] {
        it.server.fault(Fault::Redirect(to));
        let before = it.server.seen().len();
        it.assert_refused("Redirected", &["which is not followed", "source.url"]);
        assert_eq!(
            it.server.seen().len() - before,
            1,
            "nothing more is asked, of nobody"
        );
    }
    it.server.fault(Fault::Redirect(to));
    let (_, message) = it.refused();
    assert!(
        message.contains("/origin.git/info/refs,") && !message.contains("u:p"),
        "{message}"
    );
    assert!(other.seen().is_empty());
}

#[test]
fn a_redirection_within_the_server_is_followed_but_not_for_ever() {
    let it = served();
    let path = "/origin.git/info/refs?service=git-upload-pack";
    // Onto itself: it never ends.
    it.server.fault(Fault::Redirect(path.to_owned()));
    it.assert_refused("Redirected", &["one place after another"]);
    assert_eq!(it.server.seen().len(), 4);

    it.server.fault(Fault::RedirectFrom {
        prefix: "/old".to_owned(),
        to: String::new(),
    });
    let spec = SourceSpec {
        url: it.server.url("old/origin.git"),
        ..it.mirror.spec().clone()
    };
    let moved = Mirror::open(it.folder.path().join("moved.git"), spec).unwrap();
    assert_eq!(moved.fetch().unwrap(), it.first);
}

#[test]
fn a_server_that_hangs_is_given_up_at_each_step() {
    // A step has 3 s, the listing in all has 9: what hangs at once is not to take that long.
    for (fault, doing, seconds) in [
        (Fault::SilentBeforeTls, "agreeing on encryption", 8),
        (Fault::SilentBeforeAnswer, "listing its branches", 8),
        (
            Fault::Dripping(Duration::from_millis(50)),
            "listing its branches",
            14,
        ),
        (Fault::SilentAfterListing, "fetching", 8),
    ] {
        let it = served();
        it.server.fault(fault.clone());
        let began = Instant::now();
        let error = if doing == "fetching" {
            it.mirror.fetch().map(drop).unwrap_err()
        } else {
            it.mirror.list_head().map(drop).unwrap_err()
        };
        let took = began.elapsed();
        assert!(took < Duration::from_secs(seconds), "{fault:?}: {took:?}");
        assert!(
            matches!(error, SourceError::TimedOut { doing: at, .. } if at == doing),
            "{fault:?}: {error:?}"
        );
        it.server.fault(Fault::None);
        it.assert_mended();
    }
}

#[test]
fn a_server_that_hangs_is_left_at_once_when_the_program_ends() {
    let it = served();
    it.server.fault(Fault::SilentBeforeAnswer);
    let hang_up = it.mirror.hang_up();
    let spec = SourceSpec {
        bounds: Bounds::with_steps_of(Duration::from_secs(60)),
        ..it.mirror.spec().clone()
    };
    let patient = Mirror::open(it.folder.path().join("patient.git"), spec).unwrap();
    let hung = patient.hang_up();
    let began = Instant::now();
    let thread = std::thread::spawn(move || patient.list_head().unwrap_err());
    eventually("it was asked", || !it.server.seen().is_empty());
    hung.now();
    let error = thread.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{error}");
    assert_eq!(error.code(), "Unreachable", "{error}");
    // Another mirror is not concerned, until it is told as well; then it does not even begin.
    it.server.fault(Fault::None);
    it.assert_mended();
    hang_up.now();
    it.assert_refused("Unreachable", &["the program ends"]);
}

#[test]
fn a_pack_that_is_damaged_or_cut_leaves_the_mirror_as_it_was() {
    let mut it = served();
    it.server.fault(Fault::DamagedPack);
    let error = it.mirror.fetch().unwrap_err();
    assert_eq!(error.code(), "RemoteCorrupt", "{error:?}");
    assert_eq!(it.mirror.fetched().unwrap(), None);
    it.server.fault(Fault::CutPack);
    let error = it.mirror.fetch().unwrap_err();
    assert_eq!(error.next(), Next::Retry, "{error:?}");

    it.server.fault(Fault::None);
    assert_eq!(it.mirror.fetch().unwrap(), it.first);
    // With something here, the mirror suspects itself, is remade, and then knows who it was.
    it.origin.publish_file("config/config.toml", "a = 2\n");
    it.server.fault(Fault::DamagedPack);
    assert_eq!(it.mirror.fetch().unwrap_err().next(), Next::Heal);
    assert_eq!(it.mirror.heal().unwrap_err().code(), "RemoteCorrupt");
    assert_eq!(it.mirror.fetched().unwrap(), Some(it.first.clone()));
    assert!(it.mirror.tree(&it.first, None).is_ok());
}

#[test]
fn a_damaged_mirror_heals_over_https_with_the_password_that_worked() {
    let mut it = served_with(|folder, access| Access {
        username: Some("ada".to_owned()),
        password_file: Some(secret(folder, "password", "first")),
        ..access
    });
    it.server.accept(&[("ada", "first")]);
    it.assert_mended();
    // By another handle: this one has not opened what is damaged now.
    let dir = it.folder.path().join("mirror.git");
    Mirror::open(dir, it.mirror.spec().clone())
        .unwrap()
        .fetch()
        .unwrap();
    secret(it.folder.path(), "password", "not known to the server yet");
    let packs = it.folder.path().join("mirror.git/objects/pack");
    for pack in fs::read_dir(packs).unwrap().flatten() {
        fs::remove_file(pack.path()).unwrap();
    }
    assert_eq!(it.mirror.fetch().unwrap_err().next(), Next::Heal);
    it.mirror.heal().unwrap();
    assert!(it.mirror.tree(&it.first, None).is_ok());
}
