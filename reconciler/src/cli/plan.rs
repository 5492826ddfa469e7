//! `lockstep plan`: what a revision would change, from the reconciler or, without one, from the clone at hand.

use std::path::Path;

use jiff::Timestamp;
use lockstep_core::admission::Passage;
use lockstep_core::diagnostic::{Style, text};
use lockstep_core::plan::{self, plan};
use lockstep_core::policy::POLICY_PATH;
use lockstep_core::validate::Scope;
use lockstep_core::window::{Gate, GoesOut, Windows};
use serde_json::Value;

use super::checkout::Checkout;
use super::client::Client;
use super::{Failure, SettingsFile, block_on, output, validate};
use crate::candidate::{Asked, Judging, Material, Reader, refusal};
use crate::coordinator::request::PlanView;
use crate::progress::for_a_person;
use crate::settings::Settings;
use crate::web::PlanQuery;

/// Show what a revision would change: keys, services, reload or restart, and what undoing it takes
///
/// With a reconciler: REV, or the head of the branch, against what is live. Without one, and with --staged or A..B, in a
/// clone of the config repository: REV, or the files as they lie there, against the upstream branch (else HEAD).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep plan\n  lockstep plan HEAD~1\n  lockstep plan --staged\n  \
                        lockstep plan origin/main..HEAD --markdown > comment.md\n  \
                        lockstep plan --json | jq '.plan.services'\n\n\
                        Exit codes: 0 this is the plan, 1 the revision would be rejected, 3 neither reconciler nor clone"
)]
pub(super) struct Plan {
    /// A commit, or two: from the first to the second
    #[arg(value_name = "REV | A..B", conflicts_with = "staged")]
    revision: Option<String>,
    /// What is staged for the next commit of the clone around this folder
    #[arg(long)]
    staged: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print Markdown, for a pull request
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

impl Plan {
    pub(super) fn execute(self, file: &SettingsFile) -> Result<(), Failure> {
        let settings = file.find()?;
        let here = self.staged || self.range().is_some();
        let unreachable = match &settings {
            Some(_) if here => None,
            None => None,
            Some(settings) => match self.ask_reconciler(settings) {
                Err(failure) if failure.code == Failure::UNREACHABLE => Some(failure),
                done => return done,
            },
        };
        let root = Checkout::root_of(Path::new("."))?;
        let clone =
            root.join(".git").exists() && (here || settings.is_none() || root.join(POLICY_PATH).is_file());
        match (clone, unreachable) {
            (true, _) => self.look_at_clone(&root, settings.as_ref(), file),
            (false, Some(failure)) => Err(failure),
            (false, None) if here => Err(Failure::misuse(format!(
                "{} is no clone of a config repository, and --staged and A..B speak of one: go to a clone",
                root.display()
            ))),
            (false, None) => Err(Failure::unreachable(
                "there is neither a reconciler to ask (no settings: name them by --settings FILE) nor a clone of a \
                 config repository here to plan from",
            )),
        }
    }

    /// The two commits of `A..B`; HEAD where one is left out.
    fn range(&self) -> Option<(&str, &str)> {
        let or_head = |text| {
            Some(text)
                .filter(|text: &&str| !text.is_empty())
                .unwrap_or("HEAD")
        };
        let (from, to) = self.revision.as_deref()?.split_once("..")?;
        Some((or_head(from), or_head(to)))
    }

    fn ask_reconciler(&self, settings: &Settings) -> Result<(), Failure> {
        let query = PlanQuery {
            rev: self.revision.clone(),
            text: !self.json && !self.markdown,
            markdown: self.markdown,
        };
        let query = serde_urlencoded::to_string(&query).map_err(Failure::misuse)?;
        let told = for_a_person("asking for the plan", None);
        let answer: Value = block_on(Client::of(settings).get(&format!("/api/v1/plan?{query}")))?;
        drop(told);
        if self.json {
            output::json(&answer)?;
        } else if let Some(markdown) = answer.get("markdown").and_then(Value::as_str) {
            output::print(markdown)?;
        } else {
            let text = answer
                .get("text")
                .or_else(|| answer.get("refused"))
                .and_then(Value::as_str);
            output::line(text.unwrap_or_default().trim_end())?;
        }
        if answer.get("refused").is_some_and(|refused| !refused.is_null()) {
            return Err(Failure::told());
        }
        Ok(())
    }

