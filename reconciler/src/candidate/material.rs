//! What is read of a revision before it is judged, and judging it: the same for the reconciler, `lockstep
//! validate` and `lockstep plan`.
//!
//! Only what validating and planning look at is loaded; everything else is known by its hash.

use std::sync::Arc;

use lockstep_core::diagnostic::{Code, Diagnostic, Report, Sources};
use lockstep_core::plan::Snapshot;
use lockstep_core::policy::{Approvals, OperatorPolicy, POLICY_PATH, Policy, gather};
use lockstep_core::secret::{Scanned, scan};
use lockstep_core::tree::Tree;
use lockstep_core::validate::{Candidate, Scope, Way, asks_for_past, asks_for_way, published_path, validate};
use lockstep_protocol::Revision;
use lockstep_source::{CommitFacts, Limits, Mirror, Reason, Refusal, SourceError};

use super::Reader;

/// How many commits are looked at one by one, for rules about the old value. Of more, the oldest and then a leap.
const MOST_STEPS: usize = 1_000;

/// A revision's facts, published tree and the files that judging it needs.
#[derive(Debug, Clone)]
pub struct Material {
    pub(super) commit: CommitFacts,
    pub(super) tree: Tree,
    pub(super) files: Sources,
    pub(super) prefix: String,
    /// Whether somebody made the commit: one that was made only to be looked at has a name that means nothing.
    pub(super) committed: bool,
    /// What was found looking for secrets, once that was done.
    pub(super) scanned: Option<Scanned>,
}

impl Material {
    /// Reads a revision that is in the mirror. What an older one has unchanged is not read again.
    ///
    /// # Errors
    /// When the mirror cannot be read, or the revision cannot be published: [`refusal`] tells the two apart.
    pub fn read(
        mirror: &Mirror,
        revision: &Revision,
        older: Option<&Self>,
        readers: &[Reader],
        scope: Scope<'_>,
    ) -> Result<Self, SourceError> {
        let commit = mirror.commit(revision)?;
        let limits = limits(mirror.file(revision, POLICY_PATH)?.as_deref());
        let known = older.map(|older| (&older.commit.revision, &older.tree));
        let tree = mirror.tree_within(revision, known, &limits)?;
        let prefix = mirror.spec().path.clone();
        let reads: Vec<_> = readers.iter().map(|reader| &reader.reads).collect();
        let blobs = mirror.blobs()?;
        let most = mirror.spec().limits.file_bytes;
        let base = older.map(|older| &older.files);
        let files = gather(&tree, &prefix, scope, &reads, base, |path| {
            let published = published_path(&prefix, path).and_then(|path| tree.get(&path));
            let contents = match published {
                // By its id: by its path, all folders above it would be read for each file of them anew.
                Some(file) if file.size <= most => blobs.read(file.blob).map(Some),
                Some(_) | None => mirror.file(revision, path),
            };
            contents.map(|contents| contents.map(Arc::from))
        })?;
        Ok(Self {
            commit,
            tree,
            files,
            prefix,
            committed: true,
            scanned: None,
        })
    }

    /// One whose files lie on the volume: what is known of it is what is at hand.
    pub(super) fn of_release(commit: CommitFacts, tree: Tree, files: Sources, prefix: String) -> Self {
        Self {
            commit,
            tree,
            files,
            prefix,
            committed: true,
            scanned: None,
        }
    }

