//! From a commit to something that may be rolled out: stages as types that cannot be skipped.
//!
//! ```text
//! commit ──fetch──▶ Material ──judge──▶ Validated ──core::plan──▶ Plan ──▶ the rollout
//!                                └─────▶ Refused
//! ```
//!
//! Only [`judge`] makes a [`Validated`] from a commit; [`Validated::from_release`] takes one up again that was
//! published before. The source's thread ([`worker`]) is where this happens: it owns the mirror, and the
//! coordinator hears of the result.

mod change;
mod material;
pub mod worker;

pub use change::{Tallies, judge_change};
pub use material::{Asked, Judging, Material, refusal};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use lockstep_core::admission::Ancestry;
use lockstep_core::diagnostic::{Report, Sources, Style, text};
use lockstep_core::plan::{PlanInput, Snapshot};
use lockstep_core::policy::OperatorPolicy;
use lockstep_core::reads::Reads;
use lockstep_core::service::{Reload, ServiceName};
use lockstep_core::tree::Tree;
use lockstep_core::validate::{Scope, repo_path};
use lockstep_protocol::{Digest, Release, Revision};
use lockstep_source::{CommitFacts, Mirror, SourceError};

/// How much of a report goes into a status or an event.
const LONGEST_REASON: usize = 32 << 10;

/// What a service reads and how it is told: what judging and planning have to know of it.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Its name.
    pub name: ServiceName,
    /// What it reads.
    pub reads: Reads,
    /// How it is told.
    pub reload: Reload,
}

impl Reader {
    /// The readers of the settings.
    #[must_use]
    pub fn all(settings: &crate::settings::Settings) -> Arc<[Self]> {
        settings
            .services
            .iter()
            .map(|service| Self {
                name: service.name.clone(),
                reads: service.reads.clone(),
                reload: service.reload.clone(),
            })
            .collect()
    }

    /// The same, as the plan wants it.
    #[must_use]
    pub fn plan_inputs(readers: &[Self]) -> Vec<PlanInput<'_>> {
        readers
            .iter()
            .map(|reader| PlanInput {
                name: reader.name.as_str(),
                reads: &reader.reads,
                reload_is_restart: reader.reload == Reload::Restart,
            })
            .collect()
    }
}

/// Who has a say in judging: the services by what they read, and the operator.
#[derive(Debug, Clone, Default)]
pub struct Judges {
    /// The services.
    pub readers: Arc<[Reader]>,
    /// The operator's own policy, if there is one.
    pub operator: Option<Arc<OperatorPolicy>>,
}

impl Judges {
    /// Those of the settings.
    #[must_use]
    pub fn all(settings: &crate::settings::Settings) -> Self {
        Self {
            readers: Reader::all(settings),
            operator: settings.policy.clone(),
        }
    }
}

/// A revision that passed its validation.
#[derive(Debug, Clone)]
pub struct Validated {
    material: Material,
    /// Whether its policy is known: not of what was taken up from the volume alone.
    whole: bool,
    snapshot: Snapshot,
    reads: BTreeMap<ServiceName, Digest>,
    /// What its judgement warned of, as it is told.
    warnings: Option<String>,
}

/// A revision that did not.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Which.
    pub revision: Revision,
    /// Every diagnostic, rendered for a log.
    pub reason: String,
}

/// How judging a revision ended.
#[derive(Debug, Clone)]
pub enum Judged {
    /// It may be rolled out.
    Valid(Arc<Validated>),
    /// It may not, ever.
    Refused(Refused),
}

impl Judged {
    /// The revision that was judged.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        match self {
            Self::Valid(validated) => validated.revision(),
            Self::Refused(refused) => &refused.revision,
        }
    }
}

impl Validated {
    /// Whether its policy is known: not of what was taken up from the volume alone.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The commit.
    #[must_use]
    pub fn commit(&self) -> &CommitFacts {
        &self.material.commit
    }

