//! The demo's folder: a bare config repository and a clone of it, both made from the template, and settings.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::template::TRADER;
use super::DemoError;
use super::programs::Programs;
use super::repository::Clone;

/// The document that services read, in the clone.
pub(super) const CONFIG: &str = "config/config.toml";

/// The ports that differ from demo to demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// The broker's.
    pub(super) broker: u16,
    /// The scanner's.
    pub(super) scanner: u16,
    /// Metrics and health.
    pub(super) web: u16,
}

/// The folder.
pub(super) struct Place {
    dir: PathBuf,
    clone: Clone,
}

impl Place {
    /// Makes the folder. It is removed by the minder, which outlives this process.
    pub(super) fn make(dir: Option<&Path>) -> Result<Self, DemoError> {
        let Some(dir) = dir else {
            let made = tempfile::Builder::new().prefix("lockstep-demo-").tempdir();
            let failed = |source| DemoError::Io {
                doing: "make a folder",
                path: std::env::temp_dir(),
                source,
            };
            return Ok(Self::of(made.map(TempDir::keep).map_err(failed)?));
        };
        let failed = |source| DemoError::Io {
            doing: "make a new folder",
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir(dir).map_err(failed)?;
        Ok(Self::of(std::fs::canonicalize(dir).map_err(failed)?))
    }

    fn of(dir: PathBuf) -> Self {
        let clone = Clone::new(dir.join("clone"));
        Self { dir, clone }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn clone_dir(&self) -> &Path {
        self.clone.dir()
    }

    pub(super) fn settings(&self) -> PathBuf {
        self.dir.join("lockstep.toml")
    }

    pub(super) fn reconciler_log(&self) -> PathBuf {
        self.dir.join("reconciler.log")
    }

    pub(super) fn broker_log(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    pub(super) fn broker_stats(&self) -> PathBuf {
        self.dir.join("broker.json")
    }

    /// The repository with its first commit, the clone, and the settings.
    pub(super) fn fill(&self, programs: &Programs, ports: Ports) -> Result<(), DemoError> {
        let settings = settings(programs, ports);
        self.write(&self.settings(), &settings)?;
        for (path, contents) in TRADER {
            self.write(&self.clone_dir().join(path), contents)?;
        }
        self.edit(&[
            ("port = 7497 ", &format!("port = {} ", ports.broker)),
            ("port = 50051 ", &format!("port = {} ", ports.scanner)),
        ])?;
        self.clone.begin(
            &self.dir.join("config.git"),
            "The template, with ports of this demo",
        )
    }

    /// Replaces texts of the document, each of which it must hold once.
    pub(super) fn edit(&self, replacements: &[(&str, &str)]) -> Result<(), DemoError> {
        let path = self.clone_dir().join(CONFIG);
        let failed = |source| DemoError::Io {
            doing: "read",
            path: path.clone(),
            source,
        };
        let mut text = std::fs::read_to_string(&path).map_err(failed)?;
        for (old, new) in replacements {
            if text.matches(old).count() != 1 {
                return Err(DemoError::Template {
                    line: (*old).to_owned(),
                });
            }
            text = text.replace(old, new);
        }
        self.write(&path, &text)
    }

    /// Adds a line at the end of another file of the clone.
    pub(super) fn append(&self, path: &str, line: &str) -> Result<(), DemoError> {
        let path = self.clone_dir().join(path);
        let failed = |source| DemoError::Io {
            doing: "read",
            path: path.clone(),
            source,
        };
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        self.write(&path, &format!("{text}{line}\n"))
    }

    /// Commits all of the clone and pushes it; gives the commit.
    pub(super) fn push(&self, subject: &str) -> Result<String, DemoError> {
        let commit = self.clone.commit(subject)?;
        self.clone.push()?;
        Ok(commit)
    }

    /// Takes a commit back by a new one and pushes it; gives the new commit.
    pub(super) fn push_revert(&self, commit: &str) -> Result<String, DemoError> {
        let commit = self.clone.revert(commit)?;
        self.clone.push()?;
        Ok(commit)
    }

    fn write(&self, path: &Path, contents: &str) -> Result<(), DemoError> {
        let failed = |source| DemoError::Io {
            doing: "write",
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(path, contents).map_err(failed)
    }
}

fn settings(programs: &Programs, ports: Ports) -> String {
    let quoted = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    format!(
        r#"# The settings of the demo. Relative paths count from this file.
[source]
url = "./config.git"
branch = "main"
path = "config"

[volume]
path = "./volume"

[[service]]                                  # sees each switch by itself
name = "scanner"
reads = [
    "config.toml#scanner", "config.toml#data", "config.toml#strategy", "config.toml#universe",
    "config.toml#logging",
]
process = {{ command = [{scanner}] }}
pause = "freeze"
reload = {{ watch = {{}} }}
verify = {{ tier = "voting", within = "10s" }}

[[service]]                                  # is told by a signal
name = "orchestrator"
reads = [
    "config.toml#ibkr", "config.toml#trading", "config.toml#options", "config.toml#schedule",
    "config.toml#scanner.host", "config.toml#scanner.port", "config.toml#logging",
]
process = {{ command = [{orchestrator}] }}
pause = "freeze"
reload = {{ signal = "SIGUSR1" }}
verify = {{ tier = "voting", within = "10s" }}

[web]
listen = "127.0.0.1:{web}"

[state]
path = "./state"
"#,
        scanner = quoted(&programs.scanner),
        orchestrator = quoted(&programs.orchestrator),
        web = ports.web,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_understood_wherever_the_programs_lie() {
        let odd = Path::new("/srv/a \"quoted\" place");
        let programs = Programs::in_folder(odd, odd.join("lockstep"));
        let text = settings(
            &programs,
            Ports {
                broker: 1,
                scanner: 2,
                web: 3,
            },
        );
        let settings = crate::settings::Settings::parse(Path::new("/demo/lockstep.toml"), &text).unwrap();
        assert_eq!(settings.services.len(), 2);
        let scanner = settings.services[0].supervised().unwrap();
        assert_eq!(scanner.command, ["/srv/a \"quoted\" place/scanner"]);
        assert_eq!(settings.source.spec.url, "/demo/config.git");
    }
}
