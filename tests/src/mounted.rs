//! A reconciler whose volume is a file system of its own, in a mount namespace that goes with its last process.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::Lab;
use crate::ran::{Ran, await_end};

impl Lab {
    /// Runs a reconciler that is to end by itself, its volume being a `tmpfs` with these options. None where this
    /// user may not mount anything.
    pub fn run_mounted(&self, options: &str) -> Option<Ran> {
        self.mounted(options).map(await_end)
    }

    /// Starts the reconciler that way, and says whether it could.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start_reconciler_mounted(&self, options: &str) -> bool {
        let command = self.mounted(options);
        let possible = command.is_some();
        if let Some(command) = command {
            self.start_reconciler_by(command);
        }
        possible
    }

    /// Runs a reconciler that is to end by itself, with other settings.
    ///
    /// # Panics
    /// When it does not end.
    pub fn run_to_end_with(&self, settings: &Path) -> Ran {
        let mut command = Command::new(self.root().join("bin/lockstep"));
        command.args(["run", "--settings"]).arg(settings);
        await_end(self.prepare(command))
    }

    fn mounted(&self, options: &str) -> Option<Command> {
        let mut unshare = Command::new("unshare");
        unshare.arg("--mount");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--map-root-user"]);
        }
        let mut trial = Command::new("unshare");
        trial
            .args(unshare.get_args())
            .args(["mount", "-t", "tmpfs", "none"])
            .arg(self.volume());
        let tried = trial.stdin(Stdio::null()).stderr(Stdio::null()).status();
        if !tried.is_ok_and(|status| status.success()) {
            eprintln!("not run: this user may not mount anything");
            return None;
        }
        let script = "mount -t tmpfs -o \"$1\" none \"$2\" && shift 2 && exec \"$@\"";
        unshare
            .args(["sh", "-c", script, "sh", options])
            .arg(self.volume());
        unshare
            .arg(self.root().join("bin/lockstep"))
            .args(["run", "--settings"])
            .arg(self.settings());
        Some(self.prepare(unshare))
    }
}