    /// The revision.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.material.commit.revision
    }

    /// The published files.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.material.tree
    }

    /// The digest of the published files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.snapshot.digest()
    }

    /// What the plan compares.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The digest over what each service reads.
    #[must_use]
    pub fn reads(&self) -> &BTreeMap<ServiceName, Digest> {
        &self.reads
    }

    /// What its judgement warned of, as `lockstep validate` prints it.
    #[must_use]
    pub fn warnings(&self) -> Option<&str> {
        self.warnings.as_deref()
    }

    /// Takes up a release that lies on the volume, where its commit cannot be had from the mirror: what it
    /// publishes is known from the volume itself, its policy is not.
    ///
    /// # Errors
    /// When a document of it cannot be read.
    pub fn from_release(
        document: &Release,
        tree: Tree,
        folder: &Path,
        prefix: &str,
        readers: &[Reader],
    ) -> std::io::Result<Self> {
        let commit = CommitFacts {
            revision: document.revision.clone(),
            parents: Vec::new(),
            author: document.author.clone(),
            committed: document.committed,
            subject: document.subject.clone(),
        };
        let mut files = Sources::new();
        for path in readers.iter().flat_map(|reader| reader.reads.documents(&tree)) {
            let contents = std::fs::read(folder.join(path.as_str()))?;
            files.insert(repo_path(prefix, path), contents.into());
        }
        let material = Material::of_release(commit, tree, files, prefix.to_owned());
        Ok(Self {
            whole: false,
            ..Self::assemble(material, None, readers)
        })
    }

    fn assemble(material: Material, previous: Option<&Snapshot>, readers: &[Reader]) -> Self {
        let snapshot = Snapshot::of(&material.candidate(), previous);
        let reads = readers
            .iter()
            .map(|reader| (reader.name.clone(), reader.reads.digest(snapshot.published())))
            .collect();
        Self {
            material,
            whole: true,
            snapshot,
            reads,
            warnings: None,
        }
    }
}

/// Judges a revision that is in the mirror against a base: the last settled one. `before` are the files that settled
/// before.
///
/// # Errors
/// When the mirror cannot be read. A revision that may not be published is an answer, not an error.
pub fn judge(
    mirror: &Mirror,
    revision: &Revision,
    base: Option<&Validated>,
    before: &BTreeSet<Digest>,
    judges: &Judges,
    asked: Asked,
) -> Result<Judged, SourceError> {
    let judging = Judging {
        asked,
        operator: judges.operator.as_deref(),
    };
    let readers = &judges.readers;
    let scope = base.map_or(Scope::All, |base| Scope::Changed(base.material.candidate()));
    let read = Material::read(mirror, revision, base.map(|base| &base.material), readers, scope);
    let mut material = match read.and_then(|material| material.with_operator(mirror, judging.operator)) {
        Ok(material) => material,
        Err(error) => {
            let report = material::refusal(error)?;
            return Ok(refuse(revision, shown(&report, &Sources::new())));
        }
    };
    if asked != Asked::ToTakeUp {
        material.scan(mirror, base.map(|base| &base.material), judging.operator)?;
    }
    let settled_before = || {
        let snapshot = Snapshot::of(&material.candidate(), base.map(Validated::snapshot));
        before.contains(&snapshot.digest())
    };
    let report = material.judge(
        mirror,
        base.map(|base| &base.material),
        scope,
        judging,
        settled_before,
    )?;
    if report.has_errors() {
        return Ok(refuse(revision, shown(&report, &material.files)));
    }
    for warning in report.diagnostics() {
        tracing::warn!(%revision, "{}: {}", warning.path, warning.message);
    }
    let warnings = (!report.is_empty()).then(|| shown(&report, &material.files));
    let previous = base.map(Validated::snapshot);
    Ok(Judged::Valid(Arc::new(Validated {
        warnings,
        ..Validated::assemble(material, previous, readers)
    })))
}

/// How a head relates to the last settled revision.
///
/// # Errors
/// When the mirror cannot be read.
pub fn ancestry(
    mirror: &Mirror,
    settled: Option<&Revision>,
    head: &Revision,
) -> Result<Ancestry, SourceError> {
    match settled {
        None => Ok(Ancestry::First),
        Some(settled) if settled == head => Ok(Ancestry::Descends),
        // One that is not here any more cannot be an ancestor: the repository was made anew.
        Some(settled) if !mirror.has(settled) => Ok(Ancestry::Rewound),
        Some(settled) if mirror.is_ancestor(settled, head)? => Ok(Ancestry::Descends),
        Some(_) => Ok(Ancestry::Rewound),
    }
}

fn refuse(revision: &Revision, reason: String) -> Judged {
    Judged::Refused(Refused {
        revision: revision.clone(),
        reason,
    })
}

/// A report as it goes into a log, a status or an event: the same words as `lockstep validate` prints.
///
/// It is kept in memory and in files, and told again by each look at the status, so it is bounded.
fn shown(report: &Report, files: &Sources) -> String {
    let style = Style {
        bytes: LONGEST_REASON,
        ..Style::default()
    };
    text(report, files, style).trim_end().to_owned()
}
