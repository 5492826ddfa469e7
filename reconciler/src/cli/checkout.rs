//! A config repository as people have it before them: a git clone, or a plain folder of files.
//!
//! What is looked at always becomes a commit first (the one that `git add --all && git commit` would make), so
//! that it is judged by the very code that judges it later in the reconciler. That commit is made in memory and
//! copied to a scratch mirror: nothing is ever written into the clone or the folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use git2::{Buf, Index, IndexAddOption, ObjectType, Oid, Repository, RepositoryInitOptions, Signature};
use lockstep_core::policy::POLICY_PATH;
use lockstep_protocol::Revision;
use lockstep_source::{Mirror, SourceError, SourceSpec};
use tempfile::TempDir;

/// The mirror's name in the scratch folder.
const MIRROR: &str = "mirror.git";

/// Why a config repository on disk cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckoutError {
    /// The path does not exist.
    #[error("{path} cannot be looked at: {source}")]
    Path { path: PathBuf, source: std::io::Error },
    /// Git cannot do something.
    #[error("the git repository in {root} cannot be used: {doing}: {reason}")]
    Git {
        root: PathBuf,
        doing: &'static str,
        reason: String,
    },
    /// A plain folder has no revisions.
    #[error(
        "{root} is no git clone, so it has no revisions: give a path, or go to a clone of the config repository"
    )]
    NoClone { root: PathBuf },
    /// A text names nothing.
    #[error(
        "{text:?} names no commit in {root}, and there is no such file or folder: give a path, a commit id or a branch"
    )]
    UnknownRevision { root: PathBuf, text: String },
    /// Half of a merge.
    #[error("{root} has unresolved conflicts: resolve them and `git add` the files first")]
    Conflicts { root: PathBuf },
    /// The scratch folder cannot be used.
    #[error("the scratch folder {path} cannot be used: {source}; TMPDIR names another place")]
    Scratch { path: PathBuf, source: std::io::Error },
    /// The copy in the scratch folder cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// A clone or a folder, with a scratch mirror beside it.
pub(super) struct Checkout {
    root: PathBuf,
    repo: Repository,
    clone: bool,
    mirror: Mirror,
    /// Where the mirror lies; removed with this value.
    scratch: TempDir,
}

impl Checkout {
    /// The root of the config repository that a path lies in: the nearest folder upwards that has a policy or is
    /// a git clone, else the folder itself.
    pub(super) fn root_of(path: &Path) -> Result<PathBuf, CheckoutError> {
        let failed = |source| CheckoutError::Path {
            path: path.to_owned(),
            source,
        };
        let path = std::fs::canonicalize(path).map_err(failed)?;
        let folder = if path.is_dir() {
            path.as_path()
        } else {
            path.parent().unwrap_or(&path)
        };
        let root = folder
            .ancestors()
            .find(|folder| folder.join(POLICY_PATH).is_file() || folder.join(".git").exists());
        Ok(root.unwrap_or(folder).to_owned())
    }

    /// Opens a root; `published` is the folder in it that is published, empty for all of it.
    pub(super) fn open(root: &Path, published: &str) -> Result<Self, CheckoutError> {
        let git = |doing| failed(root, doing);
        let (scratch, bare) = scratch(root)?;
        let clone = root.join(".git").exists();
        let (repo, objects) = if clone {
            let repo = Repository::open(root).map_err(git("it is opened"))?;
            let objects = vec![repo.commondir().join("objects")];
            (repo, objects)
        } else {
            bare.set_workdir(root, false)
                .map_err(git("its files are looked at"))?;
            (bare, Vec::new())
        };
        Self::beside(scratch, repo, root.to_owned(), clone, &objects, published)
    }

    /// Looks at the mirror of a reconciler, which may be running: nothing is written there.
    pub(super) fn of_mirror(folder: &Path, published: &str) -> Result<Self, CheckoutError> {
        let (scratch, _) = scratch(folder)?;
        let repo = Repository::open_bare(folder).map_err(failed(folder, "it is opened"))?;
        let objects = [repo.commondir().join("objects")];
        Self::beside(scratch, repo, folder.to_owned(), true, &objects, published)
    }

