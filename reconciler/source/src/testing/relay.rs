//! A relay in front of a server: counts connections, keeps what clients sent, and cuts the network.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Relays TCP connections to a server, until it is dropped.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    held: Arc<Held>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    connections: usize,
    sent_by_clients: Vec<u8>,
    broken: bool,
    closing: bool,
    open: Vec<TcpStream>,
    copiers: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Listens on a port of its own and relays to `server`.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let held = Arc::<Held>::default();
        let (theirs, theirs_too) = (Arc::clone(&shared), Arc::clone(&held));
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if locked(&theirs).closing {
                    return;
                }
                relay(client, server, &theirs, &theirs_too);
            }
        });
        Self {
            address,
            shared,
            held,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections clients have made.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.shared).connections
    }

    /// All that clients have sent, in the order in which it came.
    #[must_use]
    pub fn sent_by_clients(&self) -> String {
        String::from_utf8_lossy(&locked(&self.shared).sent_by_clients).into_owned()
    }

    /// Cuts all connections, and each new one at once.
    pub fn break_networking(&self) {
        let mut shared = locked(&self.shared);
        shared.broken = true;
        cut(&mut shared);
    }

    /// Lets so many bytes of what the server says through on each connection, and no more until they are let go.
    pub fn hold_after(&self, bytes: usize) {
        self.held.set(Some(bytes));
    }

    /// Lets go what is held.
    pub fn let_go(&self) {
        self.held.set(None);
    }

    /// Lets connections through again, at the same address.
    pub fn restore_networking(&self) {
        locked(&self.shared).broken = false;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        locked(&self.shared).closing = true;
        self.let_go();
        // Wakes the acceptor, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        cut(&mut locked(&self.shared));
        let copiers = std::mem::take(&mut locked(&self.shared).copiers);
        for copier in copiers {
            let _ = copier.join();
        }
    }
}

/// How much of what a server says goes through.
#[derive(Default)]
struct Held {
    after: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Held {
    fn set(&self, after: Option<usize>) {
        *self.after.lock().unwrap_or_else(PoisonError::into_inner) = after;
        self.changed.notify_all();
    }

    /// Waits until so many bytes may have gone through.
    fn wait(&self, bytes: usize) {
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |after: &mut Option<usize>| after.is_some_and(|after| bytes > after);
        drop(self.changed.wait_while(after, held));
    }
}

fn relay(client: TcpStream, server: SocketAddr, shared: &Arc<Mutex<Shared>>, held: &Arc<Held>) {
    let mut locked_shared = locked(shared);
    locked_shared.connections += 1;
    if locked_shared.broken {
        return;
    }
    // A server that is down looks to the client like a connection that ends.
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    let twice = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
    locked_shared.open.extend([twice(&client), twice(&server)]);
    let kept = Arc::clone(shared);
    let (from_client, to_server) = (twice(&client), twice(&server));
    let keep = move |bytes: &[u8]| locked(&kept).sent_by_clients.extend_from_slice(bytes);
    let (held, mut passed) = (Arc::clone(held), 0);
    let told = move |bytes: &[u8]| {
        passed += bytes.len();
        held.wait(passed);
    };
    locked_shared
        .copiers
        .push(std::thread::spawn(move || copy(from_client, to_server, keep)));
    locked_shared
        .copiers
        .push(std::thread::spawn(move || copy(server, client, told)));
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn cut(shared: &mut Shared) {
    for stream in shared.open.drain(..) {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
