//! The processes of a lab, found by what `/proc` says of them: whoever was started from the lab's folder, or
//! names it in its arguments or its environment.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// One process: a pid means the same process only together with its start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in ticks since boot.
    pub start: u64,
    /// Its parent.
    pub parent: i32,
    /// Its session.
    pub session: i32,
    /// What it is.
    pub role: Role,
}

/// What a process of a lab is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `lockstep run`.
    Reconciler,
    /// The guard.
    Guard,
    /// The holder.
    Holder,
    /// A process of a service's tree.
    Service(String),
    /// Anything else: a command, a broker.
    Other(String),
}

impl Process {
    /// Sends it a signal, unless it is gone.
    pub fn signal(&self, signal: Signal) {
        // Between the look and the signal another process can hardly get its number: they are given in order.
        if self.is_alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // That it is gone meanwhile is as good.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it lives: a zombie does not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && stat.state != 'Z')
    }

    /// Whether it leads its session: of a service, the one that was started by the guard.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.session == self.pid
    }

    /// Whether it, or one of its threads, is stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        threads(self.pid)
            .into_iter()
            .any(|state| matches!(state, 'T' | 't'))
    }
}

impl Process {
    /// If its main thread is stopped: how often that thread gave the processor up so far. The kernel counts each stop,
    /// so two looks that give the same number saw one stand, without an instant between them in which it ran.
    #[must_use]
    pub fn stand(&self) -> Option<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let text = self.is_alive().then(|| fs::read_to_string(path).ok())??;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let number = |name: &str| field(name)?.trim().parse::<u64>().ok();
        field("State:")?
            .trim_start()
            .starts_with(['T', 't'])
            .then_some(())?;
        Some(number("voluntary_ctxt_switches:")? + number("nonvoluntary_ctxt_switches:")?)
    }
}

/// All processes of the lab in this folder.
#[must_use]
pub fn of(root: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| look(root, pid)).collect()
}

fn look(root: &Path, pid: i32) -> Option<Process> {
    let folder = Path::new("/proc").join(pid.to_string());
    let name = root.to_str().expect("temporary folders are UTF-8");
    let read = |file: &str| fs::read(folder.join(file)).unwrap_or_default();
    let (arguments, environment) = (read("cmdline"), read("environ"));
    let program = fs::read_link(folder.join("exe")).unwrap_or_default();
    let names = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    if pid == std::process::id().cast_signed()
        || !(program.starts_with(root) || names(&arguments) || names(&environment))
    {
        return None;
    }
    let stat = stat(pid).filter(|stat| stat.state != 'Z')?;
    let words: Vec<_> = arguments
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let status_file = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"LOCKSTEP_STATUS_FILE="))
        .map(|path| String::from_utf8_lossy(path).into_owned());
    let service = status_file
        .as_deref()
        .and_then(|path| Path::new(path).parent()?.file_name()?.to_str());
    let word = |at: usize| words.get(at).map_or("", |word| word.as_ref());
    let role = match (word(0), word(1), service) {
        (_, _, Some(service)) => Role::Service(service.to_owned()),
        (first, _, None) if first.ends_with("lockstep-holder") => Role::Holder,
        (_, "guard", None) => Role::Guard,
        (_, "run", None) => Role::Reconciler,
        (first, second, None) => Role::Other(format!("{first} {second}")),
    };
    Some(Process {
        pid,
        start: stat.start,
        parent: stat.parent,
        session: stat.session,
        role,
    })
}

struct Stat {
    state: char,
    parent: i32,
    session: i32,
    start: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<Stat> {
    // The name is in brackets and may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

fn threads(pid: i32) -> Vec<char> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let stats = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|text| Some(parse(&text)?.state)).collect()
}
