//! Over SSH: the first release, keys and host keys that are replaced, ways back, and what is said when it fails.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use lockstep_source::testing::{Sshd, ssh_key};
use lockstep_tests::Lab;

use lockstep_tests::followed::{assert_fails, assert_mended, follow, lab, secret, start};

/// A lab that follows its repository over SSH, with the server's Ed25519 key known.
struct Over {
    lab: Lab,
    sshd: Sshd,
}

impl Over {
    fn key(&self) -> PathBuf {
        self.lab.root().join("key")
    }

    /// Puts another key into the place of the settings' one.
    fn replace_key(&self, from: &str) {
        let text = fs::read_to_string(self.lab.root().join(from)).unwrap();
        secret(&self.lab, "key", &text);
    }

    fn know(&self, text: &str) {
        secret(&self.lab, "known_hosts", text);
    }
}

fn over_ssh() -> Over {
    let lab = lab();
    let sshd = Sshd::start(&lab.root().join("sshd"));
    let key = lab.root().join("key");
    ssh_key(&key, "ed25519", "");
    sshd.authorize(&[&key]);
    secret(&lab, "known_hosts", &sshd.known("ed25519"));
    let url = sshd.url(lab.origin().bare().to_str().unwrap());
    follow(&lab, &url, "ssh_key = \"key\"\nknown_hosts = \"known_hosts\"");
    Over { lab, sshd }
}

#[test]
fn a_push_goes_live_over_ssh_and_ways_back_are_pushed() {
    let it = over_ssh();
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
    it.lab.assert_same_processes(&before);
}

#[test]
fn an_unknown_host_is_refused_with_the_line_that_makes_it_known() {
    let it = over_ssh();
    it.know("");
    it.lab.start_reconciler();
    let line = it.sshd.known("ed25519");
    assert_fails(
        &it.lab,
        "HostKeyUnknown",
        &[
            "[localhost]:",
            "SHA256:",
            "ssh-keygen -lf",
            "known_hosts",
            line.trim_end(),
        ],
    );
    assert!(
        it.lab.services().is_empty(),
        "nobody is started before there is a release"
    );
    // What the message says is done, to the letter.
    let error = it.lab.status().source.error.unwrap();
    it.know(error.lines().last().unwrap());
    it.lab.wait_settled(&it.lab.origin().revision("HEAD"));
}

#[test]
fn a_server_that_shows_another_key_is_refused_until_a_person_says_so() {
    let it = over_ssh();
    start(&it.lab);
    let it = Over {
        sshd: it.sshd.with_other_host_keys(),
        lab: it.lab,
    };
    it.sshd.authorize(&[&it.key()]);
    assert_fails(
        &it.lab,
        "HostKeyChanged",
        &[
            "in line 1",
            "somebody sits in between",
            it.sshd.known("ed25519").trim_end(),
        ],
    );
    it.know(&format!(
        "@revoked * {}",
        it.sshd.known("ed25519").split_once(' ').unwrap().1
    ));
    assert_fails(&it.lab, "HostKeyRevoked", &["line 1"]);
    it.know(&it.sshd.known("ed25519"));
    assert_mended(&it.lab, 2);
}

#[test]
fn the_kind_of_host_key_that_is_known_is_the_one_that_is_asked_for() {
    let it = over_ssh();
    it.know(&it.sshd.known("ecdsa"));
    start(&it.lab);
}

#[test]
fn a_key_is_rotated_in_either_order_without_a_restart() {
    let it = over_ssh();
    start(&it.lab);
    let [first, second, third] = ["first", "second", "third"].map(|name| it.lab.root().join(name));
    fs::copy(it.key(), &first).unwrap();
    fs::copy(it.key().with_extension("pub"), first.with_extension("pub")).unwrap();
    ssh_key(&second, "ecdsa", "");
    ssh_key(&third, "ed25519", "");
    // The file first.
    it.replace_key("second");
    assert_mended(&it.lab, 2);
    it.sshd.authorize(&[&second]);
    assert_mended(&it.lab, 3);
    // The server first.
    it.sshd.authorize(&[&third]);
    assert_fails(&it.lab, "CredentialsRefused", &["with the key", "key"]);
    it.replace_key("third");
    assert_mended(&it.lab, 4);
}

#[test]
fn a_key_that_cannot_be_used_is_named_each_with_its_own_reason() {
    let it = over_ssh();
    let good = fs::read_to_string(it.key()).unwrap();
    secret(&it.lab, "key", "");
    it.lab.start_reconciler();
    assert_fails(&it.lab, "KeyNotUnderstood", &["it is empty"]);
    it.replace_key("key.pub");
    assert_fails(&it.lab, "KeyNotUnderstood", &["it is a public key"]);
    secret(
        &it.lab,
        "key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n",
    );
    assert_fails(&it.lab, "KeyNotUnderstood", &["ssh-keygen -t ed25519"]);
    for (name, kind, passphrase) in [("rsa", "rsa", ""), ("encrypted", "ed25519", "words")] {
        ssh_key(&it.lab.root().join(name), kind, passphrase);
    }
    it.replace_key("rsa");
    assert_fails(
        &it.lab,
        "KeyNotUnderstood",
        &["not taken", "ssh-keygen -t ed25519"],
    );
    it.replace_key("encrypted");
    assert_fails(&it.lab, "KeyEncrypted", &["passphrase"]);
    secret(&it.lab, "key", &good);
    fs::set_permissions(it.key(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_fails(&it.lab, "CredentialsTooOpen", &["0644", "chmod 600"]);
    fs::remove_file(it.key()).unwrap();
    assert_fails(&it.lab, "CredentialsUnreadable", &["source.ssh_key"]);
    secret(&it.lab, "key", &good);
    it.lab.wait_settled(&it.lab.origin().revision("HEAD"));
}

#[test]
fn a_bad_key_is_tried_once_a_look() {
    let it = over_ssh();
    it.sshd.authorize(&[]);
    it.lab.start_reconciler();
    assert_fails(&it.lab, "CredentialsRefused", &[]);
    it.lab.stop_reconciler();
    let log = it.sshd.log();
    let count = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    let (connections, attempts) = (count("Connection from"), count("Failed publickey"));
    assert!(attempts > 0, "the server saw no key:\n{log:#?}");
    assert!(
        attempts <= connections,
        "{attempts} attempts on {connections} connections:\n{log:#?}"
    );
}

#[test]
fn a_repository_that_is_not_there_is_named_by_what_the_server_said() {
    let it = over_ssh();
    let away = it.lab.root().join("away.git");
    fs::rename(it.lab.origin().bare(), &away).unwrap();
    it.lab.start_reconciler();
    assert_fails(
        &it.lab,
        "NotARepository",
        &["does not appear to be a git repository"],
    );
    fs::rename(&away, it.lab.origin().bare()).unwrap();
    it.lab.lockstep(&["sync"]).done();
    it.lab.wait_settled(&it.lab.origin().revision("HEAD"));
}
