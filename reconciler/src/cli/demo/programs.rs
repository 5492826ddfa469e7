//! The demo's processes: found beside this program, started so that the terminal's Ctrl-C reaches this one alone.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::minder::Minded;
use super::place::Place;
use super::{DemoError, until};

/// Names another folder with the demo's programs than that of `lockstep` itself.
const FOLDER: &str = "LOCKSTEP_DEMO_BIN";

/// The programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) lockstep: PathBuf,
    pub(super) broker: PathBuf,
    pub(super) scanner: PathBuf,
    pub(super) orchestrator: PathBuf,
}

impl Programs {
    /// Finds them, or says which one is missing.
    pub(super) fn find() -> Result<Self, DemoError> {
        let this = std::env::current_exe().map_err(|source| DemoError::Spawn {
            program: "lockstep".to_owned(),
            source,
        })?;
        let folder = match std::env::var_os(FOLDER) {
            Some(folder) => std::path::absolute(&folder).map_err(|source| DemoError::Io {
                doing: "look for programs",
                path: folder.into(),
                source,
            })?,
            None => this.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let programs = Self::in_folder(&folder, this);
        for path in [&programs.broker, &programs.scanner, &programs.orchestrator] {
            if !path.is_file() {
                return Err(DemoError::Program { path: path.clone() });
            }
        }
        Ok(programs)
    }

    pub(super) fn in_folder(folder: &Path, lockstep: PathBuf) -> Self {
        Self {
            lockstep,
            broker: folder.join("broker"),
            scanner: folder.join("scanner"),
            orchestrator: folder.join("orchestrator"),
        }
    }
}

/// A port that nobody listens on, below those that the system gives to outgoing connections. It may be taken
/// until it is used: then whoever wanted it says so.
pub(super) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    // Two demos begin at different places.
    let start = u16::try_from(std::process::id().wrapping_mul(31) % u32::from(COUNT)).unwrap_or(0);
    let mut ports = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % COUNT;
        FIRST + (start + step) % COUNT
    });
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap_or(FIRST)
}

/// What the broker counts.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BrokerCounts {
    /// Sessions since its start.
    pub(super) connections_total: u64,
    /// Sessions now.
    pub(super) open: u64,
    /// Sessions that ended.
    pub(super) disconnects: u64,
}

/// The stand-in for TWS. No service of Lockstep: it is what a service must not lose its connection to.
pub(super) struct Broker {
    pub(super) port: u16,
    stats: PathBuf,
    _process: Child,
}

impl Broker {
    /// Starts it, and gives it with the port that it listens on.
    pub(super) async fn start(
        programs: &Programs,
        place: &Place,
        minded: &mut Minded,
    ) -> Result<Self, DemoError> {
        let stats = place.broker_stats();
        let mut command = Command::new(&programs.broker);
        command
            .args(["--listen", "127.0.0.1:0", "--stats"])
            .arg(&stats)
            .stdout(Stdio::piped());
        let mut process = spawn(command, &place.broker_log(), minded)?;
        let late = |_| DemoError::Late {
            what: "the broker did not listen".to_owned(),
            log: place.broker_log(),
        };
        let mut lines = BufReader::new(process.stdout.take().ok_or(()).map_err(late)?).lines();
        // "listening on 127.0.0.1:PORT"
        let line = lines.next_line().await.ok().flatten().unwrap_or_default();
        let port = line
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .ok_or(())
            .map_err(late)?;
        Ok(Self {
            port,
            stats,
            _process: process,
        })
    }

    /// What it counts now.
    pub(super) fn counts(&self) -> Option<BrokerCounts> {
        serde_json::from_slice(&std::fs::read(&self.stats).ok()?).ok()
    }

    /// Waits for the orchestrator's session.
    pub(super) async fn wait_for_session(&self, place: &Place) -> Result<(), DemoError> {
        let session = until(async || self.counts().filter(|counts| counts.open == 1)).await;
        session.map(drop).ok_or_else(|| DemoError::Late {
            what: "the orchestrator had no session with the broker".to_owned(),
            log: place.broker_log(),
        })
    }
}

/// Starts `lockstep run` on the demo's settings.
pub(super) fn start_reconciler(
    programs: &Programs,
    place: &Place,
    minded: &mut Minded,
) -> Result<(), DemoError> {
    let mut command = Command::new(&programs.lockstep);
    command
        .arg("run")
        .arg("--settings")
        .arg(place.settings())
        .stdout(Stdio::null());
    spawn(command, &place.reconciler_log(), minded).map(drop)
}

/// Starts a process with its own group and its errors in a file, and has the minder end it.
fn spawn(mut command: Command, log: &Path, minded: &mut Minded) -> Result<Child, DemoError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let file = File::create(log).map_err(|source| DemoError::Io {
        doing: "create",
        path: log.to_owned(),
        source,
    })?;
    let child = command
        .stdin(Stdio::null())
        .stderr(file)
        .process_group(0)
        .spawn()
        .map_err(|source| DemoError::Spawn { program, source })?;
    minded.mind(child.id())?;
    Ok(child)
}
