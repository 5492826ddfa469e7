//! Services that Lockstep does not start: their manager is the test.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Lab;
use crate::processes::{Process, Role};
use crate::wait::eventually;

impl Lab {
    /// The folder of a service that Lockstep does not start: its pid file, its status and its log.
    #[must_use]
    pub fn foreign_folder(&self, service: &str) -> PathBuf {
        self.root.join("lab").join(service)
    }

    /// Starts the test service as its own manager would, with these arguments behind its name, and waits until it
    /// answers. Its pid is written to its pid file.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_foreign(&self, service: &str, args: &[&str]) -> Process {
        let mut command = Command::new(self.root.join("bin/lab-service"));
        command.arg(service).args(args);
        let process = self.run_foreign(service, command);
        eventually("it answers", || self.ask(service).pid == process.pid);
        process
    }

    /// Starts any command in its place.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_foreign(&self, service: &str, mut command: Command) -> Process {
        let folder = self.foreign_folder(service);
        fs::create_dir_all(&folder).expect("the lab is ours");
        // Whoever it runs as writes there.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&folder, open).expect("the lab is ours");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"));
        let log = log.expect("the lab is ours");
        let child = command
            .current_dir(&self.root)
            .env("LOCKSTEP_CONFIG", self.volume())
            .env("LOCKSTEP_STATUS_FILE", folder.join("status.json"))
            .env("LOCKSTEP_OFFER_FILE", folder.join("offer.json"))
            .env("LAB_PLACE", self.root.join("lab"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .process_group(0)
            .spawn();
        let pid = child.expect("it can be started").id();
        self.write_pid(service, &pid.to_string());
        let found = self
            .processes()
            .into_iter()
            .find(|process| process.pid == pid.cast_signed());
        found.unwrap_or_else(|| panic!("{service} ended at once"))
    }

    /// Writes a pid file, whole.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_pid(&self, service: &str, text: &str) {
        let folder = self.foreign_folder(service);
        fs::create_dir_all(&folder).expect("the lab is ours");
        fs::write(folder.join("pid.new"), format!("{text}\n")).expect("the lab is ours");
        fs::rename(folder.join("pid.new"), folder.join("pid")).expect("the lab is ours");
    }

    /// The process that a service's pid file names.
    ///
    /// # Panics
    /// When it does not live.
    #[must_use]
    #[track_caller]
    pub fn foreign(&self, service: &str) -> Process {
        let text = fs::read_to_string(self.foreign_folder(service).join("pid")).expect("it was written");
        let pid = text.trim().parse::<i32>().expect("a number was written");
        let found = self
            .processes()
            .into_iter()
            .find(|process| process.pid == pid && process.role == Role::Service(service.to_owned()));
        found.unwrap_or_else(|| panic!("{service} does not live"))
    }
}
