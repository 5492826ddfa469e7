//! Servers that take a connection and then say nothing, at each step; one that takes none; and one that is not there.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lockstep_source::testing::{Relay, Sshd, ssh_key};
use lockstep_source::{Access, Bounds, Mirror, SourceError, SourceSpec};
use tempfile::TempDir;

/// Each step may take as long.
const STEP: Duration = Duration::from_secs(1);

fn look(folder: &Path, url: &str, access: Access) -> SourceError {
    let spec = SourceSpec {
        access,
        bounds: Bounds::with_steps_of(STEP),
        ..SourceSpec::new(url, "main")
    };
    let mirror = Mirror::open(folder.join("mirror.git"), spec).unwrap();
    let began = Instant::now();
    let error = mirror.list_head().unwrap_err();
    // All steps together, and some for a busy machine.
    assert!(began.elapsed() < 8 * STEP, "{:?} for {error}", began.elapsed());
    error
}

fn ssh_access(folder: &Path, known: &str) -> Access {
    let key = folder.join("key");
    if !key.exists() {
        ssh_key(&key, "ed25519", "");
    }
    let known_hosts = folder.join("known_hosts");
    std::fs::write(&known_hosts, known).unwrap();
    Access {
        ssh_key: Some(key),
        known_hosts: Some(known_hosts),
        ..Access::default()
    }
}

#[track_caller]
fn assert_timed_out(error: &SourceError, doing: &str) {
    assert!(
        matches!(error, SourceError::TimedOut { doing: at, .. } if *at == doing),
        "{error:?}"
    );
}

/// Says something to the first who comes, and then nothing more until they go.
fn silent(first: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        client.write_all(first).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
    });
    (address, thread)
}

#[test]
fn a_port_that_takes_no_connection_is_given_up() {
    // A queue of no length that is full: the kernel lets further ones wait.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut full = Vec::new();
    while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        full.push(one);
        assert!(full.len() < 100, "the queue has no end");
    }
    let folder = TempDir::new().unwrap();
    for url in [
        format!("https://{address}/c.git"),
        format!("git://{address}/c.git"),
    ] {
        assert_timed_out(&look(folder.path(), &url, Access::default()), "connecting");
    }
    let access = ssh_access(folder.path(), "");
    assert_timed_out(
        &look(folder.path(), &format!("ssh://git@{address}/c.git"), access),
        "connecting",
    );
}

#[test]
fn an_ssh_server_that_hangs_is_given_up_at_each_step() {
    let folder = TempDir::new().unwrap();
    for first in [&b""[..], b"SSH-2.0-Silent_1.0\r\n"] {
        let (address, thread) = silent(first);
        let error = look(
            folder.path(),
            &format!("ssh://git@{address}/c.git"),
            ssh_access(folder.path(), ""),
        );
        assert_timed_out(&error, "agreeing on encryption");
        thread.join().unwrap();
    }
    let (address, thread) = silent(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = look(
        folder.path(),
        &format!("ssh://git@{address}/c.git"),
        ssh_access(folder.path(), ""),
    );
    assert!(
        matches!(error.code(), "HandshakeFailed" | "TimedOut" | "Unreachable"),
        "{error:?}"
    );
    thread.join().unwrap();
}

#[test]
fn git_programs_that_hang_at_the_other_end_of_ssh_are_given_up() {
    let folder = TempDir::new().unwrap();
    let sshd = Sshd::start(&folder.path().join("sshd"));
    let access = ssh_access(folder.path(), &sshd.known("ed25519"));
    let key = access.ssh_key.clone().unwrap();
    // Whatever is asked for, the holder of this key gets something that says nothing.
    sshd.authorize_with("command=\"cat > /dev/null\" ", &key);
    let error = look(folder.path(), &sshd.url("/c.git"), access.clone());
    assert_timed_out(&error, "listing its branches");
    sshd.authorize_with("command=\"echo no git for you >&2; exit 3\" ", &key);
    let error = look(folder.path(), &sshd.url("/c.git"), access);
    assert_eq!(error.code(), "ServerFailed", "{error:?}");
    assert!(error.to_string().contains("no git for you"), "{error}");
}

#[test]
fn whoever_is_not_there_is_unreachable_and_speaks_no_tls_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [
        format!("https://{nobody}/c.git"),
        "https://nowhere.invalid/c.git".to_owned(),
    ] {
        let error = look(folder.path(), &url, Access::default());
        assert!(matches!(error.code(), "Unreachable" | "TimedOut"), "{error:?}");
    }
    let (address, thread) = silent(b"SSH-2.0-OpenSSH_9.2\r\n");
    let error = look(
        folder.path(),
        &format!("https://{address}/c.git"),
        Access::default(),
    );
    assert_eq!(error.code(), "HandshakeFailed", "{error:?}");
    thread.join().unwrap();
}

#[test]
fn a_network_that_is_cut_is_unreachable_and_no_more_when_it_is_whole() {
    let folder = TempDir::new().unwrap();
    let origin = lockstep_source::testing::Origin::new();
    let first = origin.publish_file("config.toml", "a = 1\n");
    let sshd = Sshd::start(&folder.path().join("sshd"));
    let relay = Relay::to(sshd.address());
    let known = sshd.known("ed25519");
    let (_, bare) = known.split_once(' ').unwrap();
    let access = ssh_access(
        folder.path(),
        &format!("[localhost]:{} {bare}", relay.address().port()),
    );
    sshd.authorize(&[access.ssh_key.as_deref().unwrap()]);
    let url = sshd.url(origin.bare().to_str().unwrap());
    let through = url.replace(
        &sshd.address().port().to_string(),
        &relay.address().port().to_string(),
    );
    relay.break_networking();
    assert_eq!(
        look(folder.path(), &through, access.clone()).code(),
        "Unreachable"
    );
    relay.restore_networking();
    let spec = SourceSpec {
        access,
        ..SourceSpec::new(through, "main")
    };
    let mirror = Mirror::open(folder.path().join("mirror.git"), spec).unwrap();
    assert_eq!(mirror.fetch().unwrap(), first);
}
