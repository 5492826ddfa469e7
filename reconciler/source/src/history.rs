//! What the mirror knows of commits: who made one, what came before it, what a text names.

use std::collections::HashSet;

use git2::{Commit, ErrorCode, ObjectType};
use jiff::Timestamp;
use lockstep_protocol::Revision;

use crate::{Mirror, SourceError, libgit};

/// The longest subject and author that are taken over: they are labels.
const LABEL: usize = 500;

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    /// The commit.
    pub revision: Revision,
    /// Its parents, the first one first.
    pub parents: Vec<Revision>,
    /// `Name <mail>`, on one line.
    pub author: String,
    /// When it was committed.
    pub committed: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

impl Mirror {
    /// What a commit says of itself.
    ///
    /// # Errors
    /// When it is not here or damaged.
    pub fn commit(&self, revision: &Revision) -> Result<CommitFacts, SourceError> {
        let commit = self.find_commit(revision)?;
        let author = commit.author();
        let who = [author.name_bytes(), b" <", author.email_bytes(), b">"].concat();
        // A time that no calendar knows is as good as none: the commit is judged by its files.
        let committed = Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(CommitFacts {
            revision: revision.clone(),
            parents: commit.parent_ids().map(libgit::revision).collect(),
            author: label(&who),
            committed,
            subject: label(first_line(commit.message_bytes())),
        })
    }

    /// Whether `older` is `newer` or one of its ancestors.
    ///
    /// # Errors
    /// When one of them is not here, or the history between is damaged.
    pub fn is_ancestor(&self, older: &Revision, newer: &Revision) -> Result<bool, SourceError> {
        let (older, newer) = (self.find_commit(older)?.id(), self.find_commit(newer)?.id());
        if older == newer {
            return Ok(true);
        }
        self.repo
            .graph_descendant_of(newer, older)
            .map_err(|e| self.damaged(&e))
    }

    /// Whether a revision publishes what one of the newest `most` commits along first parents did, `from` included.
    ///
    /// # Errors
    /// When the revision has no published folder, or the history is damaged.
    pub fn published_before(
        &self,
        revision: &Revision,
        from: &Revision,
        most: usize,
    ) -> Result<bool, SourceError> {
        let folder = self.published_id(revision)?;
        let mut next = Some(self.find_commit(from)?);
        for _ in 0..most {
            let Some(commit) = next else { break };
            // One that had no such folder published nothing.
            if self
                .published_id(&libgit::revision(commit.id()))
                .is_ok_and(|before| before == folder)
            {
                return Ok(true);
            }
            next = first_parent(&commit).map_err(|e| self.damaged(&e))?;
        }
        Ok(false)
    }

    /// The commits that lead from `base` to `head` along first parents, oldest first and `head` last: those
    /// of `git rev-list --first-parent base..head`. Empty when `base` holds `head` already.
    ///
    /// At most `limit` of them: where there are more, the oldest ones and the head, so that the last step is a
    /// leap.
    ///
    /// # Errors
    /// When one of them is not here, or the history between is damaged.
    pub fn first_parents_since(
        &self,
        head: &Revision,
        base: &Revision,
        limit: usize,
    ) -> Result<Vec<Revision>, SourceError> {
        let (first, base) = (self.find_commit(head)?, self.find_commit(base)?.id());
        let damaged = |e: git2::Error| self.damaged(&e);
        let mut walk = self.repo.revwalk().map_err(damaged)?;
        walk.push(first.id()).map_err(damaged)?;
        walk.hide(base).map_err(damaged)?;
        let since: HashSet<_> = walk.collect::<Result<_, _>>().map_err(damaged)?;

        let mut line = Vec::new();
        let mut next = Some(first);
        while let Some(commit) = next.filter(|commit| since.contains(&commit.id())) {
            line.push(commit.id());
            next = first_parent(&commit).map_err(damaged)?;
        }
        line.reverse();
        if line.len() > limit {
            let last = line.pop();
            line.truncate(limit.saturating_sub(1));
            line.extend(last);
        }
        Ok(line.into_iter().map(libgit::revision).collect())
    }

    /// The revision that a text names: a commit id, an abbreviation of one, the branch, or git's own
    /// expressions over these (`main~2`).
    ///
    /// # Errors
    /// When it names none, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Revision, SourceError> {
        let unknown = |why: String| SourceError::UnknownRevision {
            url: self.url.clone(),
            text: text.to_owned(),
            why,
        };
        let nothing = || {
            unknown(format!(
                "only the branch {:?} and kept revisions are fetched. Push it to that branch, or give a full commit id",
                self.spec.branch
            ))
        };
        if text.is_empty() || text.contains('\0') {
            return Err(nothing());
        }
        let object = self.repo.revparse_single(text).map_err(|e| match e.code() {
            ErrorCode::Ambiguous => unknown("several objects begin with it. Give more digits".to_owned()),
            _ => nothing(),
        })?;
        match object.peel(ObjectType::Commit) {
            Ok(commit) => Ok(libgit::revision(commit.id())),
            Err(_) => Err(unknown(
                "it names an object that is no commit. Give a commit id".to_owned(),
            )),
        }
    }
}

fn first_parent<'repo>(commit: &Commit<'repo>) -> Result<Option<Commit<'repo>>, git2::Error> {
    if commit.parent_count() == 0 {
        Ok(None)
    } else {
        commit.parent(0).map(Some)
    }
}

/// The first line with something on it.
fn first_line(message: &[u8]) -> &[u8] {
    message
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
}

/// Bytes that somebody wrote as a label: text on one line, without what would steer a terminal, bounded.
pub(crate) fn label(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .take(LABEL)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim()
        .to_owned()
}
