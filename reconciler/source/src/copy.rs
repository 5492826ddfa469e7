//! Copying a commit's history from one repository on this machine to another.
//!
//! libgit2 has a transport for local paths. It packs what *every* ref of the source reaches, at each fetch: a
//! branch that nobody follows would be copied again and again. This copies one commit's history, stops at
//! whatever is here already, and so costs what the change costs. It relies on one invariant: a pack enters a
//! mirror whole, with all that its objects reach, so an object that is here brings its whole history with it.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use git2::{ErrorClass, ObjectType, Odb, OdbLookupFlags, Oid, PackBuilder, Repository};
use lockstep_core::counts::Counts;

use crate::spec::Bounds;

/// Where from, where to, and how much.
pub(crate) struct Copying<'a> {
    pub(crate) from: &'a Repository,
    pub(crate) to: &'a Repository,
    pub(crate) bounds: &'a Bounds,
    pub(crate) counts: &'a Counts,
}

/// Why a copy was given up. What was written until then is dropped.
#[derive(Debug)]
pub(crate) enum CopyFailure {
    /// The repository that is read lacks objects or has damaged ones.
    Reading(git2::Error),
    /// The repository that is written failed.
    Writing(git2::Error),
    /// The same, by the system.
    WritingFile(io::Error),
    /// It took too long.
    TimedOut(Duration),
    /// It is too much.
    TooLarge,
}

/// Copies a commit and whatever it reaches and the other side lacks.
pub(crate) fn copy_history(copying: &Copying<'_>, head: Oid) -> Result<(), CopyFailure> {
    let deadline = Deadline {
        since: Instant::now(),
        limit: copying.bounds.fetch,
    };
    let to = copying.to.odb().map_err(CopyFailure::Writing)?;
    to.refresh().map_err(CopyFailure::Writing)?;
    let mut missing = Missing {
        from: copying.from,
        to: &to,
        pack: copying.from.packbuilder().map_err(CopyFailure::Reading)?,
        seen: HashSet::new(),
        deadline: &deadline,
        counts: copying.counts,
    };
    missing.gather(head)?;
    let copied = (copying.counts, &deadline);
    write(missing.pack, &to, copying.bounds.fetch_bytes, copied)
}

struct Deadline {
    since: Instant,
    limit: Duration,
}

impl Deadline {
    fn check(&self) -> Result<(), CopyFailure> {
        let past = self.since.elapsed();
        if past > self.limit {
            Err(CopyFailure::TimedOut(past))
        } else {
            Ok(())
        }
    }
}

/// The objects that are to be copied, gathered.
struct Missing<'a> {
    from: &'a Repository,
    to: &'a Odb<'a>,
    pack: PackBuilder<'a>,
    seen: HashSet<Oid>,
    deadline: &'a Deadline,
    counts: &'a Counts,
}

impl Missing<'_> {
    /// Commits by a stack, not by recursion: a history is deep.
    fn gather(&mut self, head: Oid) -> Result<(), CopyFailure> {
        let mut commits = vec![head];
        while let Some(id) = commits.pop() {
            if !self.is_new(id) {
                continue;
            }
            self.deadline.check()?;
            let commit = self.from.find_commit(id).map_err(CopyFailure::Reading)?;
            self.add(id)?;
            self.gather_tree(commit.tree_id())?;
            commits.extend(commit.parent_ids());
        }
        Ok(())
    }

    fn gather_tree(&mut self, top: Oid) -> Result<(), CopyFailure> {
        let mut trees = vec![top];
        while let Some(id) = trees.pop() {
            if !self.is_new(id) {
                continue;
            }
            self.deadline.check()?;
            self.add(id)?;
            let tree = match self.from.find_tree(id) {
                Ok(tree) => tree,
                // One that git cannot parse leads nowhere. It is copied as it is, and refused when it would be
                // published: somewhere in a history it must not keep all that came later away.
                Err(e) if e.class() == ErrorClass::Tree => continue,
                Err(e) => return Err(CopyFailure::Reading(e)),
            };
            for entry in &tree {
                match entry.kind() {
                    Some(ObjectType::Tree) => trees.push(entry.id()),
                    Some(ObjectType::Blob) if self.is_new(entry.id()) => self.add(entry.id())?,
                    // A submodule's commit is in another repository.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether an object is neither gathered nor at the other side. Refreshing at each miss would list the
    /// other side's packs once an object.
    fn is_new(&mut self, id: Oid) -> bool {
        !self.to.exists_ext(id, OdbLookupFlags::NO_REFRESH) && self.seen.insert(id)
    }

    fn add(&mut self, id: Oid) -> Result<(), CopyFailure> {
        self.counts.add(1, 0);
        self.pack.insert_object(id, None).map_err(CopyFailure::Reading)
    }
}

/// Writes the pack. It becomes visible by its commit at the end, whole or not at all.
fn write(
    mut pack: PackBuilder<'_>,
    to: &Odb<'_>,
    limit: u64,
    (counts, deadline): (&Counts, &Deadline),
) -> Result<(), CopyFailure> {
    if pack.object_count() == 0 {
        return Ok(());
    }
    let mut writer = to.packwriter().map_err(CopyFailure::Writing)?;
    let mut written = 0_u64;
    let mut failure = None;
    let outcome = pack.foreach(|piece| {
        written += piece.len() as u64;
        counts.add(0, piece.len() as u64);
        let step = if written > limit {
            Err(CopyFailure::TooLarge)
        } else {
            deadline
                .check()
                .and_then(|()| writer.write_all(piece).map_err(CopyFailure::WritingFile))
        };
        failure = step.err();
        failure.is_none()
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    outcome.map_err(CopyFailure::Reading)?;
    writer.commit().map_err(CopyFailure::Writing)?;
    Ok(())
}
