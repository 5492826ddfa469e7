//! Folders in which `lockstep` is run as a person would, and golden files that hold what came of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A policy with one document.
pub(crate) const POLICY: &str =
    "version = 1\n\n[[document]]\npath = \"config/config.toml\"\nschema = \".lockstep/schema.json\"\n";

/// Its schema.
pub(crate) const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "limits": {
      "type": "object",
      "properties": {
        "max": { "type": "integer", "minimum": 1, "x-unit": "orders" },
        "min": { "type": "integer", "default": 0 }
      },
      "additionalProperties": false
    }
  }
}
"#;

/// A folder to run commands in.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap()
    }

    pub(crate) fn write(&self, path: &str, contents: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    /// Runs a command.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_lockstep"));
        command.args(args).output().unwrap()
    }

    /// Runs commands one after the other, and compares all that they print with a golden file.
    #[track_caller]
    pub(crate) fn case(&self, name: &str, commands: &[&[&str]]) {
        self.case_with(name, &[], commands);
    }

    #[track_caller]
    pub(crate) fn case_with(&self, name: &str, env: &[(&str, &str)], commands: &[&[&str]]) {
        let mut seen = String::new();
        for args in commands {
            let output = self
                .command(env!("CARGO_BIN_EXE_lockstep"))
                .args(*args)
                .envs(env.iter().copied())
                .output();
            self.show(args, &output.unwrap(), &mut seen);
        }
        let path = golden().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &seen).unwrap();
            return;
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            expected == seen,
            "{} differs; UPDATE=1 writes it anew.\n--- expected\n{expected}\n--- seen\n{seen}",
            path.display()
        );
    }

    /// A command with nothing of this machine in its environment.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
        command.env("HOME", self.path().join("no-home")).env("TZ", "UTC");
        command
    }

    fn show(&self, args: &[&str], output: &Output, seen: &mut String) {
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*self.path().to_string_lossy(), "[DIR]");
        writeln!(seen, "$ lockstep {}", args.join(" ")).unwrap();
        for (mark, bytes) in [("", &output.stdout), ("! ", &output.stderr)] {
            for line in text(bytes).lines() {
                writeln!(seen, "{}", format!("{mark}{line}").trim_end()).unwrap();
            }
        }
        writeln!(seen, "= {}\n", output.status.code().unwrap()).unwrap();
    }
}

/// A clone of a config repository with two commits, whose ids are the same at every run.
pub(crate) struct Repo {
    folder: Folder,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let repo = Self {
            folder: Folder::new(),
        };
        repo.git(&["init", "--quiet"]);
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        repo.write(".lockstep/policy.toml", POLICY);
        repo.write(".lockstep/schema.json", SCHEMA);
        repo.write("config/config.toml", "[limits]\nmax = 4\n");
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "First"]);
        repo.write("config/config.toml", "[limits]\nmax = 5\n");
        repo.git(&["commit", "--quiet", "--all", "--message", "Second"]);
        repo
    }

    pub(crate) fn write(&self, path: &str, contents: &str) {
        self.folder.write(path, contents);
    }

    #[track_caller]
    pub(crate) fn case(&self, name: &str, commands: &[&[&str]]) {
        self.folder.case(name, commands);
    }

    #[track_caller]
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let mut git = self.folder.command("git");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "A Person")
                .env(format!("GIT_{who}_EMAIL"), "person@example.com");
            git.env(format!("GIT_{who}_DATE"), "2026-01-02T03:04:05Z");
        }
        let output = git.env("GIT_CONFIG_NOSYSTEM", "1").args(args).output().unwrap();
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden")
}

/// A file that no case names any more would be believed for ever.
pub(crate) fn every_golden_file_is_used(cases: &str) {
    for entry in std::fs::read_dir(golden()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".txt").unwrap();
        let used = cases.contains(&format!("\"{name}\""))
            || name
                .strip_prefix("help-")
                .is_some_and(|command| cases.contains(&format!("\"{command}\"")));
        assert!(used, "no case writes {name}.txt: remove it");
    }
}
