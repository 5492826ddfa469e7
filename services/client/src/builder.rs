//! How a service says what it loads, from where, and what wakes it.

use std::ffi::OsString;
use std::path::PathBuf;

use lockstep_protocol::env;

use crate::client::Wakers;
use crate::doorbell::{Caught, Doorbell};
use crate::engine::{Engine, Hooks, Load};
use crate::place::{EnvError, Setting};
use crate::{Client, Refusal};

/// A signal that may ask for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGHUP`, the daemon's tradition.
    Hup,
    /// `SIGUSR1`.
    Usr1,
    /// `SIGUSR2`.
    Usr2,
}

impl Signal {
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Hup => signal_hook::consts::SIGHUP,
            Self::Usr1 => signal_hook::consts::SIGUSR1,
            Self::Usr2 => signal_hook::consts::SIGUSR2,
        }
    }
}

/// What makes the client load again, besides [`Client::reload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The folder is watched, and looked at each second: for `reload = { watch = {} }`.
    Watch,
    /// The signal is caught from the moment this is given to the builder: for `reload = { signal = "…" }`.
    Signal(Signal),
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody said where the configuration is.
    #[error("no configuration is named: start this under Lockstep (which sets {config}), or set CONFIG_PATH to a file", config = env::CONFIG)]
    Nowhere,
    /// The configuration was refused; the status file says the same.
    #[error("the configuration is refused: {0}")]
    Refused(Refusal),
    /// The operating system refused a thread, a socket pair or a signal handler.
    #[error("the {what} of the configuration client could not be made: {source}")]
    System {
        /// What could not be made.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Gathers what the client needs. Made by [`Client::builder`].
#[must_use = "nothing is loaded before `start`"]
pub struct Builder<T> {
    hooks: Hooks<T>,
    setting: Setting,
    vote: bool,
    /// Made for the first trigger, or why that was impossible: said by `start`, so that triggers chain.
    wakers: Result<Option<Wakers>, StartError>,
}

impl<T: Send + Sync + 'static> Builder<T> {
    pub(crate) fn new(load: Load<T>) -> Self {
        let hooks = Hooks {
            load,
            on_change: None,
            on_offer: None,
        };
        Self {
            hooks,
            setting: Setting::default(),
            vote: false,
            wakers: Ok(None),
        }
    }

    /// Asked with the value that runs and the new one before the swap: `Err` keeps the old one, and the status says
    /// rejected. What must be made ready for the new value is made ready here; it becomes visible by the swap.
    ///
    /// Called at each attempt, also when the new value equals the old one: a healed release has the same digest as
    /// the damaged one whose bytes may be running. Not called for the first value.
    pub fn on_change<F>(mut self, check: F) -> Self
    where
        F: Fn(&T, &T) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.hooks.on_change = Some(Box::new(check));
        self
    }

    /// Asked with the value that runs and an offered one which the loader accepted. It must change nothing.
    pub fn on_offer<F>(mut self, check: F) -> Self
    where
        F: Fn(&T, &T) -> Result<(), Refusal> + Send + Sync + 'static,
    {
        self.hooks.on_offer = Some(Box::new(check));
        self
    }

    /// Whether offers are answered: for `verify = { tier = "voting" }`.
    pub fn vote(mut self, vote: bool) -> Self {
        self.vote = vote;
        self
    }

    /// Adds a trigger. A signal is caught from here on, so give it first thing in `main`: before that it kills.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.wakers = self.wakers.and_then(|wakers| {
            let mut wakers = match wakers {
                Some(wakers) => wakers,
                None => Wakers::new()?,
            };
            match trigger {
                Trigger::Watch => wakers.watch = true,
                Trigger::Signal(signal) => {
                    let caught = Caught::new(signal, wakers.bell.ringer());
                    wakers
                        .signals
                        .push(caught.map_err(|source| system("signal handler", source))?);
                }
            }
            Ok(Some(wakers))
        });
        self
    }

    /// Takes the places from the environment: the volume from `LOCKSTEP_CONFIG`, the files and the token beside it.
    /// Without it, `CONFIG_PATH` names one file; nothing is reported then, and its folder may also be a volume.
    ///
    /// With none of these variables, what [`file`](Self::file) said before stands; its name stays that of the main
    /// [document](crate::Snapshot::document) in any case, unless `CONFIG_PATH` gives another.
    ///
    /// # Errors
    /// When the variables contradict each other.
    pub fn from_env(self) -> Result<Self, EnvError> {
        self.from_vars(|name| std::env::var_os(name))
    }

    /// The same from variables that are given, for tests and for services that get them otherwise.
    ///
    /// # Errors
    /// When the variables contradict each other.
    pub fn from_vars(mut self, var: impl Fn(&str) -> Option<OsString>) -> Result<Self, EnvError> {
        self.setting.read(var)?;
        Ok(self)
    }

    /// One file, for a service that runs without Lockstep. Before [`from_env`](Self::from_env) it is the default,
    /// after it an override (say, from the command line) that also ends the reporting.
    ///
    /// # Errors
    /// When the path does not end in a UTF-8 name.
    pub fn file(mut self, file: impl Into<PathBuf>) -> Result<Self, EnvError> {
        self.setting = Setting::of_file(&file.into())?;
        Ok(self)
    }

    /// Loads, publishes the first status and starts the threads.
    ///
    /// # Errors
    /// When nothing can be loaded. The status says rejected then, and the service should end with this message.
    pub fn start(self) -> Result<Client<T>, StartError> {
        let place = self.setting.place().ok_or(StartError::Nowhere)?;
        let wakers = match self.wakers? {
            Some(wakers) => wakers,
            None => Wakers::new()?,
        };
        let Setting {
            status_file,
            offer_file,
            instance,
            ..
        } = self.setting;
        // Without a status file nobody would read the answer.
        let offers = offer_file.filter(|_| self.vote && status_file.is_some());
        let engine = Engine::first(place, self.hooks, status_file, instance.unwrap_or_default())
            .map_err(StartError::Refused)?;
        Client::run(engine, wakers, offers).map_err(|source| system("threads", source))
    }
}

impl Wakers {
    fn new() -> Result<Self, StartError> {
        let bell = Doorbell::new().map_err(|source| system("doorbell", source))?;
        Ok(Self {
            bell,
            signals: Vec::new(),
            watch: false,
        })
    }
}

fn system(what: &'static str, source: std::io::Error) -> StartError {
    StartError::System { what, source }
}
