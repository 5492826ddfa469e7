//! Writes its status by hand: as the protocol says, or as no service should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_protocol::{
    Attempt, InstanceToken, Offer, PROTOCOL, RELEASE_FILE, Release, RolloutId, Status, StatusError,
    StatusState, SwitchNumber, Vote as Answer,
};

use crate::doors::Served;
use crate::section::{Behave, Section, Vote, read};
use crate::told::{Told, current};
use crate::{Args, place, plain};

struct Hand<'a> {
    args: &'a Args,
    served: &'a Arc<Served>,
    status_file: PathBuf,
    status: Status,
    offer: Option<Offer>,
    was_silent: bool,
    stubborn: bool,
}

pub(crate) fn run(args: &Args, served: &Arc<Served>, mut told: Told, ready: impl FnOnce()) -> ExitCode {
    let instance = std::env::var("LOCKSTEP_INSTANCE").unwrap_or_default();
    let mut hand = Hand {
        args,
        served,
        status_file: place("LOCKSTEP_STATUS_FILE"),
        status: Status {
            protocol: PROTOCOL,
            instance: InstanceToken(instance),
            switch: None,
            revision: None,
            digest: None,
            state: StatusState::Rejected,
            attempted: Attempt {
                switch: None,
                revision: None,
            },
            error: None,
            vote: None,
            at: Timestamp::now(),
        },
        offer: None,
        was_silent: false,
        stubborn: false,
    };
    match hand.load(&place("LOCKSTEP_CONFIG").join("current")) {
        Ok((section, _)) if section.crash => return plain::crash(),
        Ok((section, release)) => hand.apply(&section, &release),
        Err(error) => {
            eprintln!("refused: {error}");
            return ExitCode::FAILURE;
        }
    }
    ready();
    loop {
        if told.wait() {
            told.answer(Ok(()));
            served.ring();
            hand.reload(&told);
        }
        if args.vote {
            hand.look_at_offer();
        }
    }
}

fn number(link: &Path) -> Option<SwitchNumber> {
    Some(SwitchNumber(link.file_name()?.to_str()?.parse().ok()?))
}

