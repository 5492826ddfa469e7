//! A bare repository that is followed, and a work tree beside it that pushes to it.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lockstep_protocol::Revision;
use tempfile::TempDir;

/// The name of the author of every commit.
const AUTHOR: &str = "Ada Byron";
/// Their address.
const MAIL: &str = "ada@example.org";
/// When the first commit was made; each further one is a minute later.
const FIRST_COMMIT: i64 = 1_767_225_600;

/// A config repository as a team has it: `origin.git`, bare, and a clone of it in which changes are made.
pub struct Origin {
    root: PathBuf,
    branch: String,
    commits: Cell<i64>,
    _own: Option<TempDir>,
}

/// An entry of a tree that git itself would not write.
pub struct Entry<'a> {
    /// The mode as it is written: `100644`.
    pub mode: &'a str,
    /// The name's bytes, whatever they are.
    pub name: &'a [u8],
    /// The object's id.
    pub id: &'a str,
}

impl Default for Origin {
    fn default() -> Self {
        Self::new()
    }
}

impl Origin {
    /// An empty repository with the branch `main`, in a temporary folder.
    ///
    /// # Panics
    /// As all of this: when git fails.
    #[must_use]
    pub fn new() -> Self {
        let own = TempDir::new().expect("a temporary folder can be made");
        let mut origin = Self::at(own.path());
        origin._own = Some(own);
        origin
    }