    fn look_at_clone(
        &self,
        root: &Path,
        settings: Option<&Settings>,
        file: &SettingsFile,
    ) -> Result<(), Failure> {
        let published = settings
            .map(|settings| settings.source.spec.path.as_str())
            .unwrap_or_default();
        let told = for_a_person("reading and judging the files", None);
        let checkout = Checkout::open(root, published)?;
        let range = self.range();
        let revision = match (&self.revision, range) {
            (_, Some((_, to))) => checkout.named(to)?,
            (Some(text), None) => checkout.named(text)?,
            (None, None) if self.staged => checkout.staged()?,
            (None, None) => checkout.working_tree()?,
        };
        let base = match range {
            Some((from, _)) => Some((from.to_owned(), checkout.named(from)?)),
            None => validate::base_of(&checkout, &revision),
        };
        let readers = settings.map(Reader::all).unwrap_or_default();
        let read = |revision, older| Material::read(checkout.mirror(), revision, older, &readers, Scope::All);
        let live = base.as_ref().and_then(|(_, base)| read(base, None).ok());
        let operator = file.operator()?;
        let judging = Judging {
            asked: Asked::Ahead,
            operator: operator.as_deref(),
        };
        let material = read(&revision, live.as_ref());
        let view = match material.and_then(|it| it.with_operator(checkout.mirror(), judging.operator)) {
            Ok(mut material) => {
                material
                    .scan(checkout.mirror(), live.as_ref(), judging.operator)
                    .map_err(Failure::refused)?;
                let material = if self.revision.is_some() {
                    material
                } else {
                    material.uncommitted()
                };
                // What settled before only the reconciler knows.
                let report = material
                    .judge(checkout.mirror(), live.as_ref(), Scope::All, judging, || false)
                    .map_err(Failure::refused)?;
                if report.has_errors() {
                    validate::refused(&report, material.files())
                } else {
                    let (live, inputs) = (
                        live.as_ref().map(Material::snapshot),
                        Reader::plan_inputs(&readers),
                    );
                    let plan = plan(live.as_ref(), &material.snapshot(), &inputs);
                    let warnings =
                        (!report.is_empty()).then(|| text(&report, material.files(), Style::default()));
                    PlanView {
                        goes_out: settings.and_then(|settings| goes_out(&settings.windows, &plan)),
                        plan: Some(plan),
                        refused: None,
                        warnings: warnings.map(|warnings| warnings.trim_end().to_owned()),
                    }
                }
            }
            Err(error) => {
                let report = refusal(error).map_err(Failure::refused)?;
                validate::refused(&report, &lockstep_core::diagnostic::Sources::new())
            }
        };
        drop(told);
        output::note(format_args!(
            "no reconciler was asked: this is planned from {}{}",
            root.display(),
            validate::against(base.as_ref(), "measured")
        ));
        if self.json {
            output::json(&view)?;
        } else if self.markdown {
            output::print(&view.markdown())?;
        } else if let Some(text) = view.text() {
            output::print(&text)?;
        }
        match view.refused {
            Some(refused) if !self.json && !self.markdown => {
                output::line(refused)?;
                Err(Failure::told())
            }
            Some(_) => Err(Failure::told()),
            None => Ok(()),
        }
    }
}

/// When it would go out, as far as the settings say: what settled before only the reconciler knows.
fn goes_out(windows: &Windows, plan: &plan::Plan) -> Option<GoesOut> {
    if windows.is_empty() || plan.is_empty() {
        return None;
    }
    let gate = windows.at(Timestamp::now());
    let passage = match &gate {
        Gate::Open { .. } => None,
        Gate::Closed(closed) => windows
            .let_pass(closed, plan)
            .then(|| Passage::Emergency.to_string()),
    };
    Some(GoesOut::of(&gate, passage))
}
