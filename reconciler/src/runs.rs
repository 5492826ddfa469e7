//! What each instance ran, and since when: one record a change, so that it can be said later who ran what at a time.
//!
//! Status is what is; this is what was. Nothing is decided by reading it back, so it is not waited for to be on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use lockstep_core::instances::InstanceState;
use lockstep_core::service::ServiceName;
use lockstep_core::status::{InstanceView, StatusView};
use lockstep_protocol::{Revision, SwitchNumber};
use serde::{Deserialize, Serialize};

use crate::lines::{self, Lines};
use crate::store::{Desk, StoreError};

/// The file's name in the state folder.
const RUNS: &str = "runs.jsonl";

/// What a service's instances run since a time. The fields are stable: `lockstep at --json` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Since when.
    pub at: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// Its instances; none when the service is no longer one of the settings'.
    pub instances: Vec<Run>,
}

/// What one instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its token; none while it is dead.
    pub id: Option<String>,
    /// Its pid; none while it is dead.
    pub pid: Option<u32>,
    /// Its state.
    pub state: InstanceState,
    /// The revision it stated to run.
    pub revision: Option<Revision>,
    /// The switch it stated to run.
    pub switch: Option<SwitchNumber>,
    /// Whether that was, to its service, what was live.
    pub current: bool,
}

impl Run {
    fn of(instance: &InstanceView) -> Self {
        Self {
            id: instance.id.clone(),
            pid: instance.pid,
            state: instance.state,
            revision: instance.revision.clone(),
            switch: instance.switch,
            current: instance.current,
        }
    }
}

/// The record that is written.
#[derive(Debug)]
pub struct Runs {
    lines: Lines,
    last: BTreeMap<ServiceName, Vec<Run>>,
}

impl Runs {
    /// Opens it in the state folder.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(state: &Path, desk: &Desk) -> Result<Self, StoreError> {
        let mut last = BTreeMap::new();
        let lines = Lines::open(state, desk, RUNS, |record: Record| {
            last.insert(record.service, record.instances);
        })?;
        Ok(Self { lines, last })
    }

    /// Notes what changed since it was noted last.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&mut self, status: &StatusView, at: Timestamp) -> Result<(), StoreError> {
        let mut now: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for service in &status.services {
            let instances = service.instances.iter().map(Run::of).collect();
            now.insert(service.name.clone(), instances);
        }
        for gone in self.last.keys() {
            now.entry(gone.clone()).or_default();
        }
        for (service, instances) in now {
            if self.last.get(&service) == Some(&instances) {
                continue;
            }
            let record = Record {
                at,
                service,
                instances,
            };
            self.lines.append(&record).map_err(|source| StoreError::Io {
                doing: "append to",
                path: self.lines.path().to_owned(),
                source,
            })?;
            self.last.insert(record.service, record.instances);
        }
        Ok(())
    }
}

/// The newest record of each service that is not newer than a time.
///
/// # Errors
/// When it cannot be read.
pub fn at(state: &Path, time: Timestamp) -> Result<Vec<Record>, StoreError> {
    let mut of: BTreeMap<ServiceName, Record> = BTreeMap::new();
    for record in lines::read::<Record>(state, RUNS)? {
        if record.at <= time {
            of.insert(record.service.clone(), record);
        }
    }
    Ok(of
        .into_values()
        .filter(|record| !record.instances.is_empty())
        .collect())
}
