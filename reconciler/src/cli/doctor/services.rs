//! Whether the services' programs can be run, and, where a reconciler runs, whether their processes are fit.

use std::fs;
use std::path::{Path, PathBuf};

use lockstep_core::service::{Reload, ServiceName};
use lockstep_core::status::{InstanceView, StatusView};
use lockstep_guard::check_identity;
use rustix::fs::{Access, access};
use rustix::net::sockopt::socket_peercred;
use rustix::process::Pid;

use super::super::client::Client;
use super::super::{Failure, block_on};
use super::Finding;
use crate::agent::{
    InFront, Named, expected_user, hint, in_front, listens, named, pinned_to_a_release, user_name,
    would_kill_behind,
};
use crate::settings::{Foreign, Process, Run, Service, Settings};
use crate::web;

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings: Vec<_> = settings
        .services
        .iter()
        .map(|service| match &service.process {
            Run::Supervised(process) => program(&service.name, process),
            Run::Foreign(foreign) => pid_file(&service.name, foreign),
        })
        .collect();
    let status = block_on(async { Client::of(settings).get::<StatusView>("/api/v1/status").await });
    match status {
        Ok(status) => {
            findings.push(alarms(&status));
            for service in &settings.services {
                let known = status.services.iter().find(|known| known.name == service.name);
                let instances = known.into_iter().flat_map(|known| &known.instances);
                findings.extend(instances.map(|instance| running(service, instance)));
            }
            findings.extend(apart(settings));
        }
        Err(Failure {
            code: Failure::UNREACHABLE,
            ..
        }) => findings.push(Finding::warning(
            "reconciler",
            "none runs with these settings, so its services were not looked at",
            format!("lockstep run --settings {}", settings.file.display()),
        )),
        Err(failure) => findings.push(Finding::problem("reconciler", failure.message, "see its log")),
    }
    findings
}

/// The program as it would be executed.
fn program(service: &ServiceName, process: &Process) -> Finding {
    let what = format!("{service}, program");
    if !process.cwd.is_dir() {
        return Finding::problem(
            what,
            format!("its folder {} is not there", process.cwd.display()),
            "make it, or correct `cwd`",
        );
    }
    let name = process.command.first().map(String::as_str).unwrap_or_default();
    let search = process.env.get("PATH").map(String::as_str).unwrap_or_default();
    let places: Vec<PathBuf> = if name.contains('/') {
        vec![process.cwd.join(name)]
    } else {
        search
            .split(':')
            .map(|folder| Path::new(folder).join(name))
            .collect()
    };
    let found = places
        .iter()
        .find(|path| path.is_file() && access(path.as_path(), Access::EXEC_OK).is_ok());
    match found {
        Some(path) => Finding::ok(what, path.display().to_string()),
        None if name.contains('/') => Finding::problem(
            what,
            format!("{name} is not there, or may not be executed"),
            "correct `command`, or the file's permissions",
        ),
        None => Finding::problem(
            what,
            format!("{name} is in none of {search}"),
            "write its whole path in `command`, or set PATH in `env`: a service does not inherit this shell's",
        ),
    }
}

/// Whom a pid file names, and whether that is who is expected.
fn pid_file(service: &ServiceName, foreign: &Foreign) -> Finding {
    let what = format!("{service}, pid file");
    for file in [&foreign.status_file, &foreign.offer_file].into_iter().flatten() {
        if !file.parent().is_some_and(Path::is_dir) {
            return Finding::warning(
                what,
                format!("the folder of {} is not there", file.display()),
                "make it before the service starts, and let it belong to the service's user",
            );
        }
    }
    let pid = match named(foreign) {
        Named::Process { pid, .. } => pid,
        Named::Nobody(why) => {
            return Finding::warning(
                what,
                why,
                "start it by its own manager: Lockstep does not, and goes on without it",
            );
        }
        Named::Unusable(why) => {
            return Finding::problem(what, why, "no commit that touches it is tried until then");
        }
    };
    let judged = expected_user(foreign)
        .and_then(|user| check_identity(pid, (user, &user_name(foreign)), &foreign.executable));
    match judged {
        Ok(()) => Finding::ok(what, format!("process {pid}, {}", foreign.executable.display())),
        Err(why) => Finding::problem(what, why, "no commit that touches it is tried until then"),
    }
}

