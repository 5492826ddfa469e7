//! Which commit gave a file what it says: history as `git log` simplifies it, followed by value instead of by bytes.

use std::collections::HashMap;
use std::path::Path;

use git2::{Commit, ErrorCode, ObjectType, Oid};
use lockstep_protocol::Revision;

use crate::history::label;
use crate::{CommitFacts, Mirror, SourceError, libgit};

/// Who looked at a change besides its author, by the trailers that people and forges write. They are what somebody
/// typed: told, and never counted as an approval.
const REVIEW: [&str; 5] = [
    "reviewed-by",
    "approved-by",
    "acked-by",
    "signed-off-by",
    "co-authored-by",
];

/// The commit since which a file says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetBy {
    /// The commit.
    pub commit: CommitFacts,
    /// The merge that brought it to the line that was followed, if it was made beside it.
    pub merged: Option<CommitFacts>,
    /// The trailers of both that name other people, as `Reviewed-by: Ada <ada@example.com>`.
    pub reviews: Vec<String>,
}

impl Mirror {
    /// The commit since which a file says what it says in `revision`: `same` is told the file's contents, or that there
    /// is no file, and says whether they mean the same. Of a merge the side is followed that has it, the first one
    /// first.
    ///
    /// # Errors
    /// When a commit on the way is not here or damaged.
    pub fn set_by(
        &self,
        revision: &Revision,
        path: &str,
        mut same: impl FnMut(Option<&[u8]>) -> bool,
    ) -> Result<SetBy, SourceError> {
        let damaged = |e: git2::Error| self.damaged(&e);
        let mut known: HashMap<Option<Oid>, bool> = HashMap::new();
        let mut says_so = |commit: &Commit<'_>| -> Result<bool, SourceError> {
            let id = self.blob_at(commit, path)?;
            if let Some(known) = known.get(&id) {
                return Ok(*known);
            }
            let contents = id.map(|id| self.blob_within(id)).transpose()?.flatten();
            let says = same(contents.as_deref());
            known.insert(id, says);
            Ok(says)
        };
        let mut commit = self.find_commit(revision)?;
        let mut merged = None;
        loop {
            let mut found = None;
            for (nth, parent) in commit.parents().enumerate() {
                if says_so(&parent)? {
                    found = Some((nth, parent));
                    break;
                }
            }
            let Some((nth, parent)) = found else { break };
            if nth > 0 && merged.is_none() {
                merged = Some(commit.id());
            }
            commit = parent;
        }
        let mut reviews = Vec::new();
        for id in [Some(commit.id()), merged].into_iter().flatten() {
            let commit = self.repo.find_commit(id).map_err(damaged)?;
            reviews.extend(trailers(&commit));
        }
        let facts = |id: Oid| self.commit(&libgit::revision(id));
        Ok(SetBy {
            commit: facts(commit.id())?,
            merged: merged.map(facts).transpose()?,
            reviews,
        })
    }

    /// What a file said in a revision; nothing when there is none, or a larger one than is ever read.
    ///
    /// # Errors
    /// When the revision is not here or damaged.
    pub fn said(&self, revision: &Revision, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let id = self.blob_at(&self.find_commit(revision)?, path)?;
        Ok(id.map(|id| self.blob_within(id)).transpose()?.flatten())
    }

    fn blob_at(&self, commit: &Commit<'_>, path: &str) -> Result<Option<Oid>, SourceError> {
        let tree = commit.tree().map_err(|e| self.damaged(&e))?;
        match tree.get_path(Path::new(path)) {
            Ok(entry) if entry.kind() == Some(ObjectType::Blob) => Ok(Some(entry.id())),
            Ok(_) => Ok(None),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    fn blob_within(&self, id: Oid) -> Result<Option<Vec<u8>>, SourceError> {
        let damaged = |e: git2::Error| self.damaged(&e);
        let odb = self.repo.odb().map_err(damaged)?;
        let (size, _) = odb.read_header(id).map_err(damaged)?;
        if size as u64 > self.spec.limits.file_bytes {
            return Ok(None);
        }
        Ok(Some(odb.read(id).map_err(damaged)?.data().to_vec()))
    }
}

/// The trailers of a message that name who else had to do with it.
fn trailers(commit: &Commit<'_>) -> Vec<String> {
    let message = commit.message_bytes();
    let Ok(trailers) = git2::message_trailers_bytes(message) else {
        return Vec::new();
    };
    trailers
        .iter()
        .filter(|(key, _)| {
            REVIEW
                .iter()
                .any(|review| review.as_bytes().eq_ignore_ascii_case(key))
        })
        .map(|(key, value)| label(&[key, b": ", value].concat()))
        .collect()
}
