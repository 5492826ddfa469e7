//! Looking at the source and fetching from it: one listing a look, and no transfer unless the head is new.
//!
//! Whether a head may be used (a rewind, a quarantine, a window) is not decided here: the mirror takes any.

use git2::{ErrorClass, Oid};
use lockstep_protocol::Revision;

use crate::spec::Transport;
use crate::{Mirror, SourceError, libgit, local, remote};

/// What the followed branch is at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// The branch's newest commit.
    Revision(Revision),
    /// There are branches, but not this one.
    BranchMissing {
        /// Those that exist.
        branches: Vec<String>,
    },
    /// There is no branch at all.
    Empty,
}

/// What one look at the source saw.
pub(crate) struct Listing {
    /// Where the branch points.
    pub(crate) head: Option<Oid>,
    /// The branches that exist; a transport may leave them out when `head` is there.
    pub(crate) branches: Vec<String>,
}

impl Mirror {
    /// Looks where the branch is: one listing of the source's refs, and nothing is fetched.
    ///
    /// # Errors
    /// When the source cannot be reached or is no repository. A missing branch is an answer, not an error.
    pub fn list_head(&self) -> Result<Head, SourceError> {
        let listing = match &self.transport {
            Transport::Local(path) => local::list(&local::open(path, &self.url)?, self)?,
            Transport::Remote(_) => remote::list(self)?,
        };
        Ok(match listing.head {
            Some(head) => Head::Revision(libgit::revision(head)),
            None if listing.branches.is_empty() => Head::Empty,
            None => Head::BranchMissing {
                branches: listing.branches,
            },
        })
    }

    /// Brings the branch's newest commit and its history here, and tells which it is.
    ///
    /// One connection: it lists first, and transfers only when the head is not here already.
    ///
    /// # Errors
    /// Whatever [`SourceError::next`] says: the branch stays where it was.
    pub fn fetch(&self) -> Result<Revision, SourceError> {
        self.check_head()?;
        self.counts.begin(0);
        let head = match &self.transport {
            Transport::Local(path) => local::fetch(&local::open(path, &self.url)?, self)?,
            Transport::Remote(_) => remote::fetch(self)?,
        };
        if self.head()? != Some(head) {
            self.check(head)?;
            self.set_head(head)?;
        }
        Ok(libgit::revision(head))
    }

    /// Both sides of a fetch rely on what our refs promise: that the commit and its tree are here.
    fn check_head(&self) -> Result<(), SourceError> {
        match self.head()? {
            Some(head) => self.check(head),
            None => Ok(()),
        }
    }

    /// Whether a commit and its tree are here. Objects that git cannot parse are as they were committed: that is
    /// no damage, and making the mirror anew would bring them again.
    fn check(&self, head: Oid) -> Result<(), SourceError> {
        let commit = self.repo.find_commit(head).map_err(|e| match e.class() {
            ErrorClass::Object => SourceError::UnknownRevision {
                url: self.url.clone(),
                text: head.to_string(),
                why: format!(
                    "git cannot parse it ({}). Commit it again with git itself",
                    e.message()
                ),
            },
            _ => self.damaged(&e),
        })?;
        match commit.tree() {
            Err(e) if e.class() != ErrorClass::Tree => Err(self.damaged(&e)),
            _ => Ok(()),
        }
    }

    /// The head in a listing, or the error that names what is there instead.
    pub(crate) fn head_in(&self, listing: Listing) -> Result<Oid, SourceError> {
        let (url, branch) = (self.url.clone(), self.spec.branch.clone());
        match listing.head {
            Some(head) => Ok(head),
            None if listing.branches.is_empty() => Err(SourceError::EmptyRepository { url, branch }),
            None => Err(SourceError::BranchMissing {
                url,
                branch,
                seen: listing.branches,
            }),
        }
    }

    /// Whether a head needs no transfer.
    pub(crate) fn is_here(&self, head: Oid) -> Result<bool, SourceError> {
        Ok(self.head()? == Some(head))
    }
}
