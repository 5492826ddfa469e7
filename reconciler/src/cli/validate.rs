//! `lockstep validate`: the reconciler's own judgement, before a commit or a merge.

use std::path::{Path, PathBuf};

use lockstep_core::diagnostic::{Code, Report, Severity, Sources, Style, json, sarif, text};
use lockstep_core::policy::{OperatorPolicy, POLICY_PATH};
use lockstep_core::validate::Scope;
use lockstep_protocol::Revision;
use lockstep_source::Mirror;

use super::checkout::{Checkout, CheckoutError};
use super::{Failure, SettingsFile, github, output};
use crate::candidate::{Asked, Judging, Material, Reader, refusal};
use crate::coordinator::request::PlanView;
use crate::progress::for_a_person;

/// Judge a config repository as the reconciler will
///
/// Needs no reconciler and no settings: a folder with `.lockstep/policy.toml` or a git clone is enough. Without
/// a policy, TOML syntax and the default limits are judged. Settings, when there are any, say which folder of the
/// repository is published; else all of it is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep validate                       # the files as they lie here\n  \
                        lockstep validate config/config.toml    # one of them\n  \
                        lockstep validate --staged              # what `git commit` would commit\n  \
                        lockstep validate HEAD --base main --format json\n\n\
                        Exit codes: 0 it may go live, 1 it would be rejected, 2 called wrongly"
)]
pub(super) struct Validate {
    /// A folder or file of a config repository, or a commit of the clone around this folder
    #[arg(value_name = "PATH | REV", conflicts_with = "staged")]
    what: Option<String>,
    /// What is staged for the next commit
    #[arg(long)]
    staged: bool,
    /// What to judge against; the upstream branch, else HEAD, if none
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON array
    Json,
    /// Annotations in a GitHub workflow
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

impl From<CheckoutError> for Failure {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::Path { .. }
            | CheckoutError::NoClone { .. }
            | CheckoutError::UnknownRevision { .. } => Self::misuse(error),
            CheckoutError::Git { .. }
            | CheckoutError::Conflicts { .. }
            | CheckoutError::Scratch { .. }
            | CheckoutError::Source(_) => Self::refused(error),
        }
    }
}

/// What is to be judged, with a name for people.
struct Subject {
    checkout: Checkout,
    revision: Revision,
    name: String,
    /// Only what is found here, from the repository's root; everything if none.
    below: Option<String>,
}

impl Validate {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let published = settings.published()?;
        let operator = settings.operator()?;
        let told = for_a_person("reading the files", None);
        let subject = self.subject(&published)?;
        drop(told);
        let base = match &self.base {
            Some(text) => Some((text.clone(), subject.checkout.named(text)?)),
            None => base_of(&subject.checkout, &subject.revision),
        };
        let told = for_a_person("judging (files)", Some(subject.checkout.mirror().counts()));
        let (report, files) = judged(&subject, base.as_ref().map(|(_, base)| base), operator.as_deref())?;
        drop(told);
        match self.format {
            Format::Text => {
                output::print(&text(
                    &report,
                    &files,
                    Style {
                        color: true,
                        ..Style::default()
                    },
                ))?;
                if !report.has_errors() {
                    let warnings = match report.count(Severity::Warning) {
                        0 => String::new(),
                        warnings => format!(", with {warnings} warnings"),
                    };
                    output::line(format_args!(
                        "{} is valid{warnings}{}",
                        subject.name,
                        against(base.as_ref(), "judged")
                    ))?;
                }
            }
            Format::Json => output::json(&json(&report, &files))?,
            Format::Github => output::print(&github::annotations(&report, &files))?,
            Format::Sarif => output::json(&sarif(&report, &files))?,
        }
        if report.has_errors() {
            Err(Failure::told())
        } else {
            Ok(())
        }
    }

    fn subject(&self, published: &str) -> Result<Subject, Failure> {
        let what = self.what.as_deref().unwrap_or(".");
        let path = Path::new(what);
        if self.staged {
            let checkout = Checkout::open(&Checkout::root_of(Path::new("."))?, published)?;
            let revision = checkout.staged()?;
            return Ok(Subject {
                checkout,
                revision,
                name: "what is staged".to_owned(),
                below: None,
            });
        }
        if path.exists() {
            let root = Checkout::root_of(path)?;
            let checkout = Checkout::open(&root, published)?;
            let revision = checkout.working_tree()?;
            // Without a path all of the repository is meant, from whichever of its folders.
            let (name, below) = match &self.what {
                Some(what) => (what.clone(), below(path, &root)?),
                None => (root.display().to_string(), None),
            };
            return Ok(Subject {
                checkout,
                revision,
                name,
                below,
            });
        }
        let root = Checkout::root_of(Path::new("."))?;
        let checkout = Checkout::open(&root, published)?;
        if !checkout.is_clone() {
            return Err(CheckoutError::UnknownRevision {
                root,
                text: what.to_owned(),
            }
            .into());
        }
        let revision = checkout.named(what)?;
        Ok(Subject {
            checkout,
            revision,
            name: what.to_owned(),
            below: None,
        })
    }
}

