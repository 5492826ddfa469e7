//! The stack as processes: a broker's stand-in, a scanner and an orchestrator, each on a volume of its own.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Process, Service, Volume, port, until};

pub(crate) const ORCHESTRATOR: &str = env!("CARGO_BIN_EXE_orchestrator");

/// Eleven in the morning in New York, on a day of trading.
pub(crate) const WEDNESDAY: &str = "2026-07-01T15:00:00Z";

/// A program of the neighbours, built if it is not there as it is now.
fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "broker", "--package", "scanner"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(
            cargo
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap()
                .success()
        );
    });
    Path::new(ORCHESTRATOR).with_file_name(name)
}

/// A broker's stand-in.
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) port: u16,
    stats: PathBuf,
    _folder: tempfile::TempDir,
}

impl Broker {
    pub(crate) fn start(listen: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stats = folder.path().join("stats.json");
        let mut command = Command::new(program("broker"));
        command
            .args(["--listen", listen, "--stats"])
            .arg(&stats)
            .args(more);
        let process = Process::start(command);
        let address = process.line_with("listening on ");
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        Self {
            process,
            port,
            stats,
            _folder: folder,
        }
    }

    /// One that nobody knows of.
    pub(crate) fn none() -> Self {
        Self::start("127.0.0.1:0", &[])
    }

    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.stats).unwrap()).unwrap()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.stats()["requests"].as_u64().unwrap()
    }

    /// Waits for this many requests from now on.
    pub(crate) fn hears(&self, requests: u64) {
        let from = self.requests();
        until("requests", || (self.requests() >= from + requests).then_some(()));
    }

    pub(crate) fn assert_one_session_never_dropped(&self) {
        let stats = self.stats();
        assert_eq!(
            (&stats["connections_total"], &stats["disconnects"]),
            (&json!(1), &json!(0)),
            "{stats}"
        );
    }
}

/// A scanner with a volume of its own: its port is its own choice.
pub(crate) struct Scanner {
    volume: Volume,
    pub(crate) service: Service,
    pub(crate) port: u16,
}

impl Scanner {
    pub(crate) fn start(host: &str) -> Self {
        let volume = Volume::with("logging.level = \"DEBUG\"");
        let listen = format!("{host}:0");
        let service = volume.start("scanner", program("scanner"), &["--listen", &listen]);
        let address = service.process.line_with("listening on ");
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        Self {
            volume,
            service,
            port,
        }
    }

    pub(crate) fn take(&mut self, config: &str) {
        let switch = self.volume.switch_to(config);
        self.service.applied(switch);
    }

    pub(crate) fn wait_ready(&self) {
        self.service.process.line_with("listening on ");
    }
}

/// All three, and what the orchestrator has decided.
pub(crate) struct Stack {
    pub(crate) broker: Broker,
    pub(crate) scanner: Scanner,
    pub(crate) volume: Volume,
    pub(crate) orchestrator: Service,
    base: String,
    decisions: PathBuf,
    pid: u32,
    taken: u32,
    _folder: tempfile::TempDir,
}

impl Stack {
    /// On a Wednesday, with a broker that is started with these words.
    pub(crate) fn start(broker: &[&str]) -> Self {
        Self::start_at(WEDNESDAY, broker)
    }

    pub(crate) fn start_at(as_of: &str, broker: &[&str]) -> Self {
        Self::start_with(as_of, "127.0.0.1", 0, broker)
    }

    /// With a broker that can be started again at the same port.
    pub(crate) fn start_at_lasting_port() -> Self {
        Self::start_with(WEDNESDAY, "127.0.0.1", port(), &[])
    }

    /// At a port that LIVE accepts, on an address of this process.
    pub(crate) fn start_on_live_port(broker: &[&str]) -> Self {
        let id = std::process::id();
        let host = format!("127.{}.{}.7", 64 + id / 250 % 64, 1 + id % 250);
        Self::start_with(WEDNESDAY, &host, 7496, broker)
    }

    fn start_with(as_of: &str, host: &str, port: u16, broker: &[&str]) -> Self {
        let broker = Broker::start(&format!("{host}:{port}"), broker);
        let scanner = Scanner::start("127.0.0.1");
        let base = format!(
            "ibkr.host = \"{host}\"\nibkr.port = {}\nscanner.port = {}\n",
            broker.port, scanner.port
        );
        let volume = Volume::with(&base);
        let folder = tempfile::tempdir().unwrap();
        let decisions = folder.path().join("decisions.jsonl");
        let every = ["--scan-every", "100ms", "--heartbeat-every", "20ms"];
        let written = ["--decisions", decisions.to_str().unwrap(), "--as-of", as_of];
        let orchestrator = volume.start("orchestrator", ORCHESTRATOR, &[every, written].concat());
        orchestrator.process.line_with("session 1 up");
        let pid = orchestrator.process.pid();
        Self {
            broker,
            scanner,
            volume,
            orchestrator,
            base,
            decisions,
            pid,
            taken: 0,
            _folder: folder,
        }
    }

    /// The document with these lines in place of the same keys.
    pub(crate) fn config_with(&self, change: &str) -> String {
        let key = |line: &str| line.split(" = ").next().unwrap().to_owned();
        let changed: Vec<String> = change.lines().map(key).collect();
        let kept = self.base.lines().filter(|line| !changed.contains(&key(line)));
        kept.map(|line| format!("{line}\n")).collect::<String>() + change
    }

    /// Takes a configuration while running; the switch.
    ///
    /// It differs from the one before in any case: the same values once more would decide nothing anew.
    pub(crate) fn take(&mut self, change: &str) -> u64 {
        self.taken = 1 + self.taken % 90;
        let mut config = self.config_with(change);
        if !change.contains("logging.backup_count") {
            config.push_str(&format!("\nlogging.backup_count = {}\n", self.taken));
        }
        let switch = self.volume.switch_to(&config);
        self.orchestrator.process.signal("USR1");
        self.orchestrator.applied(switch);
        switch.0
    }

    /// Takes a configuration while running; what is decided with it in the first round.
    pub(crate) fn decide(&mut self, change: &str) -> Vec<Value> {
        let switch = self.take(change);
        until("decisions with the new configuration", || {
            let text = std::fs::read_to_string(&self.decisions).unwrap_or_default();
            // A round's lines are written one by one; the last candidate closes it.
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let lines: Vec<Value> = lines.filter(|line: &Value| line["switch"] == switch).collect();
            let last = lines.last()?["symbol"] == "UNH";
            last.then_some(lines)
        })
    }

    /// The same process, and the same session with the broker.
    pub(crate) fn assert_untouched(&mut self) {
        assert!(self.orchestrator.process.is_running());
        assert_eq!(self.orchestrator.process.pid(), self.pid);
        self.broker.hears(1);
        self.broker.assert_one_session_never_dropped();
    }
}

/// Looks for a while, and asserts that something stays so.
pub(crate) fn stays(what: &str, time: Duration, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        assert!(so(), "it did not stay so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
