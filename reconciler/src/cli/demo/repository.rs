//! The demo's repository and the clone in which changes are made, by libgit2: the demo needs no git on the machine.
//! Whoever tries it by hand uses their own git in the same clone.

use std::path::{Path, PathBuf};

use git2::{
    ErrorClass, ErrorCode, IndexAddOption, PushOptions, RemoteCallbacks, Repository, RepositoryInitOptions,
    Signature,
};

use super::DemoError;

const BRANCH: &str = "main";

/// What the clone's configuration says, for the demo and for whoever uses git in it.
const CONFIG: [(&str, &str); 7] = [
    ("user.name", "Demo"),
    ("user.email", "demo@localhost"),
    ("commit.gpgsign", "false"),
    ("core.hooksPath", ".git/hooks"),
    ("push.default", "simple"),
    ("branch.main.remote", "origin"),
    ("branch.main.merge", "refs/heads/main"),
];

/// The clone.
pub(super) struct Clone {
    dir: PathBuf,
}

impl Clone {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a bare repository, and turns the folder of this clone into one of it, with all that lies there as the
    /// first commit.
    pub(super) fn begin(&self, bare: &Path, subject: &str) -> Result<(), DemoError> {
        self.tried("make the repositories", || {
            // Templates are the user's, and may hold hooks.
            let mut options = RepositoryInitOptions::new();
            options.initial_head(BRANCH).external_template(false);
            Repository::init_opts(bare, options.bare(true))?;
            let clone = Repository::init_opts(&self.dir, options.bare(false))?;
            let mut config = clone.config()?;
            for (key, value) in CONFIG {
                config.set_str(key, value)?;
            }
            clone.remote("origin", &bare.to_string_lossy())?;
            Ok(())
        })?;
        self.commit(subject)?;
        self.push()
    }

    /// Commits all that lies there; gives the commit.
    pub(super) fn commit(&self, subject: &str) -> Result<String, DemoError> {
        self.tried("commit", || {
            let clone = Repository::open(&self.dir)?;
            let mut index = clone.index()?;
            index.add_all(["*"], IndexAddOption::DEFAULT, None)?;
            index.write()?;
            let tree = index.write_tree()?;
            commit(&clone, tree, subject)
        })
    }

    /// Takes a commit back by a new one; gives the new one.
    pub(super) fn revert(&self, revision: &str) -> Result<String, DemoError> {
        self.tried("revert", || {
            let clone = Repository::open(&self.dir)?;
            let undone = clone.find_commit(git2::Oid::from_str(revision)?)?;
            let ours = clone.head()?.peel_to_commit()?;
            let tree = clone
                .revert_commit(&undone, &ours, 0, None)?
                .write_tree_to(&clone)?;
            let subject = undone.summary().ok().flatten().unwrap_or_default();
            let new = commit(
                &clone,
                tree,
                &format!("Revert \"{subject}\"\n\nThis reverts commit {revision}.\n"),
            )?;
            clone.checkout_head(Some(git2::build::CheckoutBuilder::new().force()))?;
            Ok(new)
        })
    }

    /// Pushes the branch.
    pub(super) fn push(&self) -> Result<(), DemoError> {
        self.tried("push", || {
            let clone = Repository::open(&self.dir)?;
            let mut refused = None;
            let mut callbacks = RemoteCallbacks::new();
            callbacks.push_update_reference(|_, said| {
                refused = said.map(ToOwned::to_owned);
                Ok(())
            });
            let branch = format!("refs/heads/{BRANCH}:refs/heads/{BRANCH}");
            clone
                .find_remote("origin")?
                .push(&[branch], Some(PushOptions::new().remote_callbacks(callbacks)))?;
            match refused {
                None => Ok(()),
                Some(said) => Err(git2::Error::new(
                    ErrorCode::GenericError,
                    ErrorClass::Reference,
                    said,
                )),
            }
        })
    }

    fn tried<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> Result<T, git2::Error>,
    ) -> Result<T, DemoError> {
        work().map_err(|source| DemoError::Git {
            doing,
            path: self.dir.clone(),
            source,
        })
    }
}

/// Commits a tree on the branch.
fn commit(clone: &Repository, tree: git2::Oid, message: &str) -> Result<String, git2::Error> {
    let tree = clone.find_tree(tree)?;
    let who = Signature::now("Demo", "demo@localhost")?;
    let parent = match clone.head() {
        Ok(head) => Some(head.peel_to_commit()?),
        // The first commit.
        Err(error) if error.code() == ErrorCode::UnbornBranch => None,
        Err(error) => return Err(error),
    };
    let parents: Vec<_> = parent.iter().collect();
    let id = clone.commit(Some("HEAD"), &who, &who, message, &tree, &parents)?;
    Ok(id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, words: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    #[test]
    fn what_it_commits_reverts_and_pushes_is_what_git_sees() {
        let place = tempfile::tempdir().unwrap();
        let bare = place.path().join("config.git");
        let clone = Clone::new(place.path().join("clone"));
        std::fs::create_dir_all(clone.dir().join(".lockstep")).unwrap();
        std::fs::write(clone.dir().join(".lockstep/policy.toml"), "version = 1\n").unwrap();
        std::fs::write(clone.dir().join("a.toml"), "value = 1\n").unwrap();
        clone.begin(&bare, "The first").unwrap();
        assert_eq!(
            git(&bare, &["ls-tree", "-r", "--name-only", "main"]),
            ".lockstep/policy.toml\na.toml"
        );

        std::fs::write(clone.dir().join("a.toml"), "value = 2\n").unwrap();
        let second = clone.commit("The second").unwrap();
        clone.push().unwrap();
        assert_eq!(git(&bare, &["rev-parse", "main"]), second);
        let third = clone.revert(&second).unwrap();
        clone.push().unwrap();
        assert_eq!(git(&bare, &["rev-parse", "main"]), third);
        assert_eq!(git(&bare, &["show", "main:a.toml"]), "value = 1");
        assert_eq!(
            std::fs::read_to_string(clone.dir().join("a.toml")).unwrap(),
            "value = 1\n"
        );

        // And whoever goes on by hand finds a clone as `git clone` makes it.
        assert_eq!(
            git(clone.dir(), &["status", "--short", "--branch"]),
            "## main...origin/main"
        );
        git(clone.dir(), &["revert", "--no-edit", "HEAD"]);
        git(clone.dir(), &["push", "--quiet"]);
        assert_eq!(git(&bare, &["show", "main:a.toml"]), "value = 2");
    }

    #[test]
    fn a_push_that_the_repository_refuses_fails() {
        let place = tempfile::tempdir().unwrap();
        let bare = place.path().join("config.git");
        let clone = Clone::new(place.path().join("clone"));
        std::fs::create_dir(clone.dir()).unwrap();
        std::fs::write(clone.dir().join("a.toml"), "value = 1\n").unwrap();
        clone.begin(&bare, "The first").unwrap();
        std::fs::write(clone.dir().join("a.toml"), "value = 2\n").unwrap();
        clone.commit("The second").unwrap();
        std::fs::remove_dir_all(&bare).unwrap();
        let error = clone.push().unwrap_err().to_string();
        assert!(error.contains("cannot push"), "{error}");
    }
}
