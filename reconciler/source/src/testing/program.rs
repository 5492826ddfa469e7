//! A server that is a program of its own: started at a port that is free, its log read, ended with its process group.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// A server that runs. Its process group ends when it is dropped.
pub(super) struct Program {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts it, and waits until it logs that it listens; none when it ended before, for example because its port was
    /// taken.
    ///
    /// # Panics
    /// When it cannot be run.
    pub(super) fn start(command: &mut Command, listens: &'static str) -> Option<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = mpsc::channel();
        let kept = Arc::clone(&log);
        // It ends with the last process that has the log open. Nobody waits for that: a session that serves a client is
        // in another process group, and lasts as long as the client.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains(listens) {
                    // The receiver is gone when it was already answered: no matter.
                    let _ = ready.send(());
                }
                locked(&kept).push(line);
            }
        });
        let program = Self { child, log };
        // The sender goes away when it ends.
        is_ready
            .recv_timeout(Duration::from_secs(20))
            .ok()
            .map(|()| program)
    }

    /// What it has logged.
    pub(super) fn log(&self) -> Vec<String> {
        locked(&self.log).clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.child.id().cast_signed()).expect("a process id is not 0");
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn locked(log: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tries ports until a server that cannot be told to take any has one.
///
/// # Panics
/// When none of many attempts went well.
pub(super) fn at_a_free_port<T>(start: impl Fn(u16) -> Option<T>) -> T {
    let free = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.local_addr().expect("it is bound").port()
    };
    // One that was just free may be taken when the server starts.
    (0..20)
        .find_map(|_| start(free()))
        .expect("the server starts at one of 20 free ports")
}
