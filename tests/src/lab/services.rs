//! The processes of services, and what they say when they are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;

use super::Lab;
use crate::processes::{self, Process, Role};
use crate::wait::{PATIENCE, until};

/// What a test service says of itself when it is asked: the truth of its memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// Its pid.
    pub pid: i32,
    /// The value it works with now.
    pub value: i64,
    /// The switch it was taken from; 0 for one that does not look.
    pub switch: u64,
    /// How often it was asked to reload: signals, or moves it saw.
    pub rings: u64,
}

impl Lab {
    /// All processes of this lab.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        processes::of(&self.root)
    }

    /// The processes of services: their main ones, by name.
    #[must_use]
    pub fn services(&self) -> BTreeMap<String, Process> {
        let mains = self
            .processes()
            .into_iter()
            .filter_map(|process| match &process.role {
                Role::Service(name) if process.is_leader() => Some((name.clone(), process)),
                Role::Service(_) | Role::Reconciler | Role::Guard | Role::Holder | Role::Other(_) => None,
            });
        mains.collect()
    }

    /// The main process of a service.
    ///
    /// # Panics
    /// When it does not live.
    #[must_use]
    #[track_caller]
    pub fn process(&self, service: &str) -> Process {
        self.services()
            .remove(service)
            .unwrap_or_else(|| panic!("{service} does not live"))
    }

    /// Asserts that the services' processes are those of before: none ended, none was started.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert_same_processes(&self, before: &BTreeMap<String, Process>) {
        let ids = |services: &BTreeMap<String, Process>| -> BTreeMap<String, (i32, u64)> {
            services
                .iter()
                .map(|(name, process)| (name.clone(), (process.pid, process.start)))
                .collect()
        };
        assert_eq!(
            ids(&self.services()),
            ids(before),
            "the services' processes (pid, start)"
        );
    }

    /// Asserts that no process of this lab, nor a thread of one, is stopped.
    ///
    /// # Panics
    /// When one is.
    #[track_caller]
    pub fn assert_nobody_stopped(&self) {
        let stopped: BTreeSet<_> = self.processes().into_iter().filter(Process::is_stopped).collect();
        assert!(stopped.is_empty(), "stopped: {stopped:?}");
    }

    /// Asks a test service what it works with.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, service: &str) -> Answer {
        let answer = until(PATIENCE, || self.try_ask(service));
        answer.unwrap_or_else(|| panic!("{service} does not answer"))
    }

    /// The value that a test service works with.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    #[track_caller]
    pub fn value(&self, service: &str) -> i64 {
        self.ask(service).value
    }

    fn try_ask(&self, service: &str) -> Option<Answer> {
        let stream = UnixStream::connect(self.root.join("lab").join(format!("{service}.sock"))).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}
