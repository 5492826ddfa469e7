//! Servers that accept and then say nothing, or too much.

#![allow(clippy::unwrap_used, reason = "a test has no use for a failure")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lockstep_source::testing::{GitDaemon, Origin};
use lockstep_source::{Bounds, Mirror, Next, SourceError, SourceSpec};
use tempfile::TempDir;

const SHORT: Duration = Duration::from_secs(3);

fn bounds() -> Bounds {
    Bounds {
        connect: SHORT,
        silence: SHORT,
        ..Bounds::default()
    }
}

fn mirror(url: String, bounds: Bounds) -> (Mirror, TempDir) {
    let state = TempDir::new().unwrap();
    let spec = SourceSpec {
        bounds,
        ..SourceSpec::new(url, "main")
    };
    (
        Mirror::open(state.path().join("mirror.git"), spec).unwrap(),
        state,
    )
}

/// Accepts one connection and does something with it.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("git://{}/config.git", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || serve(listener.accept().unwrap().0));
    (url, thread)
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (url, thread) = server(|mut client| {
        // Until the client gives up and closes.
        let _ = client.read_to_end(&mut Vec::new());
    });
    let (mirror, _state) = mirror(url.clone(), bounds());
    let started = Instant::now();
    let error = mirror.list_head().unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(matches!(error, SourceError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.next(), Next::Retry);
    assert!(
        error.to_string().starts_with(&format!(
            "{url} did not answer in time while listing its branches"
        )),
        "{error}"
    );
    thread.join().unwrap();
}

#[test]
fn a_server_that_answers_nonsense_is_unreachable_and_tried_again() {
    let (url, thread) = server(|mut client| {
        let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut Vec::new());
    });
    let (mirror, _state) = mirror(url, bounds());
    let error = mirror.list_head().unwrap_err();
    assert_eq!(error.next(), Next::Retry, "{error}");
    thread.join().unwrap();
}

#[test]
fn a_fetch_beyond_its_time_or_size_is_given_up_and_leaves_the_mirror_as_it_was() {
    let origin = Origin::new();
    let small = origin.publish_file("small", "1");
    let daemon = GitDaemon::serve(origin.bare().parent().unwrap());
    for url in [origin.url(), daemon.url("origin.git")] {
        origin.reset_to(&small);
        origin.force_push();
        let limited = Bounds {
            fetch_bytes: 10_000,
            ..bounds()
        };
        let (mirror, state) = mirror(url.clone(), limited);
        assert_eq!(mirror.fetch().unwrap(), small);
        let noise: Vec<u8> = (0..100_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect();
        let large = origin.publish_file("large", noise);
        let error = mirror.fetch().unwrap_err();
        assert_eq!(error.next(), Next::Reject);
        assert_eq!(
            error.to_string(),
            format!(
                "fetching {} from {url} needs more than 10000 bytes and was given up. Take large files out of the \
                 repository's history, or raise the fetch limit",
                large.short()
            )
        );
        assert_eq!(mirror.fetched().unwrap(), Some(small.clone()));
        assert!(mirror.tree(&small, None).is_ok());
        assert!(!mirror.has(&large));

        drop(mirror);
        let hurried = Bounds {
            fetch: Duration::ZERO,
            ..bounds()
        };
        let spec = SourceSpec {
            bounds: hurried,
            ..SourceSpec::new(&url, "main")
        };
        let mirror = Mirror::open(state.path().join("mirror.git"), spec).unwrap();
        let error = mirror.fetch().unwrap_err();
        assert!(matches!(error, SourceError::TimedOut { .. }), "{error:?}");
        assert_eq!(mirror.fetched().unwrap(), Some(small.clone()));
    }
}
