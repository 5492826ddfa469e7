//! The other end of connections that must not drop: a listener in the test that answers each line, and counts.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::wait::eventually;

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    dropped: AtomicU64,
    beats: AtomicU64,
    ending: AtomicBool,
}

/// Holds the test's side of the connections until it is dropped.
#[derive(Debug)]
pub struct Sessions {
    address: SocketAddr,
    counts: Arc<Counts>,
    accepting: Option<JoinHandle<()>>,
}

impl Sessions {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let counts = Arc::new(Counts::default());
        let accepting = std::thread::spawn({
            let counts = Arc::clone(&counts);
            move || accept(&listener, &counts)
        });
        Self {
            address,
            counts,
            accepting: Some(accepting),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many beats were heard.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.counts.beats.load(Ordering::SeqCst)
    }

    /// Asserts that there was one connection, that it never dropped, and that it is alive.
    ///
    /// # Panics
    /// When one of these is not so.
    pub fn assert_one_never_dropped(&self) {
        let opened = self.counts.opened.load(Ordering::SeqCst);
        let dropped = self.counts.dropped.load(Ordering::SeqCst);
        assert_eq!((opened, dropped), (1, 0), "connections opened and dropped");
        let before = self.beats();
        eventually("the connection beats", || self.beats() > before);
        assert_eq!(
            self.counts.dropped.load(Ordering::SeqCst),
            0,
            "connections dropped"
        );
    }
}

fn accept(listener: &TcpListener, counts: &Arc<Counts>) {
    let (mut readers, mut open) = (Vec::new(), Vec::new());
    for stream in listener.incoming().map_while(Result::ok) {
        if counts.ending.load(Ordering::SeqCst) {
            break;
        }
        counts.opened.fetch_add(1, Ordering::SeqCst);
        if let Ok(kept) = stream.try_clone() {
            open.push(kept);
        }
        let counts = Arc::clone(counts);
        readers.push(std::thread::spawn(move || {
            for _ in BufReader::new(&stream).lines().map_while(Result::ok) {
                counts.beats.fetch_add(1, Ordering::SeqCst);
                if (&stream).write_all(b"ok\n").is_err() {
                    break;
                }
            }
            counts.dropped.fetch_add(1, Ordering::SeqCst);
        }));
    }
    for stream in open {
        // One that is closed already is what is wanted.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    for reader in readers {
        let _ = reader.join();
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.counts.ending.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