    /// Reads what the operator's policy judges, and has its text at hand where it is pointed at.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn with_operator(
        mut self,
        mirror: &Mirror,
        operator: Option<&OperatorPolicy>,
    ) -> Result<Self, SourceError> {
        with_operator(&mut self.files, mirror, &self.commit.revision, operator)?;
        Ok(self)
    }

    /// Looks for secrets in what differs from a base. What they are found in is kept, so that their places can be told.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn scan(
        &mut self,
        mirror: &Mirror,
        base: Option<&Self>,
        operator: Option<&OperatorPolicy>,
    ) -> Result<(), SourceError> {
        let blobs = mirror.blobs()?;
        let most = mirror.spec().limits.file_bytes;
        let base = base.map(Self::candidate);
        let (scanned, files) = scan(
            &self.candidate(),
            base.as_ref(),
            operator.map(|it| &it.policy),
            |path| {
                match self.tree.get(path) {
                    // One that is too large is refused as such.
                    Some(file) if file.size <= most => {
                        blobs.read(file.blob).map(|contents| Some(Arc::from(contents)))
                    }
                    Some(_) | None => Ok(Some(Arc::from([]))),
                }
            },
        )?;
        self.files.extend(files);
        self.scanned = Some(scanned);
        Ok(())
    }

    /// The same, of a commit that was made only to be looked at: it goes without its name.
    #[must_use]
    pub fn uncommitted(self) -> Self {
        Self {
            committed: false,
            ..self
        }
    }

    /// Judges it against a base. `settled_before` says whether these files did, if that is asked.
    ///
    /// # Errors
    /// When the commits between the two cannot be read.
    pub fn judge(
        &self,
        mirror: &Mirror,
        base: Option<&Self>,
        scope: Scope<'_>,
        judging: Judging<'_>,
        settled_before: impl FnOnce() -> bool,
    ) -> Result<Report, SourceError> {
        let candidate = self.candidate();
        let base = base.map(Self::candidate);
        let operator = judging.operator;
        let plain = Way {
            scanned: self.scanned.as_ref(),
            operator,
            approvals: match judging.asked {
                Asked::ToPublish => Approvals::Given {
                    author: &self.commit.author,
                    // Nothing that proves one is known yet.
                    by: &[],
                },
                Asked::Ahead | Asked::ToTakeUp => Approvals::Ahead,
            },
            was_live: judging.asked == Asked::ToTakeUp,
            ..Way::default()
        };
        let Some(base) = base.filter(|base| asks_for_past(&candidate, base, operator)) else {
            return Ok(validate(&candidate, base.as_ref(), plain, scope));
        };
        let between = match base
            .revision
            .filter(|_| asks_for_way(&candidate, &base, operator))
        {
            Some(since) => self.since(mirror, since, operator)?,
            None => Vec::new(),
        };
        let between: Vec<_> = between.iter().map(Self::candidate).collect();
        let way = Way {
            between: &between,
            settled_before: settled_before(),
            ..plain
        };
        Ok(validate(&candidate, Some(&base), way, scope))
    }

    /// The commits that lead here from a base along first parents, without this one; of each what rules look at.
    fn since(
        &self,
        mirror: &Mirror,
        base: &Revision,
        operator: Option<&OperatorPolicy>,
    ) -> Result<Vec<Self>, SourceError> {
        // Of another history, there is no way from the one to the other but this leap.
        if !mirror.has(base) || !mirror.is_ancestor(base, &self.commit.revision)? {
            return Ok(Vec::new());
        }
        let mut line = mirror.first_parents_since(&self.commit.revision, base, MOST_STEPS)?;
        line.pop();
        let step = |revision: &Revision| {
            let tree = Tree::default();
            let mut files = gather(&tree, &self.prefix, Scope::All, &[], Some(&self.files), |path| {
                let contents = mirror.file(revision, path);
                contents.map(|contents| contents.map(Arc::from))
            })?;
            with_operator(&mut files, mirror, revision, operator)?;
            Ok(Self {
                commit: mirror.commit(revision)?,
                tree,
                files,
                prefix: self.prefix.clone(),
                committed: true,
                scanned: None,
            })
        };
        // What was no tree that can be read never went live, and is no step.
        let read = |revision: &Revision| match step(revision) {
            Err(SourceError::FileRefused { .. }) => None,
            step => Some(step),
        };
        line.iter().filter_map(read).collect()
    }

    /// The contents that diagnostics point into.
    #[must_use]
    pub fn files(&self) -> &Sources {
        &self.files
    }

    /// What a plan compares, whether or not it would be allowed to go live.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.candidate(), None)
    }

    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate {
            revision: self.committed.then_some(&self.commit.revision),
            prefix: &self.prefix,
            tree: &self.tree,
            files: &self.files,
        }
    }
}

