//! A real `git daemon`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::program::{Program, at_a_free_port};

/// Serves every repository below a folder by `git://`, until it is dropped.
pub struct GitDaemon {
    address: SocketAddr,
    program: Program,
}

impl GitDaemon {
    /// Starts one that serves the repositories below `base`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn serve(base: &Path) -> Self {
        at_a_free_port(|port| Self::start(base, port))
    }

    /// The URL of a repository below `base`.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("git://{}/{repository}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.program.log()
    }

    fn start(base: &Path, port: u16) -> Option<Self> {
        // The program itself, not `git daemon`: that would be a parent which dies alone.
        let exec_path = super::git(base)
            .arg("--exec-path")
            .output()
            .expect("the git program is installed");
        let program = Path::new(String::from_utf8_lossy(&exec_path.stdout).trim()).join("git-daemon");
        let mut command = Command::new(program);
        super::scrub(&mut command)
            .args([
                "--verbose",
                "--export-all",
                "--informative-errors",
                "--reuseaddr",
                "--listen=127.0.0.1",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .arg(base);
        // git's own check of who owns a repository: in a container the test's user may own none of it.
        command.envs([
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
        ]);
        Some(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            program: Program::start(&mut command, "Ready to rumble")?,
        })
    }
}