    /// The repository that git runs a hook in; `objects` are the folders in which git itself looks for objects
    /// there, those of a push that is not taken yet included.
    pub(super) fn of_hook(
        repo: Repository,
        objects: &[PathBuf],
        published: &str,
    ) -> Result<Self, CheckoutError> {
        let root = repo.workdir().unwrap_or_else(|| repo.path()).to_owned();
        let (scratch, _) = scratch(&root)?;
        let mut all = vec![repo.commondir().join("objects")];
        all.extend_from_slice(objects);
        Self::beside(scratch, repo, root, true, &all, published)
    }

    /// With a mirror in the scratch folder that reads objects where they lie.
    fn beside(
        scratch: TempDir,
        repo: Repository,
        root: PathBuf,
        clone: bool,
        objects: &[PathBuf],
        published: &str,
    ) -> Result<Self, CheckoutError> {
        let folder = scratch.path().join(MIRROR);
        if !objects.is_empty() {
            let lines: String = objects
                .iter()
                .map(|folder| format!("{}\n", folder.display()))
                .collect();
            let alternates = folder.join("objects/info/alternates");
            std::fs::write(&alternates, lines).map_err(|source| CheckoutError::Scratch {
                path: alternates.clone(),
                source,
            })?;
        }
        let spec = SourceSpec::new(root.to_string_lossy(), "main").publishing(published);
        let mirror = Mirror::open(folder, spec)?;
        Ok(Self {
            root,
            repo,
            clone,
            mirror,
            scratch,
        })
    }

    /// The mirror in which everything that was asked for here is found.
    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Whether this is a git clone.
    pub(super) fn is_clone(&self) -> bool {
        self.clone
    }

    /// Where git keeps what it knows of the repository, for all of its work trees.
    pub(super) fn git_folder(&self) -> &Path {
        self.repo.commondir()
    }

    /// What a commit of all files as they lie there would be.
    pub(super) fn working_tree(&self) -> Result<Revision, CheckoutError> {
        self.commit_of(self.index()?, |index| {
            index.add_all(["*"], IndexAddOption::DEFAULT, None)
        })
    }

    /// What a commit of what is staged would be.
    pub(super) fn staged(&self) -> Result<Revision, CheckoutError> {
        if !self.clone {
            return Err(CheckoutError::NoClone {
                root: self.root.clone(),
            });
        }
        let index = match std::env::var_os("GIT_INDEX_FILE") {
            // `git commit FILE` and `git commit --all` prepare another index, and tell hooks so.
            Some(file) => Index::open(Path::new(&file)).map_err(failed(&self.root, "its index is read"))?,
            None => self.index()?,
        };
        self.commit_of(index, |_| Ok(()))
    }

    fn index(&self) -> Result<Index, CheckoutError> {
        self.repo.index().map_err(failed(&self.root, "its index is read"))
    }

    /// The commit that a text names in the clone.
    pub(super) fn named(&self, text: &str) -> Result<Revision, CheckoutError> {
        if !self.clone {
            return Err(CheckoutError::NoClone {
                root: self.root.clone(),
            });
        }
        let found = self
            .repo
            .revparse_single(text)
            .and_then(|object| object.peel(ObjectType::Commit));
        match found {
            Ok(commit) => Ok(revision(commit.id())),
            Err(_) => Err(CheckoutError::UnknownRevision {
                root: self.root.clone(),
                text: text.to_owned(),
            }),
        }
    }

