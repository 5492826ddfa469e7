//! A guard of its own for each test, and an agent to talk to it. Everything dies with the test.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(unreachable_pub, reason = "shared by test files, each a crate of its own")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lockstep_guard::wire::{
    Answer, Body, Definition, Event, InstanceRef, Message, Process, Refusal, Request, RestartPolicy,
    Supervised,
};
use lockstep_guard::{Decoder, connect, encode};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
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

/// An agent's connection, asking one thing after the other.
pub struct Agent {
    pub stream: UnixStream,
    decoder: Decoder,
    next: u64,
    pub events: VecDeque<Event>,
    answers: BTreeMap<u64, Result<Answer, Refusal>>,
}

impl Agent {
    /// Connects and says nothing.
    pub fn new(state: &Path) -> Self {
        let stream = connect(state).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::default(),
            next: 0,
            events: VecDeque::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Sends a request and returns its id.
    pub fn send(&mut self, body: Body) -> u64 {
        self.next += 1;
        self.stream
            .write_all(&encode(&Request { id: self.next, body }).unwrap())
            .unwrap();
        self.next
    }

    pub fn answer_to(&mut self, id: u64) -> Result<Answer, Refusal> {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            assert!(self.receive(), "the guard closed the connection");
        }
    }

    pub fn ask(&mut self, body: Body) -> Result<Answer, Refusal> {
        let id = self.send(body);
        self.answer_to(id)
    }

    /// Takes in one more message; false when the guard has closed.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 65536];
        loop {
            match self.decoder.next_document::<Message>().unwrap() {
                Some(Message::Answer { id, result }) => {
                    self.answers.insert(id, result);
                    return true;
                }
                Some(Message::Event { event }) => {
                    self.events.push_back(event);
                    return true;
                }
                None => {}
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.decoder.push(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no word from the guard: {error}"),
            }
        }
    }

    /// Waits until the guard has closed this connection.
    pub fn closed(&mut self) {
        while self.receive() {}
    }

    /// The next event, waited for.
    pub fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(self.receive(), "the guard closed the connection");
        }
    }

    pub fn define(&mut self, services: Vec<Definition>) {
        assert_eq!(self.ask(Body::Define { services }), Ok(Answer::Done));
    }

    pub fn start(&mut self, service: &str) -> Process {
        match self.ask(Body::Start {
            service: service.to_owned(),
        }) {
            Ok(Answer::Started { process }) => process,
            other => panic!("{service} was not started: {other:?}"),
        }
    }

    /// Defines, starts, and waits until the service is ready.
    pub fn run(&mut self, place: &Place, name: &str, words: &[&str]) -> Process {
        self.define(vec![place.define(name, words)]);
        let process = self.start(name);
        place.ready(name, 1);
        process
    }

    pub fn stop(&mut self, service: &str) {
        assert_eq!(
            self.ask(Body::Stop {
                service: service.to_owned()
            }),
            Ok(Answer::Done)
        );
    }

    pub fn list(&mut self) -> Vec<Supervised> {
        match self.ask(Body::List) {
            Ok(Answer::Services { services }) => services,
            other => panic!("no list: {other:?}"),
        }
    }

    pub fn supervised(&mut self, service: &str) -> Supervised {
        self.list()
            .into_iter()
            .find(|supervised| supervised.service == service)
            .unwrap()
    }

    pub fn freeze(&mut self, instances: &[(&str, &Process)], limit_ms: u64) -> Result<u32, Refusal> {
        self.freeze_for(instances, limit_ms, &[])
    }

    /// Freezes, with the signals judged that are to be sent.
    pub fn freeze_for(
        &mut self,
        instances: &[(&str, &Process)],
        limit_ms: u64,
        signals: &[(&str, &str)],
    ) -> Result<u32, Refusal> {
        let body = Body::Freeze {
            instances: instances
                .iter()
                .map(|(service, process)| instance(service, process))
                .collect(),
            within_ms: 1500,
            limit_ms,
            signals: named(signals),
        };
        match self.ask(body)? {
            Answer::Frozen { processes, .. } => Ok(processes),
            other => panic!("an answer to something else: {other:?}"),
        }
    }

    pub fn thaw(&mut self, signals: &[(&str, &str)]) -> (bool, u64) {
        match self.ask(Body::Thaw {
            signals: named(signals),
        }) {
            Ok(Answer::Thawed {
                pause_us,
                expired,
                unsent,
            }) if unsent.is_empty() => (expired, pause_us),
            other => panic!("not thawed well: {other:?}"),
        }
    }
}

pub fn named(signals: &[(&str, &str)]) -> BTreeMap<String, String> {
    signals
        .iter()
        .map(|(service, signal)| ((*service).to_owned(), (*signal).to_owned()))
        .collect()
}

pub fn instance(service: &str, process: &Process) -> InstanceRef {
    InstanceRef {
        service: service.to_owned(),
        instance: process.instance.clone(),
    }
}

/// All pids there are.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

pub fn command_of(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn alive_with(entry: &str) -> Vec<u32> {
    pids().into_iter().filter(|pid| carries(*pid, entry)).collect()
}

fn carries(pid: u32, entry: &str) -> bool {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .any(|variable| variable == entry.as_bytes())
}

/// The letter that `/proc/PID/stat` gives, none for a process that is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// A field of `/proc/PID/stat`, counted as proc(5) does.
fn stat_field(pid: u32, field: usize) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..]
        .split(' ')
        .nth(field - 3)?
        .parse()
        .ok()
}

/// The session that a process is in.
pub fn session(pid: u32) -> Option<u32> {
    stat_field(pid, 6)
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    stat_field(pid, 4)
}

pub fn is_gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// Sends a signal to a process.
pub fn kill(pid: u32, signal: &str) {
    send(&pid.to_string(), signal);
}

fn kill_group(group: u32) {
    send(&format!("-{group}"), "KILL");
}

fn send(to: &str, signal: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{signal}"), "--", to])
        .stderr(Stdio::null())
        .status();
}
