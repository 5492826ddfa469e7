//! The real stack: broker, scanner, orchestrator, and the repository that users copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lockstep_protocol::Revision;
use serde::Deserialize;

use crate::wait::{PATIENCE, until};
use crate::{Lab, Service};

/// Where the document lies in the repository.
const DOCUMENT: &str = "config/config.toml";

/// The stack, with its broker.
pub struct Trading {
    /// The lab: scanner and orchestrator are its services.
    pub lab: Lab,
    broker: Child,
}

/// What the broker counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Sessions that were ever established.
    pub connections_total: u64,
    /// Sessions that are established.
    pub open: u64,
    /// Requests received.
    pub requests: u64,
    /// Sessions that ended.
    pub disconnects: u64,
}

impl Trading {
    /// Starts all of it; the template's configuration has settled and the broker session is up.
    ///
    /// # Panics
    /// When that does not work.
    #[must_use]
    pub fn start() -> Self {
        let scanner = Service::program("scanner", &["{bin}/scanner", "--listen", "{address}:50051"])
            .reads(&[
                "config.toml#scanner",
                "config.toml#data",
                "config.toml#strategy",
                "config.toml#universe",
                "config.toml#logging",
            ])
            .reload("{ watch = {} }")
            .tier("voting");
        let orchestrator = [
            "{bin}/orchestrator",
            "--scan-every",
            "200ms",
            "--heartbeat-every",
            "100ms",
        ];
        let orchestrator = Service::program("orchestrator", &orchestrator)
            .reads(&[
                "config.toml#ibkr",
                "config.toml#trading",
                "config.toml#options",
                "config.toml#schedule",
                "config.toml#scanner.host",
                "config.toml#scanner.port",
                "config.toml#logging",
            ])
            .tier("voting");
        let mut builder = Lab::builder().service(scanner).service(orchestrator).unstarted();
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config-repo-template");
        for file in files(&template) {
            let path = file
                .strip_prefix(&template)
                .expect("it was found there")
                .to_str()
                .expect("names are UTF-8");
            let contents = fs::read_to_string(&file).expect("the template holds texts");
            let contents = if path == DOCUMENT {
                contents.replace("host = \"127.0.0.1\"", "host = \"{address}\"")
            } else {
                contents
            };
            builder = builder.file(path, contents);
        }
        let lab = builder.start();
        let broker = Command::new(lab.root().join("bin/broker"))
            .args(["--listen", &format!("{}:7497", lab.address()), "--stats"])
            .arg(lab.root().join("broker.json"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program was built");
        let trading = Self { lab, broker };
        assert!(
            until(PATIENCE, || trading.try_counts()).is_some(),
            "the broker did not start"
        );
        trading.lab.start_reconciler();
        trading.lab.wait_settled(&trading.lab.origin().revision("HEAD"));
        let up = until(PATIENCE, || (trading.counts().open == 1).then_some(()));
        assert!(
            up.is_some(),
            "the broker session did not come up: {:?}",
            trading.counts()
        );
        trading
    }

    /// Replaces a text in the document, commits and pushes.
    ///
    /// # Panics
    /// When the text is not there exactly once.
    pub fn change(&self, from: &str, to: &str) -> Revision {
        let file = self.lab.origin().work().join(DOCUMENT);
        let text = fs::read_to_string(&file).expect("the document is in the clone");
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {DOCUMENT}");
        fs::write(&file, text.replace(from, to)).expect("the clone is ours");
        self.lab.origin().publish(&format!("{to} instead of {from}"))
    }

    /// The broker's counts.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.try_counts().expect("the broker keeps its counts in a file")
    }

    fn try_counts(&self) -> Option<Counts> {
        serde_json::from_slice(&fs::read(self.lab.root().join("broker.json")).ok()?).ok()
    }

    /// Asserts that the broker saw one session, never dropped, and that it is used still.
    ///
    /// # Panics
    /// When it is not so.
    pub fn assert_one_session(&self) {
        let requests = self.counts().requests;
        let used = until(PATIENCE, || (self.counts().requests > requests).then_some(()));
        let counts = self.counts();
        assert!(used.is_some(), "the session is not used any more: {counts:?}");
        assert_eq!(
            (counts.connections_total, counts.disconnects, counts.open),
            (1, 0, 1),
            "{counts:?}"
        );
    }

    /// What a service has written to its log.
    #[must_use]
    pub fn log(&self, service: &str) -> String {
        fs::read_to_string(self.lab.state().join("log").join(format!("{service}.log"))).unwrap_or_default()
    }
}

impl Drop for Trading {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the template is part of the workspace");
    let paths = entries.map(|entry| entry.expect("the template can be listed").path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}
