//! Committing a way back: the only place that writes to the source, and only by a push that git itself
//! refuses when the branch has moved meanwhile. Nothing is ever forced.

use git2::{Oid, Signature, Tree};
use lockstep_protocol::Revision;

use crate::remote::Pushed;
use crate::spec::Transport;
use crate::{CommitFacts, Mirror, SourceError, libgit, remote};

/// Why a way back was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The source or the mirror could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The head has these files already.
    #[error("the branch's head {head} has the files of {target} already: there is nothing to commit")]
    NothingToDo {
        /// The head, shortened.
        head: String,
        /// The revision whose files were wanted, shortened.
        target: String,
    },
    /// Later commits touched the same lines.
    #[error(
        "{revision} cannot be undone by itself: later commits touched the same lines of {}. Take the whole \
         tree back with `lockstep rollback --to {parent}`, or revert it by hand",
        paths.join(", ")
    )]
    Conflict {
        /// The revision, shortened.
        revision: String,
        /// Its parent, shortened.
        parent: String,
        /// The files.
        paths: Vec<String>,
    },
    /// A first commit has nothing before it.
    #[error("{0} is the first commit: there is nothing before it to go back to")]
    First(String),
    /// The commit could not be made in the mirror.
    #[error("the commit could not be made: {0}")]
    NotMade(String),
    /// The push broke off in the middle.
    #[error(
        "whether the commit arrived at {url} is not known: {why}. Look at the branch before you try again; if it \
         is there, it goes live like any other"
    )]
    Unknown {
        /// The URL without credentials.
        url: String,
        /// What happened.
        why: String,
    },
    /// The source refused the push.
    #[error(
        "the push to {url} was refused: {why}. Nothing was changed there; if the branch moved meanwhile, try \
         again, and if the server takes no pushes from here, make the commit in a clone"
    )]
    NotPushed {
        /// The URL without credentials.
        url: String,
        /// What the other end said.
        why: String,
    },
}

impl Mirror {
    /// Commits the whole tree of an earlier revision on top of the branch, and pushes it. It cannot conflict.
    ///
    /// `join` is what the branch must not lose: after a rewind it becomes a second parent, so that the branch
    /// descends from it again.
    ///
    /// # Errors
    /// When the head has that tree already, or the source cannot be reached or refuses the push.
    pub fn commit_rollback(
        &self,
        target: &Revision,
        join: Option<&Revision>,
        why: Option<&str>,
    ) -> Result<CommitFacts, CommitError> {
        let head = self.fetch()?;
        let tree = self.find_commit(target)?.tree().map_err(not_made)?;
        let same = self.find_commit(&head)?.tree_id() == tree.id();
        let lost = match join {
            Some(join) if join != &head && !self.is_ancestor(join, &head)? => Some(join),
            Some(_) | None => None,
        };
        if same && lost.is_none() {
            return Err(CommitError::NothingToDo {
                head: head.short().to_owned(),
                target: target.short().to_owned(),
            });
        }
        let subject = format!("Roll back to {}", target.short());
        let parents: Vec<_> = [&head].into_iter().chain(lost).collect();
        let commit = self.make(&parents, &tree, &message(&subject, why))?;
        self.push(commit)
    }

    /// Commits the inverse of one revision on top of the branch, and pushes it.
    ///
    /// # Errors
    /// When later commits touched the same lines, or as [`Mirror::commit_rollback`].
    pub fn commit_revert(&self, revision: &Revision, why: Option<&str>) -> Result<CommitFacts, CommitError> {
        let head = self.fetch()?;
        let commit = self.find_commit(revision)?;
        let Ok(parent) = commit.parent_id(0) else {
            return Err(CommitError::First(revision.short().to_owned()));
        };
        let ours = self.find_commit(&head)?;
        // Of a merge, what it brought into its first parent is undone.
        let mainline = u32::from(commit.parent_count() > 1);
        let mut index = self
            .repo
            .revert_commit(&commit, &ours, mainline, None)
            .map_err(not_made)?;
        if index.has_conflicts() {
            let mut paths: Vec<_> = index
                .conflicts()
                .map_err(not_made)?
                .filter_map(Result::ok)
                .filter_map(|conflict| conflict.our.or(conflict.their).or(conflict.ancestor))
                .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
                .collect();
            paths.sort_unstable();
            paths.dedup();
            return Err(CommitError::Conflict {
                revision: revision.short().to_owned(),
                parent: libgit::revision(parent).short().to_owned(),
                paths,
            });
        }
        let tree = index
            .write_tree_to(&self.repo)
            .and_then(|tree| self.repo.find_tree(tree))
            .map_err(not_made)?;
        if tree.id() == ours.tree_id() {
            return Err(CommitError::NothingToDo {
                head: head.short().to_owned(),
                target: format!("the state before {}", revision.short()),
            });
        }
        let subject = format!("Revert \"{}\"", self.commit(revision)?.subject);
        let body = format!("This reverts commit {revision}.");
        let why = why.map_or(body.clone(), |why| format!("{why}\n\n{body}"));
        let commit = self.make(&[&head], &tree, &message(&subject, Some(&why)))?;
        self.push(commit)
    }

    fn make(&self, parents: &[&Revision], tree: &Tree<'_>, message: &str) -> Result<Oid, CommitError> {
        let parents = parents
            .iter()
            .map(|parent| self.find_commit(parent))
            .collect::<Result<Vec<_>, _>>()?;
        let parents: Vec<_> = parents.iter().collect();
        let signature = Signature::now("Lockstep", "lockstep@localhost").map_err(not_made)?;
        self.repo
            .commit(None, &signature, &signature, message, tree, &parents)
            .map_err(not_made)
    }

    /// Pushes a commit to the branch, without force: the other end refuses it when the branch has moved.
    fn push(&self, commit: Oid) -> Result<CommitFacts, CommitError> {
        let url = self.url.clone();
        let refused = move |why: String| CommitError::NotPushed {
            url: url.clone(),
            why,
        };
        let failed = |error: git2::Error| refused(error.message().to_owned());
        // A ref of our own names it while it is pushed; the branch's own ref moves when it is fetched again.
        let ours = "refs/lockstep/undo";
        self.repo
            .reference(ours, commit, true, "a way back")
            .map_err(not_made)?;
        let pushed = match &self.transport {
            Transport::Local(_) => {
                let mut remote = self.repo.remote_anonymous(&self.spec.url).map_err(failed)?;
                let spec = format!("{ours}:{}", self.branch_ref());
                remote::push_to(&mut remote, &spec, || ()).map_err(failed)?
            }
            Transport::Remote(_) => remote::push(self, ours)?,
        };
        match pushed {
            Pushed::Done => {}
            Pushed::Rejected(why) => return Err(refused(why)),
            Pushed::Unknown(why) => {
                let url = self.url.clone();
                return Err(CommitError::Unknown { url, why });
            }
        }
        self.fetch()?;
        Ok(self.commit(&libgit::revision(commit))?)
    }
}

fn message(subject: &str, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("{subject}\n\n{}\n", why.trim_end()),
        None => format!("{subject}\n"),
    }
}

fn not_made(error: git2::Error) -> CommitError {
    CommitError::NotMade(error.message().to_owned())
}
