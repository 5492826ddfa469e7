//! The mirror: a bare repository in the state folder, and the handle that everything else here hangs on.
//!
//! It holds the history of one branch (`refs/heads/<branch>`) and of each kept revision
//! (`refs/lockstep/kept/<revision>`). It is a copy and can always be remade; the kept revisions are the one
//! thing that the source may no longer have, so they are carried over wherever that is possible.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{Commit, ErrorClass, ErrorCode, Oid, Reference, Repository, RepositoryInitOptions};
use lockstep_core::counts::Counts;
use lockstep_protocol::{Digest, Revision};

use crate::access::Stamp;
use crate::net::hang_up::HangUp;
use crate::net::secret::LastGood;
use crate::spec::{Transport, published_folder, shown_url};
use crate::{Blobs, SourceError, SourceSpec, heal, libgit, mend};

/// Where kept revisions are named.
pub(crate) const KEPT: &str = "refs/lockstep/kept/";
/// Where the mirror remembers which URL it was fetched from, as a hash: a URL may hold a password.
const FETCHED_FROM: &str = "lockstep.fetchedfrom";

/// A bare copy of the followed branch's history.
///
/// All of it blocks; run it on a thread of its own. One mirror serves one thread at a time.
pub struct Mirror {
    pub(crate) dir: PathBuf,
    pub(crate) spec: SourceSpec,
    pub(crate) transport: Transport,
    /// The URL as messages show it.
    pub(crate) url: String,
    pub(crate) repo: Repository,
    /// The credentials that the server took last.
    pub(crate) last_good: LastGood,
    pub(crate) hang_up: HangUp,
    pub(crate) counts: Arc<Counts>,
}

impl Mirror {
    /// Opens the mirror in a folder, or makes it there. Does not talk to the source.
    ///
    /// A mirror of another URL gives up its branch, so that the next fetch begins anew; one that git does not
    /// recognise is remade around what is left of it.
    ///
    /// # Errors
    /// When the spec cannot be used or the folder cannot be written.
    pub fn open(dir: impl Into<PathBuf>, spec: SourceSpec) -> Result<Self, SourceError> {
        libgit::set_up();
        spec.check()?;
        let dir = dir.into();
        let transport = Transport::of(&spec.url)?;
        let spec = SourceSpec {
            path: published_folder(&spec.path)?,
            ..spec
        };
        heal::finish_interrupted(&dir)?;
        mend::after_a_crash(&dir);
        let repo = open_or_make(&dir)?;
        let mirror = Self {
            dir,
            url: shown_url(&spec.url),
            spec,
            transport,
            repo,
            last_good: LastGood::default(),
            hang_up: HangUp::default(),
            counts: Arc::default(),
        };
        mirror.forget_other_sources()?;
        Ok(mirror)
    }

    /// The spec that is followed; its path in one spelling.
    #[must_use]
    pub fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    /// The URL as it may be shown: without credentials.
    #[must_use]
    pub fn shown_url(&self) -> &str {
        &self.url
    }

    /// How far a fetch has come (objects), or the reading of a tree (files): for whoever shows it.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// A handle that reads blobs from any thread, also while this one is busy.
    ///
    /// # Errors
    /// When the mirror cannot be opened a second time.
    pub fn blobs(&self) -> Result<Blobs, SourceError> {
        Blobs::open(self.dir.clone())
    }

    /// Keeps a revision and its history from being collected, until it is unpinned.
    ///
    /// # Errors
    /// When the mirror has no such revision or cannot be written.
    pub fn pin(&self, revision: &Revision) -> Result<(), SourceError> {
        let commit = self.find_commit(revision)?;
        let name = format!("{KEPT}{revision}");
        self.repo
            .reference(&name, commit.id(), true, "kept")
            .map_err(|e| self.broken("pinning", &e))?;
        Ok(())
    }

    /// Lets a revision go. One that is not pinned is no error.
    ///
    /// # Errors
    /// When the mirror cannot be written.
    pub fn unpin(&self, revision: &Revision) -> Result<(), SourceError> {
        match self.repo.find_reference(&format!("{KEPT}{revision}")) {
            Ok(mut pin) => pin.delete().map_err(|e| self.broken("unpinning", &e)),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(()),
            Err(e) => Err(self.broken("unpinning", &e)),
        }
    }

