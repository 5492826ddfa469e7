//! `lockstep demo`: the whole of it in one folder, for a newcomer: a config repository, a stand-in for the broker,
//! two services, and a reconciler that follows the repository.
//!
//! | module | for |
//! |---|---|
//! | [`place`] | the folder: repository, clone, settings |
//! | [`repository`] | commits and pushes |
//! | [`programs`] | the processes, found beside this one |
//! | [`minder`] | the end of everything, also when this process is killed |
//! | [`tour`], [`table`] | `--script`: what a user would try, and what came of it |
//!
//! It acts as a user does: it commits and pushes, and asks the reconciler through its API. It never touches the
//! volume or the services by itself. Beside its own programs it needs nothing on the machine.

mod minder;
mod place;
mod programs;
mod repository;
mod table;
mod tour;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use owo_colors::OwoColorize;

pub(super) use minder::Minder;

use self::minder::Minded;
use self::place::{Place, Ports};
use self::programs::{Broker, Programs, start_reconciler};
use super::client::Client;
use super::run::Signals;
use super::status::{Documents, not_understood};
use super::{Failure, block_on, output, story};
use crate::events::Event;
use crate::settings::Settings;
use crate::web::{WaitFor, Waited};

/// How long anything at the start may take. Far above what it does take.
const START: Duration = Duration::from_secs(30);

/// Try it: a config repository, a broker, two services and a reconciler in one folder
///
/// Nothing else on this machine is touched, and nothing is left when it ends.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep demo              # then edit, commit and push in the clone it names\n  \
                        lockstep demo --script     # it plays a tour by itself and says what came of it"
)]
pub(super) struct Demo {
    /// Play a tour, print what came of it, and end; exit code 0 only if all of it went as it must
    #[arg(long)]
    script: bool,
    /// Leave the folder behind: repository, volume, logs
    #[arg(long)]
    keep: bool,
    /// The folder to use, which must not exist yet; a new one among the temporary files if none
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// A program that belongs to it is missing.
    #[error(
        "{path} is not there: the demo's programs lie beside `lockstep` in a release; in a checkout, `cargo demo` builds them"
    )]
    Program { path: PathBuf },
    /// A file or folder cannot be used.
    #[error("{path}: cannot {doing}: {source}; --dir names another place")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// A process cannot be started.
    #[error("{program} cannot be started: {source}")]
    Spawn { program: String, source: std::io::Error },
    /// Git failed.
    #[error("{path}: cannot {doing}: {}; --dir names another place", source.message())]
    Git {
        doing: &'static str,
        path: PathBuf,
        source: git2::Error,
    },
    /// Something did not come up.
    #[error("{what} within {} s: see {log}, which --keep leaves behind", START.as_secs())]
    Late { what: String, log: PathBuf },
    /// The template is not what the demo was written for.
    #[error("the template has no line {line:?} to change: the demo belongs to another version of it")]
    Template { line: String },
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        Self::refused(error)
    }
}

impl Demo {
    pub(super) fn execute(self) -> Result<(), Failure> {
        block_on(self.run())
    }

    async fn run(self) -> Result<(), Failure> {
        // From here on a signal ends the demo by the road on which nothing is left behind.
        let mut signals = Signals::catch().map_err(Failure::refused)?;
        let programs = Programs::find()?;
        let place = Place::make(self.dir.as_deref())?;
        let mut minded = Minded::start(&programs, &place, self.keep)?;
        let shown = tokio::select! {
            shown = self.show(&programs, &place, &mut minded) => shown,
            () = signals.ended() => Ok(()),
        };
        let left = if self.keep {
            format!("; {} is kept", place.dir().display())
        } else {
            String::new()
        };
        minded.end()?;
        output::line(format_args!("\n{}", format_args!("All is down{left}.").dimmed()))?;
        shown
    }

