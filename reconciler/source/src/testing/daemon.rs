//! A real `git daemon`.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Serves every repository below a folder by `git://`, until it is dropped.
pub struct GitDaemon {
    address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl GitDaemon {
    /// Starts one that serves the repositories below `base`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn serve(base: &Path) -> Self {
        // It cannot be told to take any port: one that was just free may be taken when it starts.
        for _ in 0..20 {
            if let Some(daemon) = Self::start(base, free_port()) {
                return daemon;
            }
        }
        panic!("git daemon found no free port in 20 attempts");
    }

    /// The URL of a repository below `base`.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("git://{}/{repository}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    ///
    /// # Panics
    /// When the thread that reads the log panicked.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("the reader does not panic").clone()
    }

    fn start(base: &Path, port: u16) -> Option<Self> {
        // The program itself, not `git daemon`: that would be a parent which dies alone.
        let exec_path = super::git(base)
            .arg("--exec-path")
            .output()
            .expect("the git program is installed");
        let program = Path::new(String::from_utf8_lossy(&exec_path.stdout).trim()).join("git-daemon");
        let mut command = Command::new(program);
        super::scrub(&mut command)
            .args([
                "--verbose",
                "--export-all",
                "--informative-errors",
                "--reuseaddr",
                "--listen=127.0.0.1",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .arg(base)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        // git's own check of who owns a repository: in a container the test's user may own none of it.
        command.envs([
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
        ]);
        let mut child = command.spawn().expect("git-daemon is installed");
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = mpsc::channel();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("Ready to rumble") {
                    // The receiver is gone when it was already answered: no matter.
                    let _ = ready.send(());
                }
                kept.lock().expect("nobody panics with the log").push(line);
            }
        });
        let daemon = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            child,
            log,
            reader: Some(reader),
        };
        // The sender goes away when the daemon ends: the port was taken.
        is_ready
            .recv_timeout(Duration::from_secs(20))
            .ok()
            .map(|()| daemon)
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        // Each connection has a process of its own in the same group.
        let group = Pid::from_raw(self.child.id().cast_signed()).expect("a process id is not 0");
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}
