//! A reconciler whose volume is a file system of its own, in a mount namespace that goes with its last process.
//!
//! Outside of that namespace the volume's path leads elsewhere: [`Lab::mounted_volume`] is the way in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::Lab;
use crate::ran::{Ran, await_end};

impl Lab {
    /// Runs a reconciler that is to end by itself, its volume being a `tmpfs` with these options. None where this
    /// user may not mount anything.
    pub fn run_mounted(&self, options: &str) -> Option<Ran> {
        self.mounted(options).map(await_end)
    }

    /// Starts the reconciler that way, knowing its points, and says whether it could.
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

    /// The volume as the processes see it whose reconciler was started that way.
    ///
    /// # Panics
    /// When that reconciler does not live.
    #[must_use]
    pub fn mounted_volume(&self) -> PathBuf {
        let pid = self.reconciler().expect("it was started").pid;
        let path = self.volume();
        let below = path.strip_prefix("/").expect("the lab's folder is absolute");
        Path::new("/proc").join(pid.to_string()).join("root").join(below)
    }

    /// Has nobody write to that volume any more, as after an error of its disk.
    ///
    /// It is covered by itself, read-only: a file system of which a file is open for writing is made so by the
    /// kernel alone.
    ///
    /// # Panics
    /// When that reconciler does not live.
    pub fn make_volume_read_only(&self) {
        self.inside("mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"");
    }

    /// Takes that back.
    ///
    /// # Panics
    /// When it was not read-only.
    pub fn make_volume_writable(&self) {
        self.inside("umount -l \"$1\"");
    }

    /// Leaves no room on that volume. Gives the file that takes it.
    ///
    /// # Panics
    /// When something else is wrong with it than that it is full.
    #[must_use]
    pub fn fill_volume(&self) -> PathBuf {
        let filler = self.mounted_volume().join(".lockstep/filler");
        let mut file = fs::File::create(&filler).expect("the volume is writable");
        let full = loop {
            if let Err(error) = std::io::Write::write_all(&mut file, &[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        filler
    }

    fn inside(&self, script: &str) {
        let pid = self.reconciler().expect("it was started").pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &pid]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["sh", "-c", script, "sh"]).arg(self.volume());
        let ran = await_end(self.prepare(command));
        ran.done();
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
        let mut command = self.prepare(unshare);
        command.env("LOCKSTEP_STOP_AT", self.root().join("stop-at"));
        Some(command)
    }
}