/// For what a revision is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It goes live if it passes.
    ToPublish,
    /// Somebody wants to know before: in a hook, a check or a plan.
    Ahead,
    /// It lies on the volume already.
    ToTakeUp,
}

/// Where a revision is judged, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// For what.
    pub asked: Asked,
    /// The operator's own policy, where it is known.
    pub operator: Option<&'a OperatorPolicy>,
}

fn with_operator(
    files: &mut Sources,
    mirror: &Mirror,
    revision: &Revision,
    operator: Option<&OperatorPolicy>,
) -> Result<(), SourceError> {
    let Some(operator) = operator else { return Ok(()) };
    for path in operator.documents() {
        if !files.contains_key(path)
            && let Some(contents) = mirror.file(revision, path)?
        {
            files.insert(path.to_owned(), Arc::from(contents));
        }
    }
    files.insert(operator.path.clone(), Arc::clone(&operator.text));
    Ok(())
}

/// The limits that bound what is read at all: the policy's own, within which validation judges the rest.
pub(super) fn limits(policy: Option<&[u8]>) -> Limits {
    let limits = policy
        .map(|policy| Policy::read(policy).0.limits)
        .unwrap_or_default();
    Limits {
        file_bytes: limits.file_bytes,
        files: limits.files,
        total_bytes: limits.total_bytes,
    }
}

/// What to do when the published folder is none.
const PUBLISHED: &str = "commit that folder, or correct `[source] path` in the settings";

/// Why a revision cannot be published, as diagnostics like all others.
///
/// # Errors
/// The error itself, when it says nothing about the revision.
pub fn refusal(error: SourceError) -> Result<Report, SourceError> {
    match error {
        SourceError::Refused(refused) => Ok(Report::new(refused.refusals.iter().map(entry))),
        SourceError::FileRefused { path, why, .. } => Ok(Report::new(vec![Diagnostic::error(
            Code::NotPublishable,
            &path,
            why,
        )])),
        SourceError::PathMissing {
            path, inside, exists, ..
        } => {
            let within = if inside.is_empty() {
                "the top".to_owned()
            } else {
                format!("`{inside}`")
            };
            let found = if exists.is_empty() {
                "nothing".to_owned()
            } else {
                exists.join(", ")
            };
            let message = format!("there is no folder `{path}` to publish; {within} holds {found}");
            let missing = Diagnostic::error(Code::NotPublishable, &path, message);
            Ok(Report::new(vec![missing.with_help(PUBLISHED)]))
        }
        SourceError::PathNotAFolder { path, what, .. } => {
            let message = format!("`{path}` is {what}, where a folder is to be published");
            let other = Diagnostic::error(Code::NotPublishable, &path, message);
            Ok(Report::new(vec![other.with_help(PUBLISHED)]))
        }
        error => Err(error),
    }
}

fn entry(refusal: &Refusal) -> Diagnostic {
    let code = match refusal.reason {
        Reason::FileTooLarge { .. } => Code::FileSize,
        Reason::TooManyFiles { .. } | Reason::TooManyFolders { .. } => Code::FileCount,
        Reason::TooManyBytes { .. } => Code::TotalSize,
        Reason::Symlink
        | Reason::Submodule
        | Reason::Device
        | Reason::UnknownMode(_)
        | Reason::NotUtf8
        | Reason::UnsafeName
        | Reason::Duplicate
        | Reason::Malformed
        | Reason::EmptyFolder
        | Reason::CaseCollision { .. }
        | Reason::ReservedName { .. }
        | Reason::TooLong { .. } => Code::NotPublishable,
    };
    let path = if refusal.path.is_empty() {
        "."
    } else {
        &refusal.path
    };
    let name = if refusal.path.is_empty() {
        "the repository".to_owned()
    } else {
        format!("`{}`", refusal.path)
    };
    Diagnostic::error(code, path, format!("{name} {}", refusal.reason.why()))
        .with_help(as_phrase(refusal.reason.next_step()))
}

/// A sentence as diagnostics write their help: beginning in lower case.
fn as_phrase(sentence: &str) -> String {
    let mut rest = sentence.chars();
    rest.next()
        .map(|first| first.to_lowercase().chain(rest).collect())
        .unwrap_or_default()
}