impl Hand<'_> {
    fn load(&self, folder: &Path) -> Result<(Section, Release), String> {
        let text =
            |file: &str| fs::read_to_string(folder.join(file)).map_err(|error| format!("{file}: {error}"));
        let release = serde_json::from_str(&text(RELEASE_FILE)?).map_err(|error| error.to_string())?;
        let section = read(&text("config.toml")?, self.args.section())?;
        match section.refusal(self.args.refuse_from) {
            Some(reason) => Err(reason),
            None => Ok((section, release)),
        }
    }

    /// Takes what `current` points to now, and looks at it only once: what is slow here is late.
    fn reload(&mut self, told: &Told) {
        if self.stubborn {
            return;
        }
        let Some(link) = current() else { return };
        let switch = number(&link);
        let folder = place("LOCKSTEP_CONFIG").join(&link);
        let (section, release) = match self.load(&folder) {
            Ok(loaded) => loaded,
            Err(message) => {
                self.status.state = StatusState::Rejected;
                self.status.attempted = Attempt {
                    switch,
                    revision: None,
                };
                self.status.error = Some(error(message));
                return self.write();
            }
        };
        std::thread::sleep(Duration::from_millis(section.delay));
        let mut status = self.status.clone();
        status.instance = InstanceToken(std::env::var("LOCKSTEP_INSTANCE").unwrap_or_default());
        status.state = StatusState::Applied;
        status.error = None;
        status.attempted = Attempt {
            switch,
            revision: Some(release.revision.clone()),
        };
        (status.switch, status.revision, status.digest) =
            (switch, Some(release.revision.clone()), Some(release.digest));
        let other = |by: i64| {
            switch
                .and_then(|switch| switch.0.checked_add_signed(by))
                .map(SwitchNumber)
        };
        match section.behave {
            Behave::Well => {}
            Behave::Silent => return,
            Behave::SilentOnce if self.was_silent => {}
            Behave::SilentOnce => {
                self.was_silent = true;
                return;
            }
            Behave::Stubborn => {
                self.stubborn = true;
                return;
            }
            Behave::Exit => std::process::exit(3),
            Behave::Raise => told.die(),
            Behave::OldSwitch => (status.switch, status.attempted.switch) = (other(-1), other(-1)),
            Behave::NextSwitch => (status.switch, status.attempted.switch) = (other(2), other(2)),
            Behave::OtherDigest => status.digest = self.status.digest,
            Behave::OtherToken => status.instance = InstanceToken("somebody-else".to_owned()),
            Behave::RefuseEarlier => {
                let running = (
                    self.status.switch,
                    self.status.revision.clone(),
                    self.status.digest,
                );
                (status.switch, status.revision, status.digest) = running;
                status.state = StatusState::Rejected;
                status.attempted = Attempt {
                    switch: other(-1),
                    revision: None,
                };
                status.error = Some(error("an earlier one was no good".to_owned()));
            }
            Behave::Half => return self.put(|file| fs::write(file, b"{\"protocol\": 1, \"instan")),
            Behave::Fifo => {
                return self.put(|file| Ok(rustix::fs::mkfifoat(rustix::fs::CWD, file, 0o600.into())?));
            }
            Behave::Link => return self.put(|file| std::os::unix::fs::symlink("/etc/passwd", file)),
            Behave::Folder => return self.put(|file| fs::create_dir(file)),
            Behave::Huge => return self.put(|file| fs::write(file, vec![b' '; 1 << 20])),
        }
        self.status = status;
        if section.behave != Behave::RefuseEarlier {
            self.served.serve(&section, switch.map_or(0, |switch| switch.0));
        }
        self.write();
    }

    fn apply(&mut self, section: &Section, release: &Release) {
        let switch = current().as_deref().and_then(number);
        self.status.state = StatusState::Applied;
        self.status.attempted = Attempt {
            switch,
            revision: Some(release.revision.clone()),
        };
        self.status.switch = switch;
        self.status.revision = Some(release.revision.clone());
        self.status.digest = Some(release.digest);
        self.served.serve(section, switch.map_or(0, |switch| switch.0));
        self.write();
    }

    fn look_at_offer(&mut self) {
        let offer = fs::read(place("LOCKSTEP_OFFER_FILE")).ok();
        let Some(offer) = offer.and_then(|text| serde_json::from_slice::<Offer>(&text).ok()) else {
            return;
        };
        if self.offer.as_ref() == Some(&offer) {
            return;
        }
        let loaded = self.load(&place("LOCKSTEP_CONFIG").join(&offer.directory));
        let vote = loaded.as_ref().map_or(Vote::No, |(section, _)| section.vote);
        let rollout = match vote {
            Vote::Never => None,
            Vote::Astray => Some(RolloutId("another".to_owned())),
            Vote::Yes | Vote::No => Some(offer.rollout.clone()),
        };
        self.offer = Some(offer);
        if let Some(rollout) = rollout {
            let why = loaded.err().unwrap_or_else(|| "this is voted against".to_owned());
            let accept = vote != Vote::No;
            self.status.vote = Some(Answer {
                rollout,
                accept,
                error: (!accept).then(|| error(why)),
            });
            self.write();
        }
    }

    fn write(&mut self) {
        self.status.at = Timestamp::now();
        let text = serde_json::to_vec(&self.status).expect("a status is a document");
        let aside = self.status_file.with_extension("new");
        self.clear();
        let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &self.status_file));
        if let Err(error) = written {
            eprintln!("the status cannot be written: {error}");
        }
    }

    /// What a misdeed left in the status file's place and no rename replaces.
    fn clear(&self) {
        if self.status_file.is_dir() {
            let _ = fs::remove_dir(&self.status_file);
        }
    }

    /// Puts something into the status file's place that should not be there.
    fn put(&self, make: impl FnOnce(&Path) -> std::io::Result<()>) {
        let _ = fs::remove_file(&self.status_file);
        if let Err(error) = make(&self.status_file) {
            eprintln!("the misdeed failed: {error}");
        }
    }
}

fn error(message: String) -> StatusError {
    StatusError {
        message,
        path: Some("config.toml".to_owned()),
        line: None,
        column: None,
    }
}
