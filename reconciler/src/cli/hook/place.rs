//! Where git looks for the hooks of a repository: asked of git itself, which alone knows all that says so.

use std::path::{Path, PathBuf};

use super::super::Failure;
use super::super::git::git as ask;
use super::Kind;

/// A repository's place for hooks.
pub(super) struct Place {
    /// The folder, absolute.
    pub(super) folder: PathBuf,
    /// Whether the repository has no work tree.
    pub(super) bare: bool,
    /// Where the hooks run.
    root: PathBuf,
}

impl Place {
    /// That of the repository around a folder.
    ///
    /// A folder that `core.hooksPath` names for more than this repository is refused: what is put there would run
    /// in all of them.
    pub(super) fn of(dir: &Path) -> Result<Self, Failure> {
        let said = git(dir, &["rev-parse", "--is-bare-repository", "--absolute-git-dir"])?;
        let (bare, folder) = said.split_once('\n').unwrap_or((&said, ""));
        let bare = bare == "true";
        let root = if bare {
            PathBuf::from(folder)
        } else {
            PathBuf::from(git(dir, &["rev-parse", "--show-toplevel"])?)
        };
        if let Some(place) = shared(&root)? {
            return Err(Failure::refused(place));
        }
        // A relative folder counts from where the hooks run.
        let hooks = root.join(git(&root, &["rev-parse", "--git-path", "hooks"])?);
        Ok(Self {
            folder: hooks,
            bare,
            root,
        })
    }

    /// A hook's file.
    pub(super) fn file(&self, kind: Kind) -> PathBuf {
        self.folder.join(kind.name())
    }

    /// Where the hook is kept that was there before ours.
    pub(super) fn before(&self, kind: Kind) -> PathBuf {
        self.folder
            .join(format!("{}{}", kind.name(), super::script::BEFORE))
    }

    /// Whether the hooks are files of the work tree, which are committed with all others.
    pub(super) fn is_tracked(&self) -> bool {
        !self.bare && self.folder.starts_with(&self.root) && !self.folder.starts_with(self.root.join(".git"))
    }
}

/// Why the folder for hooks is not this repository's own, if it is not.
fn shared(root: &Path) -> Result<Option<String>, Failure> {
    let asked = [
        "config",
        "--show-scope",
        "--show-origin",
        "--get",
        "core.hooksPath",
    ];
    let said = ask(root, &asked)?;
    // 1: nobody set it.
    if said.code == Some(1) {
        return Ok(None);
    }
    let text = said.done()?;
    let mut parts = text.splitn(3, '\t');
    let (scope, origin, value) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if matches!(scope, "local" | "worktree") {
        return Ok(None);
    }
    let origin = origin.strip_prefix("file:").unwrap_or(origin);
    Ok(Some(format!(
        "core.hooksPath is {value:?} for more repositories than this one ({scope}: {origin}): a hook there would run in \
         all of them. Give this repository a folder of its own and try again:\n  \
         git -C {root} config core.hooksPath \"$(git -C {root} rev-parse --absolute-git-dir)/hooks\"\n\
         The hooks in {value:?} are then not run here. Or call `lockstep hook run HOOK` from those hooks yourself.",
        root = root.display()
    )))
}

/// What git answers about a place.
fn git(dir: &Path, words: &[&str]) -> Result<String, Failure> {
    ask(dir, words)?
        .done()
        .map_err(|failure| elsewhere(&failure.message))
}

fn elsewhere(said: &str) -> Failure {
    Failure::refused(format!(
        "{said}. Name the repository: `lockstep hook install DIR`"
    ))
}
