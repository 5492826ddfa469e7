//! A guard of its own for each test, and an agent to talk to it. Everything dies with the test.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "shared by test files, each a crate of its own")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod agent;
mod processes;

pub use agent::{Agent, instance, named};
pub use processes::{command_of, is_gone, kill, parent, pids, session, state};

use lockstep_guard::wire::{Body, Definition, Request, RestartPolicy};
use lockstep_guard::{connect, encode};
use processes::{alive_with, carries, kill_group};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: generous, since machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until the condition holds. The one place that sleeps.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Asserts that no process and no thread of these services runs for a while.
pub fn assert_nobody_moves(place: &Place, services: &[&str]) {
    let look = || -> Vec<_> { services.iter().map(|service| place.beats(service)).collect() };
    let before = look();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        thread::sleep(Duration::from_millis(2));
        assert_eq!(look(), before, "somebody moved");
    }
}

/// Waits until every one that beats, beats on.
pub fn wait_until_all_move(place: &Place, services: &[&str]) {
    for service in services {
        let before = place.beats(service);
        assert!(!before.is_empty(), "{service} never beat");
        wait_until(&format!("all of {service} move"), || {
            let now = place.beats(service);
            before.iter().all(|(name, count)| now[name] != *count)
        });
    }
}

/// The program under test: an example, built before any test of this package runs.
pub fn probe() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let probe = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/probe");
    assert!(
        probe.exists(),
        "{} is missing: run `cargo build -p lockstep-guard --examples`",
        probe.display()
    );
    probe
}

/// A temporary folder with a state folder in it. Kills whatever still runs for it when it is dropped.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub state: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        Self { folder, state }
    }

    /// Starts a guard and waits until it listens.
    pub fn guard(&self) -> Guard {
        let mut command = Command::new(probe());
        command.args(["guard", "--state"]).arg(&self.state);
        self.guard_by(command)
    }

    pub fn guard_by(&self, mut command: Command) -> Guard {
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let child = command
            .env("PROBE_PLACE", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut guard = Guard {
            child,
            state: self.state.clone(),
        };
        wait_until("the guard listens", || {
            let ended = guard.child.try_wait().unwrap();
            assert!(ended.is_none(), "the guard ended: {ended:?}\n{}", self.log());
            answers(&self.state)
        });
        guard
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A service's own folder.
    pub fn of(&self, service: &str) -> PathBuf {
        let folder = self.folder.path().join(service);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A definition of a probe's service: `name` runs `probe WORDS[0] FOLDER WORDS[1..]`.
    pub fn define(&self, name: &str, words: &[&str]) -> Definition {
        let folder = self.of(name).to_str().unwrap().to_owned();
        let mut command = vec![probe().to_str().unwrap().to_owned(), words[0].to_owned(), folder];
        command.extend(words[1..].iter().map(|word| (*word).to_owned()));
        let env = [
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("PROBE_USR1".to_owned(), "1".to_owned()),
            (
                "PROBE_PLACE".to_owned(),
                self.folder.path().to_str().unwrap().to_owned(),
            ),
        ];
        Definition {
            service: name.to_owned(),
            command,
            cwd: self.folder.path().to_owned(),
            env: BTreeMap::from(env),
            user: None,
            output: self.folder.path().join(format!("{name}.out")),
            run_dir: self.folder.path().join("run").join(name),
            stop_signal: "SIGTERM".to_owned(),
            stop_within_ms: 5000,
            restart: RestartPolicy::Never,
        }
    }

    /// The living processes of this place but for those of its guards.
    pub fn services_alive(&self) -> Vec<u32> {
        alive_with(&format!("PROBE_PLACE={}", self.folder.path().display()))
            .into_iter()
            .filter(|pid| !command_of(*pid).contains(" guard"))
            .collect()
    }

    /// What every process and thread of a service has counted so far.
    pub fn beats(&self, service: &str) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.of(service))
            .unwrap()
            .map(|entry| entry.unwrap());
        entries
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with("beat-"))
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                let path = entry.path();
                // Files that only grow are counted by length, the others hold their count.
                let text = match name.ends_with("chain") || name.ends_with("forks") {
                    true => fs::metadata(path).unwrap().len().to_string(),
                    false => fs::read_to_string(path).unwrap(),
                };
                (name, text)
            })
            .collect()
    }

    /// Waits until a service's main process said that it is ready, so many times in all.
    pub fn ready(&self, service: &str, times: usize) {
        wait_until(&format!("{service} is ready"), || {
            self.starts(service).len() >= times
        });
    }

    /// Each start of a service: the pid and the token that it saw.
    pub fn starts(&self, service: &str) -> Vec<(u32, String)> {
        let text = fs::read_to_string(self.of(service).join("starts")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(pid, token)| (pid.parse().unwrap(), token.to_owned()))
            .collect()
    }

    /// How often SIGUSR1 arrived.
    pub fn usr1(&self, service: &str) -> usize {
        fs::read(self.of(service).join("usr1")).map_or(0, |bytes| bytes.len())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the guard's log\n{}", self.log());
            let detached = fs::read_to_string(self.state.join("guard.log")).unwrap_or_default();
            eprintln!("--- the detached guard's log\n{detached}");
        }
        // Guards first: they would start again what is killed after them.
        let state = self.state.display().to_string();
        for pid in pids().into_iter().filter(|pid| command_of(*pid).contains(&state)) {
            kill(pid, "KILL");
        }
        // Then each service's whole group: one that forks and ends runs ahead of a signal to itself. A number
        // that somebody else has by now is not killed.
        let marker = format!("PROBE_PLACE={}", self.folder.path().display());
        let entries = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let services: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let starts = services
            .iter()
            .filter(|service| self.folder.path().join(service).join("starts").exists());
        for (pid, _) in starts.flat_map(|service| self.starts(service)) {
            if is_gone(pid) || carries(pid, &marker) {
                kill_group(pid);
            }
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let left = alive_with(&marker);
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(|pid| kill(pid, "KILL"));
        }
    }
}

/// Whether a guard answers: a connection alone may still be one to the listener of a guard that was killed, kept
/// by a child of it that was about to be executed.
fn answers(state: &Path) -> bool {
    let Ok(mut stream) = connect(state) else {
        return false;
    };
    let request = encode(&Request {
        id: 0,
        body: Body::List,
    })
    .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&request).is_ok() && matches!(stream.read(&mut [0; 64]), Ok(1..))
}

/// A guard in a process of its own, killed when dropped.
pub struct Guard {
    pub child: Child,
    pub state: PathBuf,
}

impl Guard {
    pub fn agent(&self) -> Agent {
        self.agent_of_term(1)
    }

    pub fn agent_of_term(&self, term: u64) -> Agent {
        let mut agent = Agent::new(&self.state);
        agent.ask(Body::Hello { term }).unwrap();
        agent
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.kill();
    }
}
