//! What the services' tests share: a hand-made volume, processes that never outlive their test, and one way to wait.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockstep_protocol::{
    Digest, Offer, PROTOCOL, RELEASE_FILE, Release, Revision, RolloutId, Status, StatusState, SwitchNumber,
    env,
};

/// The longest that anything here may take. Far above what it does take, for machines under load.
const DEADLINE: Duration = Duration::from_secs(20);

/// Looks again and again until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A free port that the system gives to nobody by itself, so that it can be bound again after a while.
///
/// Each test process has a hundred of its own, below the range from which connections get theirs.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + u16::try_from(std::process::id() % 200).unwrap() * 100;
    until("a free port", || {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

/// A volume as Lockstep lays it out, with `config.toml` as its only file.
pub(crate) struct Volume {
    folder: tempfile::TempDir,
    switch: u64,
}

impl Volume {
    /// An empty volume, then one switch to this configuration.
    pub(crate) fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for made in [
            "volume/.lockstep/releases",
            "volume/.lockstep/switches",
            "instances",
        ] {
            std::fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        symlink("current/config.toml", folder.path().join("volume/config.toml")).unwrap();
        let mut volume = Self { folder, switch: 0 };
        volume.switch_to(config);
        volume
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// Builds a release and moves `current` to it by one rename.
    pub(crate) fn switch_to(&mut self, config: &str) -> SwitchNumber {
        let release = self.build(config);
        self.switch += 1;
        let number = self.switch;
        let lockstep = self.path().join(".lockstep");
        let name = Path::new(&release).file_name().unwrap();
        symlink(
            Path::new("../releases").join(name),
            lockstep.join(format!("switches/{number}")),
        )
        .unwrap();
        let staged = lockstep.join("next");
        symlink(format!(".lockstep/switches/{number}"), &staged).unwrap();
        std::fs::rename(&staged, self.path().join("current")).unwrap();
        SwitchNumber(number)
    }

    /// Builds a release that nothing points to yet; its directory, relative to the volume.
    fn build(&self, config: &str) -> String {
        let document = document(config);
        let name = format!("{}-{}", document.digest.short(), document.revision.short());
        let folder = self.path().join(".lockstep/releases").join(&name);
        std::fs::create_dir_all(folder.join(".lockstep")).unwrap();
        std::fs::write(folder.join("config.toml"), config).unwrap();
        std::fs::write(
            folder.join(RELEASE_FILE),
            serde_json::to_string(&document).unwrap(),
        )
        .unwrap();
        format!(".lockstep/releases/{name}")
    }

    /// Starts a service as Lockstep would.
    pub(crate) fn start(&self, name: &str, program: impl AsRef<OsStr>, args: &[&str]) -> Service {
        let folder = self.folder.path().join("instances").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(program);
        command
            .args(args)
            .env(env::CONFIG, self.path())
            .env(env::STATUS_FILE, folder.join("status.json"))
            .env(env::OFFER_FILE, folder.join("offer.json"))
            .env(env::INSTANCE, format!("token of {name}"));
        Service {
            folder,
            process: Process::start(command),
        }
    }

    /// Asks a service whether it would take this configuration, and waits for the answer.
    pub(crate) fn offer(&self, service: &Service, rollout: &str, config: &str) -> lockstep_protocol::Vote {
        let Release { revision, digest, .. } = document(config);
        let rollout = RolloutId(rollout.to_owned());
        let directory = self.build(config);
        let offer = Offer {
            protocol: PROTOCOL,
            rollout: rollout.clone(),
            revision,
            digest,
            directory,
        };
        let staged = service.folder.join("offer.next");
        std::fs::write(&staged, serde_json::to_string(&offer).unwrap()).unwrap();
        std::fs::rename(&staged, service.folder.join("offer.json")).unwrap();
        until("a vote", || {
            service
                .status()
                .and_then(|status| status.vote)
                .filter(|vote| vote.rollout == rollout)
        })
    }
}

/// What the release of this configuration says of itself; its revision is made from the contents.
fn document(config: &str) -> Release {
    let digest = Digest::of_bytes(config.as_bytes());
    Release {
        revision: Revision::new(&digest.hex()[..40]).unwrap(),
        digest,
        author: "A. Trader <trader@example.org>".to_owned(),
        committed: jiff::Timestamp::UNIX_EPOCH,
        subject: "a change".to_owned(),
        built: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// A service that takes part.
pub(crate) struct Service {
    folder: PathBuf,
    pub(crate) process: Process,
}

impl Service {
    pub(crate) fn status(&self) -> Option<Status> {
        let text = std::fs::read_to_string(self.folder.join("status.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Waits for its statement about this switch.
    pub(crate) fn attempted(&self, switch: SwitchNumber) -> Status {
        until(&format!("a status of switch {switch}"), || {
            self.status()
                .filter(|status| status.attempted.switch == Some(switch))
        })
    }

    /// Waits until it runs this switch.
    pub(crate) fn applied(&self, switch: SwitchNumber) {
        let status = self.attempted(switch);
        assert_eq!(status.state, StatusState::Applied, "{:?}", status.error);
        assert_eq!(status.switch, Some(switch));
    }
}

/// A process whose output is kept; it is killed when the test ends, however it ends.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let out = BufReader::new(child.stdout.take().unwrap());
        let kept = Arc::clone(&lines);
        // Ends with the process, whose end of the pipe closes then.
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                println!("{line}");
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that contains this; the rest of the line.
    pub(crate) fn line_with(&self, part: &str) -> String {
        until(&format!("a line with {part:?}"), || {
            let lines = self.lines.lock().unwrap();
            lines
                .iter()
                .find_map(|line| line.split_once(part).map(|(_, rest)| rest.to_owned()))
        })
    }

    /// The rest of each line so far that contains this.
    pub(crate) fn all_with(&self, part: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        let rests = lines.iter().filter_map(|line| line.split_once(part));
        rests.map(|(_, rest)| rest.to_owned()).collect()
    }

    /// How many lines contain this so far.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the end of the process", || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
