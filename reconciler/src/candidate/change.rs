//! Judging a change at the cost of what it changes: for hooks, in repositories of any size.
//!
//! The files that a change leaves as they are were judged with the base. Of them only the sums are asked for, and
//! these are kept between hooks as [`Tally`]. Where that cannot give the answer, as with a policy that is taken
//! away or limits that are not kept, nothing is said here and everything is read.

use lockstep_core::diagnostic::{Report, Sources};
use lockstep_core::policy::{POLICY_PATH, Policy};
use lockstep_core::tree::Tree;
use lockstep_core::validate::Scope;
use lockstep_protocol::Revision;
use lockstep_source::{Limits, Mirror, SourceError, Tally};

use super::material::limits;
use super::{Asked, Judging, Material};

/// What was found wrong with a change.
#[derive(Debug)]
pub struct Change {
    /// Every diagnostic.
    pub report: Report,
    /// The contents that they point into.
    pub files: Sources,
}

/// The tallies that are known from before, by the id of the published folder.
pub trait Tallies {
    /// That of a folder.
    fn known(&self, folder: &str) -> Option<Tally>;
    /// Keeps one.
    fn keep(&mut self, folder: String, tally: Tally);
}

/// Judges a revision against a base by what differs. Nothing where only a look at all of it can tell.
///
/// # Errors
/// When the mirror cannot be read, or the revision cannot be published: [`super::refusal`] tells the two apart.
pub fn judge_change(
    mirror: &Mirror,
    revision: &Revision,
    base: &Revision,
    settled_before: bool,
    tallies: &mut impl Tallies,
) -> Result<Option<Change>, SourceError> {
    // A base that cannot be published itself is no base.
    let Ok(before) = Material::outline(mirror, base) else {
        return Ok(None);
    };
    let policies = [base, revision].map(|revision| mirror.file(revision, POLICY_PATH));
    let [Ok(of_base), Ok(own)] = policies else {
        return Ok(None);
    };
    if of_base.is_some() && own.is_none() {
        // Documents that the policy did not name come to be judged.
        return Ok(None);
    }
    let secrets = [&own, &of_base].map(|policy| {
        let policy = policy.as_deref().map(|policy| Policy::read(policy).0);
        policy.unwrap_or_default().secrets
    });
    if secrets[0].asks_more_than(&secrets[1]) {
        // What was let pass is looked through again.
        return Ok(None);
    }
    let limits = least(&limits(own.as_deref()), &limits(of_base.as_deref()));
    if !is_within(mirror, revision, base, &limits, tallies)? {
        return Ok(None);
    }
    let mut material = Material::read(mirror, revision, Some(&before), &[], Scope::All)?;
    material.scan(mirror, Some(&before), None)?;
    // A hook stands where no settings are.
    let judging = Judging {
        asked: Asked::Ahead,
        operator: None,
    };
    let report = material.judge(mirror, Some(&before), Scope::All, judging, || settled_before)?;
    Ok(Some(Change {
        report,
        files: material.files,
    }))
}

impl Material {
    /// A base without its files: beside it, whatever does not differ from it is passed over.
    fn outline(mirror: &Mirror, revision: &Revision) -> Result<Self, SourceError> {
        let prefix = mirror.spec().path.clone();
        mirror.published_id(revision)?;
        let tree = Tree::new();
        let files = lockstep_core::policy::gather(&tree, &prefix, Scope::All, &[], None, |path| {
            let contents = mirror.file(revision, path)?;
            Ok::<_, SourceError>(contents.map(Into::into))
        })?;
        Ok(Self {
            commit: mirror.commit(revision)?,
            tree,
            files,
            prefix,
            committed: true,
            scanned: None,
        })
    }
}

/// Whether all that a revision publishes is within limits.
fn is_within(
    mirror: &Mirror,
    revision: &Revision,
    base: &Revision,
    limits: &Limits,
    tallies: &mut impl Tallies,
) -> Result<bool, SourceError> {
    let Ok(folder) = mirror.published_id(revision) else {
        return Ok(false);
    };
    let older = mirror.published_id(base)?;
    let known = match tallies.known(&folder) {
        Some(tally) => Some(tally),
        None => {
            let before = match tallies.known(&older) {
                Some(tally) => Some(tally),
                None => mirror.tally(base, None, limits)?,
            };
            let Some(before) = before else { return Ok(false) };
            tallies.keep(older, before);
            mirror.tally(revision, Some((base, before)), limits)?
        }
    };
    let Some(tally) = known else { return Ok(false) };
    tallies.keep(folder, tally);
    Ok(tally.is_within(limits))
}

fn least(one: &Limits, other: &Limits) -> Limits {
    Limits {
        file_bytes: one.file_bytes.min(other.file_bytes),
        files: one.files.min(other.files),
        total_bytes: one.total_bytes.min(other.total_bytes),
    }
}
