//! A volume made by hand, as `lockstep` would lay it out, and how to wait for things.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockstep_protocol::{
    Digest, DigestBuilder, FileMode, Offer, PROTOCOL, RELEASE_FILE, Release, Revision, RolloutId, Status,
    SwitchNumber,
};

/// Looks again until there is something, or panics after far too long.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "still waiting: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A release that lies on the volume, current or not.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// Relative to the volume.
    pub(crate) directory: String,
    pub(crate) digest: Digest,
    pub(crate) revision: Revision,
}

/// A volume with its service's own folder beside it.
pub(crate) struct Volume {
    folder: tempfile::TempDir,
    switches: u64,
    releases: u64,
}

impl Volume {
    /// A volume on which nothing was published.
    pub(crate) fn new() -> Self {
        let volume = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            switches: 0,
            releases: 0,
        };
        for folder in ["volume/.lockstep/switches", "volume/.lockstep/releases", "run"] {
            fs::create_dir_all(volume.folder.path().join(folder)).unwrap();
        }
        volume
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The environment of a supervised service.
    pub(crate) fn vars(&self) -> [(&'static str, OsString); 4] {
        [
            ("LOCKSTEP_CONFIG", self.path().into()),
            ("LOCKSTEP_STATUS_FILE", self.run().join("status.json").into()),
            ("LOCKSTEP_OFFER_FILE", self.run().join("offer.json").into()),
            ("LOCKSTEP_INSTANCE", "token-1".into()),
        ]
    }

    /// The same as a function, for `from_vars`.
    pub(crate) fn var(&self) -> impl Fn(&str) -> Option<OsString> + use<> {
        let vars = self.vars();
        move |name| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.clone())
        }
    }

    /// Puts a release on the volume that nothing points to.
    pub(crate) fn build(&mut self, files: &[(&str, &str)]) -> Built {
        self.releases += 1;
        let revision = Revision::new(&format!("{:040x}", self.releases)).unwrap();
        let mut sorted = files.to_vec();
        sorted.sort_unstable();
        let mut digest = DigestBuilder::new();
        for (path, text) in &sorted {
            let contents = Digest::of_bytes(text.as_bytes()).hex();
            let sha256: Vec<u8> = (0..32)
                .map(|at| u8::from_str_radix(&contents[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            digest.file(FileMode::Regular, &sha256.try_into().unwrap(), path);
        }
        let digest = digest.finish();
        let directory = format!(".lockstep/releases/{}-{:012x}", digest.short(), self.releases);
        let release = self.path().join(&directory);
        fs::create_dir_all(release.join(".lockstep")).unwrap();
        for (path, text) in files {
            fs::write(release.join(path), text).unwrap();
        }
        let at = "2026-11-24T09:30:00Z".parse().unwrap();
        let about = Release {
            revision: revision.clone(),
            digest,
            author: "Ada Example <ada@example.org>".into(),
            committed: at,
            subject: "A test".into(),
            built: at,
        };
        fs::write(release.join(RELEASE_FILE), serde_json::to_vec(&about).unwrap()).unwrap();
        Built {
            directory,
            digest,
            revision,
        }
    }

    /// Makes a release current: a new switch, by one rename.
    pub(crate) fn switch_to(&mut self, built: &Built) -> SwitchNumber {
        self.switches += 1;
        let switch = SwitchNumber(self.switches);
        let link = self.path().join(format!(".lockstep/switches/{switch}"));
        let name = Path::new(&built.directory).file_name().unwrap();
        symlink(Path::new("../releases").join(name), link).unwrap();
        let staged = self.path().join(".lockstep/next");
        symlink(format!(".lockstep/switches/{switch}"), &staged).unwrap();
        fs::rename(staged, self.path().join("current")).unwrap();
        switch
    }

    /// Builds and switches.
    pub(crate) fn publish(&mut self, files: &[(&str, &str)]) -> SwitchNumber {
        let built = self.build(files);
        self.switch_to(&built)
    }

    /// Takes a release and its switch's link away, as retention does.
    pub(crate) fn remove(&self, switch: SwitchNumber, built: &Built) {
        fs::remove_file(self.path().join(format!(".lockstep/switches/{switch}"))).unwrap();
        fs::remove_dir_all(self.path().join(&built.directory)).unwrap();
    }

    /// Asks a voting service about a release.
    pub(crate) fn offer(&self, rollout: &str, built: &Built) {
        let offer = Offer {
            protocol: PROTOCOL,
            rollout: RolloutId(rollout.into()),
            revision: built.revision.clone(),
            digest: built.digest,
            directory: built.directory.clone(),
        };
        let staged = self.run().join("offer.next");
        fs::write(&staged, serde_json::to_vec(&offer).unwrap()).unwrap();
        fs::rename(staged, self.run().join("offer.json")).unwrap();
    }

    /// What the status file says; none while there is none. Half a document is a failure.
    pub(crate) fn status(&self) -> Option<Status> {
        let text = fs::read(self.run().join("status.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or_else(|error| {
            panic!("no whole status: {error}: {}", String::from_utf8_lossy(&text));
        }))
    }

    /// Waits until the status file names an attempt at this switch.
    pub(crate) fn attempt(&self, switch: SwitchNumber) -> Status {
        eventually(
            &format!("an attempt at switch {switch}; status {:?}", self.status()),
            || {
                self.status()
                    .filter(|status| status.attempted.switch == Some(switch))
            },
        )
    }

    /// Waits until the status file holds a vote for this rollout.
    pub(crate) fn vote(&self, rollout: &str) -> Status {
        eventually(&format!("a vote for {rollout}"), || {
            self.status()
                .filter(|status| status.vote.as_ref().is_some_and(|vote| vote.rollout.0 == rollout))
        })
    }
}
