//! The journal's file: checksummed, length-framed records in space that is allocated before the first rollout.
//!
//! A record is written in place and its data flushed, which allocates nothing and touches no directory, so
//! that the intent costs one flush before the pause. A torn record fails its checksum and ends the reading:
//! it was never acknowledged to anybody. The file is opened by its path for each record, so that a fenced
//! coordinator finds it gone, and looked for again after the flush, so that nothing counts as recorded that
//! only a fenced folder has.

use std::path::{Path, PathBuf};

use lockstep_protocol::SwitchNumber;
use sha2::{Digest as _, Sha256};

use crate::error::FileError;
use crate::record::{JOURNAL_VERSION, JournalRecord, Record};
use crate::{look, ops};

/// The name of the file in a term's folder.
const NAME: &str = "journal";
/// How much is allocated at once: some hundred rollouts.
const ALLOCATED: usize = 256 * 1024;
/// The first bytes of a record.
const MAGIC: &[u8; 4] = b"LKJ1";
/// Magic, length of the payload, checksum of the payload.
const HEADER: usize = 4 + 4 + 32;

/// A journal that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A later build wrote it.
    #[error(
        "the journal {} was written by a later version of Lockstep (records of version {version}, this build knows \
         {JOURNAL_VERSION}): start that version, or a later one, so that it finishes the rollout", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u32,
    },
    /// A record with a right checksum has contents that this build cannot read.
    #[error(
        "the journal {} has a record at byte {offset} that this build cannot read: {why}. Start the version of \
         Lockstep that wrote it, so that it finishes the rollout", path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: usize,
        /// What the parser says.
        why: String,
    },
    /// A call on the file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The journal of this coordinator's own term.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    end: usize,
    /// The records that recovery would need if the process died now: an intent, then perhaps its outcome.
    last: Vec<Record>,
}

impl Journal {
    /// Allocates the file in a term's folder, beginning with records carried over from an older one.
    pub(crate) fn create(folder: &Path, carried: Vec<Record>) -> Result<Self, FileError> {
        let mut journal = Self {
            folder: folder.to_owned(),
            end: 0,
            last: carried,
        };
        journal.allocate()?;
        Ok(journal)
    }

    /// Writes a file anew that begins with the last records, and moves it over the old one.
    fn allocate(&mut self) -> Result<(), FileError> {
        let mut bytes: Vec<u8> = self.last.iter().flat_map(frame).collect();
        self.end = bytes.len();
        // Zeros are written, not merely reserved: reserved space would have to be converted, through the
        // file system's own journal, at each flush.
        bytes.resize(bytes.len().next_multiple_of(ALLOCATED).max(ALLOCATED), 0);
        let fresh = self.folder.join("journal-fresh");
        ops::remove_all(&fresh)?;
        ops::write_new(&fresh, &bytes, 0o600)?;
        ops::sync_file(&fresh)?;
        ops::rename(&fresh, &self.folder.join(NAME))?;
        ops::sync_dir(&self.folder)
    }

    /// Writes an intent and flushes it. When the allocated space is used up, it is allocated anew first.
    pub(crate) fn intent(&mut self, record: Record) -> Result<(), FileError> {
        if self.end + frame(&record).len() > ALLOCATED && self.end > ALLOCATED / 2 {
            self.allocate()?;
        }
        self.write(&record)?;
        self.last = vec![record];
        Ok(())
    }

    /// Writes an outcome and flushes it, into newly allocated space if it must.
    pub(crate) fn outcome(&mut self, record: Record) -> Result<(), FileError> {
        self.write(&record)?;
        self.last.retain(|kept| matches!(kept, Record::Intent(_)));
        self.last.push(record);
        Ok(())
    }

    /// Whether the last rollout that this journal tells of has its outcome: older journals are then of no use.
    pub(crate) fn has_outcome(&self) -> bool {
        matches!(self.last.last(), Some(Record::Outcome(_)))
    }

    fn write(&mut self, record: &Record) -> Result<(), FileError> {
        let path = self.folder.join(NAME);
        let framed = frame(record);
        ops::write_at(&path, self.end as u64, &framed)?;
        ops::sync_data(&path)?;
        if !look::exists(&path)? {
            return Err(FileError::new("find again", &path, rustix::io::Errno::NOENT));
        }
        self.end += framed.len();
        Ok(())
    }
}

/// A record as bytes.
fn frame(record: &Record) -> Vec<u8> {
    let payload = serde_json::to_vec(record).expect("records have string keys and serialise");
    let length = u32::try_from(payload.len()).expect("a record is far below 4 GiB");
    let mut framed = Vec::with_capacity(HEADER + payload.len());
    framed.extend_from_slice(MAGIC);
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&Sha256::digest(&payload));
    framed.extend_from_slice(&payload);
    framed
}