    /// The pinned revisions, in order of their ids.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn pinned(&self) -> Result<Vec<Revision>, SourceError> {
        let mut pinned: Vec<_> = pins(&self.repo).map_err(|e| self.broken("reading its refs", &e))?;
        pinned.sort_unstable();
        Ok(pinned.into_iter().map(libgit::revision).collect())
    }

    /// The revision that the branch had at the last fetch.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn fetched(&self) -> Result<Option<Revision>, SourceError> {
        Ok(self.head()?.map(libgit::revision))
    }

    /// Ends from another thread what this one says to its server.
    #[must_use]
    pub fn hang_up(&self) -> HangUp {
        self.hang_up.clone()
    }

    /// What the files with which the server is asked are now: it differs once one was replaced, came or went.
    #[must_use]
    pub fn access_stamps(&self) -> Vec<Option<Stamp>> {
        self.spec.access.stamps()
    }

    /// Whether a revision is here.
    #[must_use]
    pub fn has(&self, revision: &Revision) -> bool {
        libgit::oid(revision).is_some_and(|oid| self.repo.find_commit(oid).is_ok())
    }

    /// The name of the followed branch's ref.
    pub(crate) fn branch_ref(&self) -> String {
        format!("refs/heads/{}", self.spec.branch)
    }

    /// Where the branch's ref points, whether or not the commit can be read.
    pub(crate) fn head(&self) -> Result<Option<Oid>, SourceError> {
        match self.repo.find_reference(&self.branch_ref()) {
            Ok(reference) => Ok(reference.target()),
            Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
            Err(e) => Err(self.broken("reading its refs", &e)),
        }
    }

    /// Moves the branch's ref to a commit that has been fetched, wherever it pointed before: whether a rewind
    /// is allowed is not decided here.
    pub(crate) fn set_head(&self, head: Oid) -> Result<(), SourceError> {
        let name = self.branch_ref();
        self.repo
            .reference(&name, head, true, "fetched")
            .map_err(|e| self.broken("writing its refs", &e))?;
        Ok(())
    }

    /// The commit of a revision. One that a ref names and that cannot be read is damage, not ignorance.
    pub(crate) fn find_commit(&self, revision: &Revision) -> Result<Commit<'_>, SourceError> {
        let unknown = || SourceError::UnknownRevision {
            url: self.url.clone(),
            text: revision.to_string(),
            why: "no such commit was fetched. Push it to the followed branch, or check the id".to_owned(),
        };
        let oid = libgit::oid(revision).ok_or_else(unknown)?;
        self.repo.find_commit(oid).map_err(|e| match e.code() {
            ErrorCode::NotFound if self.is_named(oid) => self.damaged(&e),
            ErrorCode::NotFound | ErrorCode::InvalidSpec => unknown(),
            _ => self.damaged(&e),
        })
    }

    /// Whether one of our refs points at this object.
    fn is_named(&self, oid: Oid) -> bool {
        let named = |refs: git2::References<'_>| refs.flatten().any(|r| r.target() == Some(oid));
        self.repo.references().is_ok_and(named)
    }

    /// The error for an object of ours that cannot be read.
    pub(crate) fn damaged(&self, error: &git2::Error) -> SourceError {
        SourceError::Corrupt {
            dir: self.dir.clone(),
            why: error.message().to_owned(),
        }
    }

    /// The error for a failure of the mirror's own folder.
    pub(crate) fn broken(&self, doing: &'static str, error: &git2::Error) -> SourceError {
        match error.class() {
            _ if error.code() == ErrorCode::Locked => SourceError::MirrorIo {
                dir: self.dir.clone(),
                doing,
                why: error.message().to_owned(),
            },
            ErrorClass::Reference
            | ErrorClass::Odb
            | ErrorClass::Object
            | ErrorClass::Zlib
            | ErrorClass::Indexer => self.damaged(error),
            _ => SourceError::MirrorIo {
                dir: self.dir.clone(),
                doing,
                why: error.message().to_owned(),
            },
        }
    }

    /// Gives up the refs of branches and URLs that are no longer followed. Kept revisions stay: a release may
    /// still be built from them.
    fn forget_other_sources(&self) -> Result<(), SourceError> {
        let io = |e: git2::Error| self.broken("reading its configuration", &e);
        let now = Digest::of_bytes(self.spec.url.as_bytes()).hex();
        let mut config = self.repo.config().map_err(io)?;
        let before = config.get_string(FETCHED_FROM).ok();
        let same = before.as_deref() == Some(now.as_str());
        for mut branch in self.repo.references_glob("refs/heads/*").map_err(io)?.flatten() {
            if !same || branch.name().is_ok_and(|name| name != self.branch_ref()) {
                branch.delete().map_err(|e| self.broken("writing its refs", &e))?;
            }
        }
        if !same {
            if before.is_some() {
                tracing::info!(url = %self.url, mirror = %self.dir.display(), "the source has another url now: it is fetched anew");
            }
            config.set_str(FETCHED_FROM, &now).map_err(io)?;
        }
        // Only when it is another one: two processes may open the mirror at once.
        let followed = self
            .repo
            .find_reference("HEAD")
            .map_err(|e| self.broken("reading its refs", &e))?;
        if followed.symbolic_target().ok().flatten() != Some(&self.branch_ref()) {
            self.repo
                .set_head(&self.branch_ref())
                .map_err(|e| self.broken("writing its refs", &e))?;
        }
        Ok(())
    }
}

/// The pinned commits of a repository, by their refs' names.
pub(crate) fn pins(repo: &Repository) -> Result<Vec<Oid>, git2::Error> {
    let refs = repo.references_glob(&format!("{KEPT}*"))?;
    let named = |r: Reference<'_>| Oid::from_str(r.name().ok()?.strip_prefix(KEPT)?).ok();
    Ok(refs.flatten().filter_map(named).collect())
}

/// Opens the bare repository of a folder. Where git sees none (a new folder, a lost HEAD), one is made around
/// what is there: objects and refs that are left stay in use.
fn open_or_make(dir: &Path) -> Result<Repository, SourceError> {
    if dir.join("objects").is_dir() {
        match Repository::open_bare(dir) {
            Ok(repo) => return Ok(repo),
            Err(e) => {
                tracing::warn!(mirror = %dir.display(), why = e.message(), "the mirror is damaged: it is remade");
            }
        }
    }
    if let Ok(repo) = make(dir) {
        return Ok(repo);
    }
    // Something is in the way: a configuration that was cut short, or anything at all, such as a file where
    // the folder belongs.
    if dir.join("config").is_file() {
        heal::remove(&dir.join("config"))?;
        if let Ok(repo) = make(dir) {
            return Ok(repo);
        }
    }
    heal::remove(dir)?;
    make(dir)
}

/// Makes a bare repository.
pub(crate) fn make(dir: &Path) -> Result<Repository, SourceError> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).mkpath(true).external_template(false);
    Repository::init_opts(dir, &options).map_err(|e| SourceError::MirrorIo {
        dir: dir.to_owned(),
        doing: "making it",
        why: e.message().to_owned(),
    })
}