    /// What a change here is measured against: the upstream of the branch, else HEAD; with how people call it.
    /// Nothing before the first commit.
    pub(super) fn base(&self) -> Option<(String, Revision)> {
        if !self.clone {
            return None;
        }
        let head = self.repo.head().ok()?;
        let upstream = head
            .name()
            .ok()
            .and_then(|name| self.repo.branch_upstream_name(name).ok());
        let upstream = upstream.and_then(|name| {
            let reference = self.repo.find_reference(name.as_str().ok()?).ok()?;
            Some((
                reference.shorthand().ok()?.to_owned(),
                reference.peel_to_commit().ok()?.id(),
            ))
        });
        let (name, commit) = match upstream {
            Some(upstream) => upstream,
            None => ("HEAD".to_owned(), head.peel_to_commit().ok()?.id()),
        };
        Some((name, revision(commit)))
    }

    /// The first parent of a commit.
    pub(super) fn before(&self, commit: &Revision) -> Option<Revision> {
        Some(revision(
            self.repo
                .find_commit(Oid::from_str(commit.as_str()).ok()?)
                .ok()?
                .parent_id(0)
                .ok()?,
        ))
    }

    /// Makes a commit of the index as `change` leaves it, in memory, and copies it to the scratch mirror.
    fn commit_of(
        &self,
        mut index: Index,
        change: impl FnOnce(&mut Index) -> Result<(), git2::Error>,
    ) -> Result<Revision, CheckoutError> {
        let git = |doing| failed(&self.root, doing);
        let odb = self.repo.odb().map_err(git("its objects are opened"))?;
        // First in line: whatever is written from here on is written there, and only there.
        let memory = odb
            .add_new_mempack_backend(i32::MAX)
            .map_err(git("its objects are opened"))?;
        change(&mut index).map_err(git("its files are read"))?;
        if index.has_conflicts() {
            return Err(CheckoutError::Conflicts {
                root: self.root.clone(),
            });
        }
        let tree = index
            .write_tree_to(&self.repo)
            .and_then(|tree| self.repo.find_tree(tree))
            .map_err(git("its files are gathered"))?;
        let parent = self.repo.head().and_then(|head| head.peel_to_commit()).ok();
        let parents: Vec<_> = parent.iter().collect();
        let nobody = Signature::now("nobody", "nobody@localhost").map_err(git("a commit is made"))?;
        let commit = self
            .repo
            .commit(None, &nobody, &nobody, "not committed yet", &tree, &parents)
            .map_err(git("a commit is made"))?;
        let mut pack = Buf::new();
        memory
            .dump(&self.repo, &mut pack)
            .map_err(git("a commit is made"))?;
        self.bring(&pack)?;
        Ok(revision(commit))
    }

    /// Puts a pack into the scratch mirror.
    fn bring(&self, pack: &[u8]) -> Result<(), CheckoutError> {
        let folder = self.scratch.path().join(MIRROR);
        let scratch = |source| CheckoutError::Scratch {
            path: folder.clone(),
            source,
        };
        let git = |error: git2::Error| scratch(std::io::Error::other(error.message().to_owned()));
        let repo = Repository::open_bare(&folder).map_err(git)?;
        let odb = repo.odb().map_err(git)?;
        let mut writer = odb.packwriter().map_err(git)?;
        writer.write_all(pack).map_err(scratch)?;
        writer.commit().map_err(git)?;
        Ok(())
    }
}

/// A bare repository in a folder that goes with the value.
fn scratch(root: &Path) -> Result<(TempDir, Repository), CheckoutError> {
    let made = tempfile::Builder::new().prefix("lockstep-look-").tempdir();
    let scratch = made.map_err(|source| CheckoutError::Scratch {
        path: std::env::temp_dir(),
        source,
    })?;
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false);
    let bare = Repository::init_opts(scratch.path().join(MIRROR), &options)
        .map_err(failed(root, "a scratch repository is made"))?;
    Ok((scratch, bare))
}

fn failed(root: &Path, doing: &'static str) -> impl Fn(git2::Error) -> CheckoutError {
    let root = root.to_owned();
    move |error| CheckoutError::Git {
        root: root.clone(),
        doing,
        reason: error.message().to_owned(),
    }
}

fn revision(id: Oid) -> Revision {
    Revision::new(&id.to_string()).expect("git writes object ids as lowercase hexadecimal")
}
