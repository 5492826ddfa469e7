//! A lab: one Lockstep with everything around it, in a folder of its own, and the verbs of a test.

mod happened;
mod reconciler;
mod services;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockstep_source::testing::{GitDaemon, Origin};
use tempfile::TempDir;

pub use services::Answer;

use crate::events::Follower;
use crate::keeper::{self, Keeper};
use crate::ran::{Ran, await_end, end_within};
use crate::view::Status;
use crate::wait::{PATIENCE, until};
use crate::{Builder, report};

/// One Lockstep with its repository, its services and its settings. Ends and removes all of it on drop; when the
/// test failed, everything that is known is printed first.
pub struct Lab {
    pub(crate) reconciler: RefCell<Option<Child>>,
    pub(crate) events: RefCell<Follower>,
    pub(crate) commands: RefCell<Vec<String>>,
    pub(crate) sections: RefCell<BTreeMap<String, String>>,
    pub(crate) path: String,
    pub(crate) address: Ipv4Addr,
    /// Held for its drop.
    pub(crate) _daemon: Option<GitDaemon>,
    pub(crate) origin: Origin,
    pub(crate) root: PathBuf,
    pub(crate) folder: Option<TempDir>,
    /// Held for its drop, which comes after the lab's own.
    pub(crate) _keeper: Keeper,
}

impl Lab {
    /// Begins to set one up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    // ---- places

    /// The lab's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The settings file.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.root.join("lockstep.toml")
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> PathBuf {
        self.root.join("volume")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The loopback address that is this lab's alone.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Where the reconciler keeps the folder of a service's instance.
    #[must_use]
    pub fn instance_folder(&self, service: &str) -> PathBuf {
        report::run_folder(&self.state()).join(service)
    }

    // ---- commands

    /// A command of the program with this lab's settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("bin/lockstep"));
        command.args(args).arg("--settings").arg(self.settings());
        self.prepare(command)
    }

    /// A command in the lab's folder, with an environment that does not depend on the machine's.
    pub(crate) fn prepare(&self, mut command: Command) -> Command {
        command.current_dir(&self.root).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for name in ["LOCKSTEP_LOG", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        self.commands.borrow_mut().push(words.join(" "));
        command
    }

    /// Runs a command of the program with this lab's settings.
    pub fn lockstep(&self, args: &[&str]) -> Ran {
        self.run(args)
    }

    /// The same, killed when it takes longer.
    pub(crate) fn lockstep_within(&self, args: &[&str], time: Duration) -> Result<Ran, Ran> {
        end_within(self.command(args), time)
    }

    fn run(&self, args: &[&str]) -> Ran {
        await_end(self.command(args))
    }

    /// The status.
    ///
    /// # Panics
    /// When the reconciler does not answer.
    #[must_use]
    pub fn status(&self) -> Status {
        let out = self.lockstep(&["status", "--json"]).done();
        serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("the status has another shape: {error}\n{out}"))
    }

    /// Waits until the status is as wanted, and gives it.
    ///
    /// # Panics
    /// With `what` when it is not so in time.
    pub fn wait_status(&self, what: &str, so: impl Fn(&Status) -> bool) -> Status {
        let seen = until(PATIENCE, || Some(self.status()).filter(&so));
        seen.unwrap_or_else(|| panic!("the status did not become: {what}"))
    }

    /// Asserts that nothing half-done lies on the volume: `current` leads to a whole release, every link of the top
    /// level leads somewhere, nothing is staged.
    ///
    /// # Panics
    /// When something does.
    #[track_caller]
    pub fn assert_volume_whole(&self) {
        self.assert_whole(&self.volume());
    }

    /// The same of a volume that is seen elsewhere.
    ///
    /// # Panics
    /// When something half-done lies there.
    #[track_caller]
    pub fn assert_whole(&self, volume: &Path) {
        report::assert_volume_whole(volume);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", report::of(self));
        }
        if let Some(mut child) = self.reconciler.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let gone = keeper::end(&self.root);
        if let Some(folder) = self.folder.take() {
            let removed = folder.close();
            if !std::thread::panicking() {
                assert!(gone, "processes of the lab cannot be ended");
                assert!(removed.is_ok(), "the lab's folder cannot be removed: {removed:?}");
            }
        }
    }
}