fn alarms(status: &StatusView) -> Finding {
    let what = "reconciler";
    if status.alarms.is_empty() {
        Finding::ok(what, "it runs, and has no alarm")
    } else {
        Finding::problem(what, status.alarms.join("; "), "docs/operate.md has each alarm")
    }
}

/// A living process: its handler and its mounts.
fn running(service: &Service, instance: &InstanceView) -> Finding {
    let what = format!("{}, process", service.name);
    let Some(pid) = instance.pid else {
        let how = instance.error.as_deref().unwrap_or("it was not started");
        let next = if service.supervised().is_some() {
            "its log is in the state folder's log/"
        } else {
            "it is started by its own manager, and takes part from then on"
        };
        return Finding::problem(what, format!("it does not live: {how}"), next);
    };
    if let Some(why) = pinned_to_a_release(pid) {
        return Finding::problem(what, why, "mount the volume as a whole");
    }
    match &service.reload {
        Reload::Signal(signal) => match lockstep_guard::would_kill(pid, signal) {
            Some(true) => {
                let next = match in_front(pid) {
                    Some(InFront::Shell(shell)) => hint(&shell),
                    Some(InFront::Forwarder { .. }) | None => {
                        "install the handler first thing in the service, or correct `reload`".to_owned()
                    }
                };
                Finding::problem(
                    what,
                    format!("process {pid} has no handler for {signal}, which would kill it"),
                    format!("{next}; no commit reaches it until then"),
                )
            }
            Some(false) if let Some(why) = would_kill_behind(pid, signal) => Finding::problem(
                what,
                format!("process {pid}: {why}"),
                "no commit reaches it until then",
            ),
            Some(false) => Finding::ok(what, format!("process {pid} handles {signal}")),
            None => Finding::warning(
                what,
                format!("process {pid} cannot be looked at"),
                "run this as the user who runs `lockstep run`",
            ),
        },
        Reload::Http(request) => match block_on(async { Ok(listens(request).await) }) {
            Ok(Ok(())) => Finding::ok(
                what,
                format!("process {pid} is told by {request}, and somebody listens there"),
            ),
            Ok(Err(why)) => Finding::problem(
                what,
                format!("process {pid} cannot be told: {why}"),
                "have the service listen there, or correct `reload`; no commit reaches it until then",
            ),
            Err(failure) => Finding::problem(what, failure.message, "try again"),
        },
        Reload::Watch => Finding::ok(what, format!("process {pid} watches its folder, or should")),
        Reload::Restart => Finding::ok(what, format!("process {pid} is restarted for each change")),
    }
}

/// Whether the guard would survive the end of the reconciler's unit.
fn apart(settings: &Settings) -> Option<Finding> {
    let what = "guard";
    let reconciler =
        block_on(async { web::connect(&settings.state).await.map_err(Failure::refused) }).ok()?;
    let reconciler = socket_peercred(&reconciler).ok()?.pid;
    let guard = lockstep_guard::connect(&settings.state).ok()?;
    let guard = socket_peercred(&guard).ok()?.pid;
    let (own, other) = (cgroup(guard)?, cgroup(reconciler)?);
    Some(if own == other && own.ends_with(".service") {
        Finding::warning(
            what,
            format!("it runs in the reconciler's unit ({own}): ending that unit ends every service"),
            "give the guard a unit of its own (docs/operate.md), or set KillMode=process",
        )
    } else {
        Finding::ok(
            what,
            format!("process {} outlives the reconciler", Pid::as_raw(Some(guard))),
        )
    })
}

fn cgroup(pid: Pid) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", Pid::as_raw(Some(pid)))).ok()?;
    let line = text.lines().find(|line| line.starts_with("0::"))?;
    Some(line.trim_start_matches("0::").to_owned())
}
