//! A config repository with hooks: git as people run it, which may fail, beside the program under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_source::testing::{Origin, git};
use tempfile::TempDir;

use crate::programs;
use crate::ran::{Ran, await_end};

/// A repository, a clone of it, and the program, in a folder of their own.
pub struct Hooked {
    origin: Origin,
    folder: TempDir,
}

impl Hooked {
    /// With a document that is good, committed and pushed.
    ///
    /// # Panics
    /// As all of this: when git fails.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("lockstep-hooks-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        programs::install(&folder.path().join("bin"));
        let origin = Origin::at(&folder.path().join("git"));
        for (key, value) in [("user.name", "Ada Byron"), ("user.email", "ada@example.org")] {
            origin.git(&["config", key, value]);
        }
        let hooked = Self { origin, folder };
        hooked.origin.write_file("config/config.toml", "value = 1\n");
        hooked.origin.publish("The first");
        hooked
    }

    /// The repository and its clone.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The folder of all of it.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.root().join("bin/lockstep")
    }

    /// Runs the program in a folder, by somebody whom git knows.
    pub fn lockstep(&self, folder: &Path, args: &[&str]) -> Ran {
        self.lockstep_with(folder, args, &[])
    }

    /// The same with variables of the environment.
    ///
    /// # Panics
    /// When what git is to know cannot be written.
    pub fn lockstep_with(&self, folder: &Path, args: &[&str], variables: &[(&str, &Path)]) -> Ran {
        let mut command = Command::new(self.program());
        let known = self.root().join("known");
        fs::write(&known, "[user]\n\tname = Ada Byron\n\temail = ada@example.org\n").expect("it is ours");
        command.args(args).current_dir(folder);
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", known);
        for (name, value) in variables {
            command.env(name, value);
        }
        self.run(command)
    }

    /// Installs the hooks that fit a folder, in which nothing may be wrong.
    pub fn install(&self, folder: &Path, args: &[&str]) -> String {
        let mut all = vec!["hook", "install"];
        all.extend(args);
        self.lockstep(folder, &all).done()
    }

    /// Runs git in the clone.
    pub fn git(&self, args: &[&str]) -> Ran {
        self.git_in(&self.origin.work(), args)
    }

    /// Runs git in a folder.
    pub fn git_in(&self, folder: &Path, args: &[&str]) -> Ran {
        let mut command = git(folder);
        command.args(args);
        self.run(command)
    }

    /// Writes a file of the clone and commits it, past all hooks.
    pub fn commit(&self, path: &str, text: &str) {
        self.origin.write_file(path, text);
        self.git(&["add", "-A"]).done();
        self.git(&["commit", "-q", "--no-verify", "-m", &format!("Change {path}")])
            .done();
    }

    /// The document of the clone, committed.
    pub fn set(&self, text: &str) {
        self.commit("config/config.toml", text);
    }

    /// Pushes the clone's HEAD to `main`, with more words for git.
    pub fn push(&self, words: &[&str]) -> Ran {
        let mut all = vec!["push", "-q"];
        all.extend(words);
        all.extend(["origin", "HEAD:main"]);
        self.git(&all)
    }

    /// What a ref of the bare repository names; nothing if there is none.
    #[must_use]
    pub fn at_server(&self, name: &str) -> String {
        let ran = self.git_in(&self.origin.bare(), &["rev-parse", "-q", "--verify", name]);
        ran.out.trim().to_owned()
    }

    /// The clone's HEAD.
    #[must_use]
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).done().trim().to_owned()
    }

    /// Runs a command to its end, with the program on its PATH.
    ///
    /// # Panics
    /// When it does not end.
    pub fn run(&self, mut command: Command) -> Ran {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.root().join("bin").display()));
        command
            .env("TMPDIR", self.scratch())
            .env_remove("LOCKSTEP_SETTINGS")
            .env("NO_COLOR", "1");
        await_end(command)
    }

    /// Where the program puts what it needs for a moment.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        let folder = self.root().join("tmp");
        fs::create_dir_all(&folder).expect("the folder is ours");
        folder
    }
}

impl Default for Hooked {
    fn default() -> Self {
        Self::new()
    }
}

/// Every file of a folder, with its bytes and whether it may be run: what has to be as it was.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn every_file(folder: &Path) -> Vec<(String, Vec<u8>, bool)> {
    use std::os::unix::fs::PermissionsExt as _;
    let entries = fs::read_dir(folder).expect("it is a folder");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("it can be read").path();
            let mode = fs::metadata(&path).expect("it is there").permissions().mode();
            let name = path
                .file_name()
                .expect("it has one")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("it can be read"), mode & 0o111 != 0)
        })
        .collect();
    files.sort();
    files
}

/// Puts a script there that may be run.
///
/// # Panics
/// When it cannot be written.
pub fn executable(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("the folder is ours");
    fs::write(file, text).expect("the folder is ours");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