/// The payload of the record that begins here, if it is whole.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..HEADER)?;
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let payload = bytes.get(HEADER..HEADER.checked_add(usize::try_from(length).ok()?)?)?;
    (&header[..4] == MAGIC && header[8..HEADER] == Sha256::digest(payload)[..]).then_some(payload)
}

/// All whole records of the journal in a term's folder; none when there is no journal.
pub(crate) fn read(folder: &Path) -> Result<Vec<Record>, JournalError> {
    let path = folder.join(NAME);
    let bytes = look::file(&path)?.unwrap_or_default();
    let mut records = Vec::new();
    let mut offset = 0;
    while let Some(payload) = payload(&bytes[offset..]) {
        let record: Record = serde_json::from_slice(payload).map_err(|error| {
            let version = serde_json::from_slice::<serde_json::Value>(payload)
                .ok()
                .and_then(|value| value.as_object()?.values().next()?.get("version")?.as_u64())
                .and_then(|version| u32::try_from(version).ok());
            match version {
                Some(version) if version > JOURNAL_VERSION => JournalError::Newer {
                    path: path.clone(),
                    version,
                },
                _ => JournalError::Unreadable {
                    path: path.clone(),
                    offset,
                    why: error.to_string(),
                },
            }
        })?;
        if record.version() > JOURNAL_VERSION {
            return Err(JournalError::Newer {
                path,
                version: record.version(),
            });
        }
        records.push(record);
        offset += HEADER + payload.len();
    }
    Ok(records)
}

/// The last rollout that the records of one journal tell of.
pub(crate) fn last(records: &[Record]) -> Option<JournalRecord> {
    match records.last()? {
        Record::Intent(intent) => Some(JournalRecord::InFlight(intent.clone())),
        Record::Outcome(outcome) => {
            let intent = records.iter().rev().find_map(|record| match record {
                Record::Intent(intent) if intent.rollout == outcome.rollout => Some(intent.clone()),
                Record::Intent(_) | Record::Outcome(_) => None,
            });
            Some(JournalRecord::Ended {
                intent,
                outcome: outcome.clone(),
            })
        }
    }
}

/// The highest switch number that any record speaks of.
pub(crate) fn highest_switch(records: &[Record]) -> SwitchNumber {
    let numbers = records.iter().map(|record| match record {
        Record::Intent(intent) => intent.to.switch.max(intent.back),
        Record::Outcome(_) => SwitchNumber(0),
    });
    numbers.max().unwrap_or(SwitchNumber(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Intent;
    use crate::record::tests::{intent, outcome};

    #[test]
    fn records_cut_at_any_byte_are_read_up_to_the_last_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let records = [
            Record::Intent(intent("a")),
            Record::Outcome(outcome("a")),
            Record::Intent(intent("b")),
        ];
        let framed: Vec<Vec<u8>> = records.iter().map(frame).collect();
        let all = framed.concat();
        for cut in 0..=all.len() {
            // What was not written is either the zeros allocated before, or the end of the file.
            for padding in [0, 4096] {
                let mut bytes = all[..cut].to_vec();
                bytes.resize(cut + padding, 0);
                std::fs::write(folder.path().join(NAME), &bytes).unwrap();
                let mut end = 0;
                let whole = framed
                    .iter()
                    .take_while(|f| {
                        end += f.len();
                        end <= cut
                    })
                    .count();
                assert_eq!(read(folder.path()).unwrap(), records[..whole], "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_flipped_byte_anywhere_hides_that_record_and_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let all = frame(&Record::Intent(intent("a")));
        for at in 0..all.len() {
            let mut bytes = all.clone();
            bytes[at] ^= 0x40;
            std::fs::write(folder.path().join(NAME), &bytes).unwrap();
            assert_eq!(read(folder.path()).unwrap(), [], "flipped at {at}");
        }
    }

    #[test]
    fn a_full_journal_is_allocated_anew_and_keeps_the_last_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), Vec::new()).unwrap();
        for round in 0..60 {
            let name = round.to_string();
            let begun = Intent {
                detail: "x".repeat(10_000).into(),
                ..intent(&name)
            };
            journal.intent(Record::Intent(begun.clone())).unwrap();
            let told = last(&read(folder.path()).unwrap());
            assert_eq!(told, Some(JournalRecord::InFlight(begun.clone())));
            journal.outcome(Record::Outcome(outcome(&name))).unwrap();
            let ended = JournalRecord::Ended {
                intent: Some(begun),
                outcome: outcome(&name),
            };
            assert_eq!(last(&read(folder.path()).unwrap()), Some(ended));
        }
        let size = std::fs::metadata(folder.path().join(NAME)).unwrap().len();
        assert!(size <= 2 * ALLOCATED as u64, "{size}");
    }

    #[test]
    fn a_journal_of_a_later_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut later = intent("a");
        later.version = JOURNAL_VERSION + 1;
        std::fs::write(folder.path().join(NAME), frame(&Record::Intent(later))).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(matches!(error, JournalError::Newer { .. }), "{error}");
    }
}