    /// The same in a folder of the caller's.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        fs::create_dir_all(root).expect("the folder can be made");
        let origin = Self {
            root: root.to_owned(),
            branch: "main".to_owned(),
            commits: Cell::new(0),
            _own: None,
        };
        origin.make_bare();
        origin.run(root, &["init", "-q", "-b", "main", "work"]);
        let bare = origin.bare();
        origin.git(&[
            "remote",
            "add",
            "origin",
            bare.to_str().expect("temporary folders are UTF-8"),
        ]);
        origin
    }

    /// The bare repository's folder.
    #[must_use]
    pub fn bare(&self) -> PathBuf {
        self.root.join("origin.git")
    }

    /// The work tree.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// What to follow.
    #[must_use]
    pub fn url(&self) -> String {
        self.bare()
            .to_str()
            .expect("temporary folders are UTF-8")
            .to_owned()
    }

    /// Writes a file and the folders it needs, in the work tree.
    pub fn write_file(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders can be made");
        fs::write(path, contents).expect("the file can be written");
    }

    /// Removes a file or a folder.
    pub fn remove(&self, path: &str) {
        let path = self.work().join(path);
        let gone = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        gone.expect("it can be removed");
    }

    /// Makes a file executable, or not.
    pub fn set_executable(&self, path: &str, executable: bool) {
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(self.work().join(path), fs::Permissions::from_mode(mode))
            .expect("its mode can be set");
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, target: &str) {
        symlink(target, self.work().join(path)).expect("the link can be made");
    }

    /// Commits everything as it is in the work tree, also when nothing changed.
    pub fn commit(&self, subject: &str) -> Revision {
        self.git(&["add", "-A", "--force", "."]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.revision("HEAD")
    }

    /// Pushes the work tree's HEAD to the branch.
    pub fn push(&self) {
        self.git(&[
            "push",
            "-q",
            "origin",
            &format!("HEAD:refs/heads/{}", self.branch),
        ]);
    }

    /// Pushes it also when that rewinds the branch.
    pub fn force_push(&self) {
        self.git(&[
            "push",
            "-q",
            "--force",
            "origin",
            &format!("HEAD:refs/heads/{}", self.branch),
        ]);
    }

    /// Commits and pushes.
    pub fn publish(&self, subject: &str) -> Revision {
        let revision = self.commit(subject);
        self.push();
        revision
    }

    /// Writes one file, commits and pushes: the change that most tests need.
    pub fn publish_file(&self, path: &str, contents: impl AsRef<[u8]>) -> Revision {
        self.write_file(path, contents);
        self.publish(&format!("Change {path}"))
    }

    /// Takes the work tree back to a revision, as before a force-push.
    pub fn reset_to(&self, revision: &Revision) {
        self.git(&["reset", "-q", "--hard", revision.as_str()]);
    }

    /// Pushes the work tree's HEAD to another branch.
    pub fn push_to(&self, branch: &str) {
        self.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
    }

    /// Writes one file, commits, and pushes the work tree's HEAD to another branch.
    pub fn publish_file_to(&self, branch: &str, path: &str, contents: impl AsRef<[u8]>) -> Revision {
        self.write_file(path, contents);
        let revision = self.commit(&format!("Change {path}"));
        self.push_to(branch);
        revision
    }

    /// The commit that a text names in the work tree.
    #[must_use]
    pub fn revision(&self, text: &str) -> Revision {
        let id = self.git(&["rev-parse", "--verify", &format!("{text}^{{commit}}")]);
        Revision::new(&id).expect("git prints full commit ids")
    }

    /// The subjects on the bare repository's branch, newest first.
    #[must_use]
    pub fn list_commits(&self) -> Vec<String> {
        let log = self.run(&self.bare(), &["log", "--format=%s", &self.branch]);
        log.lines().map(str::to_owned).collect()
    }

    /// Deletes the bare repository, as when a server is rebuilt.
    pub fn delete_bare(&self) {
        fs::remove_dir_all(self.bare()).expect("the repository can be deleted");
    }

    /// Makes an empty bare repository where there is none.
    pub fn make_bare(&self) {
        self.run(
            &self.root,
            &["init", "-q", "--bare", "-b", &self.branch, "origin.git"],
        );
    }

    /// Stores contents as a blob in the work tree's repository, and gives its id.
    #[must_use]
    pub fn blob(&self, contents: &[u8]) -> String {
        self.git_with(&["hash-object", "-w", "--stdin"], contents)
    }

    /// Stores a tree of exactly these entries, which git itself might refuse to write.
    #[must_use]
    pub fn raw_tree(&self, entries: &[Entry<'_>]) -> String {
        let mut bytes = Vec::new();
        for Entry { mode, name, id } in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            for pair in id.as_bytes().chunks(2) {
                let pair = std::str::from_utf8(pair).expect("ids are hexadecimal");
                bytes.push(u8::from_str_radix(pair, 16).expect("ids are hexadecimal"));
            }
        }
        self.git_with(
            &["hash-object", "-w", "--literally", "-t", "tree", "--stdin"],
            &bytes,
        )
    }

    /// Commits a stored tree on top of nothing and makes it the bare repository's branch, past all checks.
    pub fn publish_tree(&self, tree: &str, subject: &str) -> Revision {
        let id = self.git(&["commit-tree", tree, "-m", subject]);
        let bare = self.bare();
        let objects = self.work().join(".git/objects");
        // A push would check the tree, as servers that are set up well do; others do not.
        let mut copy = std::process::Command::new("cp");
        copy.arg("-r").arg(objects.join(".")).arg(bare.join("objects"));
        assert!(copy.status().expect("cp is installed").success());
        self.run(
            &bare,
            &["update-ref", &format!("refs/heads/{}", self.branch), &id],
        );
        Revision::new(&id).expect("git prints full commit ids")
    }

    /// Runs git in the work tree, and gives what it printed without the last newline.
    pub fn git(&self, args: &[&str]) -> String {
        self.run(&self.work(), args)
    }

    /// Runs git in a folder, and gives what it printed without the last newline.
    pub fn run(&self, folder: &Path, args: &[&str]) -> String {
        self.spawn(folder, args, b"")
    }

    fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        self.spawn(&self.work(), args, input)
    }

    fn spawn(&self, folder: &Path, args: &[&str], input: &[u8]) -> String {
        if args.first().is_some_and(|verb| verb.starts_with("commit")) {
            self.commits.set(self.commits.get() + 1);
        }
        let date = format!("@{} +0000", FIRST_COMMIT + 60 * (self.commits.get() - 1).max(0));
        let mut child = super::git(folder)
            .args(args)
            .envs([
                ("GIT_AUTHOR_NAME", AUTHOR),
                ("GIT_AUTHOR_EMAIL", MAIL),
                ("GIT_AUTHOR_DATE", &date),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", AUTHOR),
                ("GIT_COMMITTER_EMAIL", MAIL),
                ("GIT_COMMITTER_DATE", &date),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the git program is installed");
        child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(input)
            .expect("git reads its input");
        let output = child.wait_with_output().expect("git ends");
        assert!(
            output.status.success(),
            "git {args:?} in {}: {}\n{}{}",
            folder.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }
}
