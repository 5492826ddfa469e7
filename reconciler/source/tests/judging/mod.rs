//! What tests of refusals share: a repository, a mirror of it, and the message for its head.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use lockstep_protocol::Revision;
use lockstep_source::testing::{Entry, Origin};
use lockstep_source::{Limits, Mirror, SourceError, SourceSpec, TreeRefused};
use tempfile::TempDir;

/// A repository that publishes its folder `config`, and a mirror of it.
pub struct Judged {
    pub origin: Origin,
    pub mirror: Mirror,
    _state: TempDir,
}

pub fn judged() -> Judged {
    judged_within(Limits::default())
}

pub fn judged_within(limits: Limits) -> Judged {
    let (origin, state) = (Origin::new(), TempDir::new().unwrap());
    let spec = SourceSpec {
        limits,
        ..SourceSpec::new(origin.url(), "main").publishing("config")
    };
    let mirror = Mirror::open(state.path().join("mirror.git"), spec).unwrap();
    Judged {
        origin,
        mirror,
        _state: state,
    }
}

impl Judged {
    pub fn refused(&self) -> TreeRefused {
        let head = self.mirror.fetch().unwrap();
        match self.mirror.tree(&head, None).unwrap_err() {
            SourceError::Refused(refused) => *refused,
            other => panic!("{other}"),
        }
    }

    /// The message for the head, without its first line, which names the revision.
    pub fn message(&self) -> Vec<String> {
        let refused = self.refused();
        let message = refused.to_string();
        let mut lines = message.lines().map(str::to_owned);
        assert_eq!(
            lines.next().unwrap(),
            format!("revision {} cannot be published:", refused.revision.short())
        );
        lines.collect()
    }

    /// Publishes a tree whose folder `config` has exactly these entries.
    pub fn publish_entries(&self, entries: &[Entry<'_>]) -> Revision {
        let config = self.origin.raw_tree(entries);
        let root = self.origin.raw_tree(&[Entry {
            mode: "40000",
            name: b"config",
            id: &config,
        }]);
        self.origin.publish_tree(&root, "Made by hand")
    }
}