    async fn show(&self, programs: &Programs, place: &Place, minded: &mut Minded) -> Result<(), Failure> {
        let broker = Broker::start(programs, place, minded).await?;
        let ports = Ports {
            broker: broker.port,
            scanner: programs::free_port(),
            web: programs::free_port(),
        };
        place.fill(programs, ports)?;
        start_reconciler(programs, place, minded)?;
        let settings = Settings::read(&place.settings())?;
        let client = Client::of(&settings);
        output::line(format_args!(
            "{}\n",
            "Starting a broker, a scanner, an orchestrator and the reconciler.".dimmed()
        ))?;
        let mut events = first_events(&client, place).await?;
        first_release(&client, &mut events).await?;
        broker.wait_for_session(place).await?;
        if self.script {
            return tour::play(place, &client, &mut events, &broker).await;
        }
        output::print(&introduction(place, programs, &settings, ports))?;
        while let Some(event) = next(&mut events).await? {
            output::print(&story::tell(&event))?;
        }
        Err(Failure::refused(format!(
            "the reconciler ended by itself: see {}",
            place.reconciler_log().display()
        )))
    }
}

/// The reconciler's events, once it is there to tell them.
async fn first_events(client: &Client, place: &Place) -> Result<Documents, Failure> {
    let late = || DemoError::Late {
        what: "the reconciler did not answer".to_owned(),
        log: place.reconciler_log(),
    };
    until(async || Documents::open(client, "/api/v1/events?follow=true").await.ok())
        .await
        .ok_or_else(|| late().into())
}

/// Tells what happens until the first release is live.
async fn first_release(client: &Client, events: &mut Documents) -> Result<(), Failure> {
    let wanted = WaitFor {
        revision: None,
        timeout_ms: u64::try_from(START.as_millis()).unwrap_or(u64::MAX),
    };
    let waited: Waited = client.post("/api/v1/wait", &wanted).await?;
    if !waited.settled {
        let reason = waited.reason.unwrap_or_default();
        return Err(Failure::refused(format!(
            "the first release is not live: {reason}"
        )));
    }
    while let Some(event) = next(events).await? {
        output::print(&story::tell(&event))?;
        if event.kind == "Settled" {
            break;
        }
    }
    Ok(())
}

/// The next event.
async fn next(events: &mut Documents) -> Result<Option<Event>, Failure> {
    let Some(line) = events.next().await else {
        return Ok(None);
    };
    serde_json::from_str(&line).map(Some).map_err(not_understood)
}

/// Looks again and again until there is something to see, or it took too long.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + START;
    loop {
        if let Some(seen) = look().await {
            return Some(seen);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn introduction(place: &Place, programs: &Programs, settings: &Settings, ports: Ports) -> String {
    let clone = place.clone_dir();
    let head = |text: &str| text.bold().to_string();
    format!(
        "\n{live} Two services run with it, and hold a session with the broker at port {broker}.\n\n\
         {place_head}   {dir}\n\
         \x20 clone       {clone}   (edit here)\n\
         \x20 settings    {settings}\n\
         \x20 metrics     http://127.0.0.1:{web}/metrics\n\n\
         {try_head}\n\
         \x20 cd {clone}\n\
         \x20 sed -i 's/^max_positions = 5/max_positions = 6/' config/config.toml\n\
         \x20 git commit -am 'One more position' && git push\n\
         \x20 git revert --no-edit HEAD && git push\n\n\
         \x20 export LOCKSTEP_SETTINGS={settings}\n\
         \x20 {lockstep} status\n\
         \x20 {lockstep} rollback -m 'That was too much'\n\n\
         {follow} Ctrl-C ends all of it.\n\n",
        live = head("The first release is live."),
        broker = ports.broker,
        place_head = head("Where it is"),
        dir = place.dir().display(),
        clone = clone.display(),
        settings = settings.file.display(),
        web = ports.web,
        lockstep = programs.lockstep.display(),
        try_head = head("Try it, in another terminal"),
        follow = head("What happens is told here."),
    )
}