/// The base that nobody named: never the subject itself, which is judged against its first parent then.
pub(super) fn base_of(checkout: &Checkout, subject: &Revision) -> Option<(String, Revision)> {
    let (name, base) = checkout.base()?;
    if base != *subject {
        return Some((name, base));
    }
    let parent = checkout.before(subject)?;
    Some((format!("its parent {}", parent.short()), parent))
}

/// What was judged against, or measured, as the end of a sentence.
pub(super) fn against(base: Option<&(String, Revision)>, judged: &str) -> String {
    match base {
        Some((name, revision)) if name.contains(revision.short()) => format!(", {judged} against {name}"),
        Some((name, revision)) => format!(", {judged} against {name} ({})", revision.short()),
        None => String::new(),
    }
}

/// Where a path lies in its repository; nothing for the root itself.
fn below(path: &Path, root: &Path) -> Result<Option<String>, CheckoutError> {
    let whole = std::fs::canonicalize(path).map_err(|source| CheckoutError::Path {
        path: path.to_owned(),
        source,
    })?;
    let below: PathBuf = whole.strip_prefix(root).unwrap_or(Path::new("")).to_owned();
    Ok(Some(below.to_string_lossy().into_owned()).filter(|below| !below.is_empty()))
}

/// All diagnostics of the subject, and the contents they point into.
fn judged(
    subject: &Subject,
    base: Option<&Revision>,
    operator: Option<&OperatorPolicy>,
) -> Result<(Report, Sources), Failure> {
    let (report, files) = judge(
        subject.checkout.mirror(),
        &subject.revision,
        base,
        operator,
        false,
    )?;
    Ok((only(subject.below.as_deref(), report), files))
}

/// All diagnostics of a revision, and the contents they point into. Whether its files settled before only the
/// reconciler knows; others may assume it.
pub(super) fn judge(
    mirror: &Mirror,
    revision: &Revision,
    base: Option<&Revision>,
    operator: Option<&OperatorPolicy>,
    settled_before: bool,
) -> Result<(Report, Sources), Failure> {
    let readers: [Reader; 0] = [];
    // A base that cannot be published itself (an empty one, before the folder was there) is no base.
    let base = base.and_then(|base| Material::read(mirror, base, None, &readers, Scope::All).ok());
    let read = Material::read(mirror, revision, base.as_ref(), &readers, Scope::All);
    let mut material = match read.and_then(|material| material.with_operator(mirror, operator)) {
        Ok(material) => material,
        Err(error) => return Ok((refusal(error).map_err(Failure::refused)?, Sources::new())),
    };
    material
        .scan(mirror, base.as_ref(), operator)
        .map_err(Failure::refused)?;
    let judging = Judging {
        asked: Asked::Ahead,
        operator,
    };
    let report = material
        .judge(mirror, base.as_ref(), Scope::All, judging, || settled_before)
        .map_err(Failure::refused)?;
    Ok((report, material.files().clone()))
}

/// A plan that there is not, with the diagnostics as the reconciler writes them.
pub(super) fn refused(report: &Report, files: &Sources) -> PlanView {
    PlanView::refused(text(report, files, Style::default()).trim_end().to_owned())
}

/// What was found in one file or folder, and in what judges it.
fn only(below: Option<&str>, report: Report) -> Report {
    let Some(below) = below else { return report };
    let policy = POLICY_PATH.split('/').next().unwrap_or(POLICY_PATH);
    let within = |path: &str, folder: &str| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    report.only(|diagnostic| {
        // What is not listed may lie there as well.
        diagnostic.code == Code::MoreMistakes
            || within(&diagnostic.path, below)
            || within(&diagnostic.path, policy)
            || within(below, &diagnostic.path)
            // The operator's policy.
            || diagnostic.path.starts_with('/')
    })
}
