//! From the settings of a service to how the guard is to run it, and where commands about it run.

use std::path::{Path, PathBuf};

use lockstep_guard::wire::Definition;
use lockstep_protocol::env;

use crate::agent::{self, Folders, Output, Surroundings};
use crate::settings::{Limits, Run, Service, Settings};

/// How the guard is to run a service, if it is to run it.
pub(super) fn definition(service: &Service, settings: &Settings, folders: &Folders) -> Option<Definition> {
    let process = service.supervised()?;
    let Surroundings { cwd, env, user } = surroundings(service, settings, folders);
    Some(Definition {
        service: service.name.to_string(),
        command: process.command.clone(),
        cwd,
        env,
        user,
        output: output_file(service, settings),
        run_dir: folders.of(&service.name),
        stop_signal: process.stop_signal.clone(),
        stop_within_ms: u64::try_from(process.stop_within.as_millis()).unwrap_or(u64::MAX),
        restart: process.restart,
    })
}

/// Where and as whom a service runs, and commands about it.
pub(super) fn surroundings(service: &Service, settings: &Settings, folders: &Folders) -> Surroundings {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let (cwd, env, user) = match &service.process {
        Run::Supervised(process) => (&process.cwd, &process.env, &process.user),
        Run::Foreign(foreign) => (&foreign.cwd, &foreign.env, &foreign.user),
    };
    let mut env = env.clone();
    env.insert(env::CONFIG.to_owned(), path(&settings.volume.path));
    if service.supervised().is_some() {
        let run_dir = folders.of(&service.name);
        env.insert(env::STATUS_FILE.to_owned(), path(&run_dir.join(agent::STATUS)));
        env.insert(env::OFFER_FILE.to_owned(), path(&run_dir.join(agent::OFFER)));
    }
    Surroundings {
        cwd: cwd.clone(),
        env,
        user: user.clone(),
    }
}

/// The files that output is appended to: of each service that Lockstep runs, and of the guard that it starts.
pub(super) fn outputs(settings: &Settings) -> Vec<Output> {
    let of_services = settings.services.iter().filter_map(|service| {
        Some(Output {
            path: output_file(service, settings),
            limits: service.supervised()?.output,
        })
    });
    let of_guard = Output {
        path: settings.state.join("guard.log"),
        limits: Limits::default(),
    };
    of_services.chain([of_guard]).collect()
}

fn output_file(service: &Service, settings: &Settings) -> PathBuf {
    settings.state.join("log").join(format!("{}.log", service.name))
}
