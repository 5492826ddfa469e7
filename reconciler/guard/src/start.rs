//! The guard's start: whom it thaws, what it adopts, in which order and why.
//!
//! 1. The lock: nobody else freezes, starts or adopts here.
//! 2. The record, and everybody whom it names is continued: a guard and its holder may have died in a pause.
//! 3. Adoption: whoever lives under its pid, start time and boot is ours again.
//! 4. The holder, then the socket: who gets through to us finds a guard that can do all it promises.

use crate::clock::Moment;
use crate::dispositions;
use crate::error::GuardError;
use crate::foreign::{self, Attached};
use crate::guard::{ExitReason, Guard};
use crate::launch::Inherited;
use crate::leftovers;
use crate::link::{Link, Lost};
use crate::log::Log;
use crate::processes::table::Processes;
use crate::processes::tree::Root;
use crate::record::{Record, Recorded, boot};
use crate::service::{Alive, Phase, Service};
use crate::state::{SOCKET, StateFolder};
use crate::urgency;
use crate::wire::{Exit, Foreign};
use rustix::fs::{AtFlags, Mode, unlinkat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// How long the first holder may take to its first word.
const HOLDER_STARTS: Duration = Duration::from_secs(10);

/// Runs the guard. `ready` is called once it listens.
pub(crate) fn guard(path: &Path, ready: impl FnOnce()) -> Result<ExitReason, GuardError> {
    let mut log = Log::default();
    let inherited = prepare_process()?;
    if !urgency::raise() {
        log.line("may not run before others (needs CAP_SYS_NICE): pauses take longer on a busy machine");
    }
    let mut processes = Processes::open().map_err(GuardError::system("cannot open /proc"))?;
    let state = StateFolder::make(path)?;
    let lock = state.lock(&mut processes)?;
    let boot = boot()?;
    let recorded = Record::load(&state)?;
    let term = recorded.as_ref().map_or(0, |record| record.term);
    let same_boot = recorded.as_ref().is_some_and(|record| record.boot == boot);
    let (recorded, foreign) = recorded
        .map(|record| (record.services, record.foreign))
        .unwrap_or_default();
    if same_boot {
        let thawed = leftovers::thaw(&mut processes, &roots(&recorded, &foreign, &boot));
        match thawed.map_err(GuardError::system("cannot look for stopped processes"))? {
            0 => {}
            count => log.line(&format!(
                "continued {count} processes that an earlier guard left stopped"
            )),
        }
    }
    // Nobody is stopped any more; each pause raises it anew.
    urgency::lower();
    let services = adopt(&mut processes, &mut log, recorded, same_boot)?;
    // Whoever is not there any more, or is another program by now, is found anew by the agent.
    let foreign = foreign
        .into_iter()
        .filter(|_| same_boot)
        .filter_map(|expected| Attached::take(&mut processes, expected, &boot).ok())
        .map(|attached| (attached.expected.service.clone(), attached))
        .collect();

    let signals = dispositions::ends_and_children().map_err(GuardError::system("cannot watch signals"))?;
    let holder = Link::start(&lock.file).map_err(GuardError::system("cannot start the holder"))?;
    holder.ready(Moment::now().plus(HOLDER_STARTS)).map_err(|Lost| {
        GuardError::system("cannot start the holder")(std::io::Error::other(
            "it does not say that it is ready",
        ))
    })?;
    let owners: Vec<(u32, u64)> = [std::process::id(), holder.pid]
        .into_iter()
        .filter_map(|pid| Some((pid, processes.stat(pid).ok()??.start_ticks)))
        .collect();
    lock.name_owners(&owners)?;
    let listener = listen(&state)?;
    log.line(&format!(
        "guards {} (holder {})",
        state.path.display(),
        holder.pid
    ));
    let guard = Guard {
        state,
        lock,
        boot,
        log,
        processes,
        inherited,
        signals,
        listener,
        connections: BTreeMap::new(),
        last_connection: 0,
        holder: Some(holder),
        holder_started: Moment::now(),
        term,
        services,
        foreign,
        pause: None,
        unsaved: true,
        ending: None,
        asked_to_end: false,
    };
    ready();
    guard.run()
}

/// What the guard changes about itself; what its children get back is returned.
fn prepare_process() -> Result<Inherited, GuardError> {
    let limit = getrlimit(Resource::Nofile);
    // A handle for each process of each service, here and in the holder.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .map_err(|error| GuardError::system("cannot raise the limit of open files")(error.into()))?;
    // Nothing that it makes is for other users: socket, record, log.
    let mask = umask(Mode::RWXG | Mode::RWXO);
    std::env::set_current_dir("/").map_err(GuardError::state("cannot enter", "/"))?;
    // Orphans of services are handed to us, not to pid 1: there they are found and collected.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| GuardError::system("cannot become the reaper of orphans")(error.into()))?;
    // As an executable of any name it is found in a process list under its own; only a help.
    let _ = rustix::thread::set_name(c"lockstep-guard");
    Ok(Inherited {
        open_files: limit.current,
        umask: mask.as_raw_mode(),
    })
}

fn roots(recorded: &[Recorded], foreign: &[Foreign], boot: &str) -> Vec<Root> {
    let processes = recorded.iter().filter_map(|service| service.process.as_ref());
    let ours = processes.map(|process| Root {
        pid: process.pid,
        token: process.instance.clone(),
    });
    let others = foreign.iter().map(|process| Root {
        pid: process.pid,
        token: foreign::token(process, boot),
    });
    ours.chain(others).collect()
}

/// Takes over what lives. Who ended while nobody watched is treated by its restart policy, as if it had
/// ended now; after a reboot nobody is started but on order, since nothing is as it was recorded.
fn adopt(
    processes: &mut Processes,
    log: &mut Log,
    recorded: Vec<Recorded>,
    same_boot: bool,
) -> Result<BTreeMap<String, Service>, GuardError> {
    let now = Moment::now();
    let mut services = BTreeMap::new();
    for Recorded {
        definition,
        wanted,
        process,
    } in recorded
    {
        let name = definition.service.clone();
        let mut service = Service::new(definition);
        let handle = match &process {
            Some(process) if same_boot => processes
                .open_process(process.pid, process.start_ticks)
                .map_err(GuardError::system("cannot adopt a process"))?
                .process(),
            Some(_) | None => None,
        };
        match (process, handle) {
            (Some(process), Some(handle)) => {
                log.line(&format!("adopted {name}, process {}", process.pid));
                service.wanted = wanted;
                let alive = Alive {
                    process,
                    handle,
                    is_child: false,
                    since: now,
                };
                service.phase = Phase::Alive(alive);
                // The earlier guard died while it was stopping it.
                if !wanted {
                    service.ask_to_end(now);
                }
            }
            (process, _) => {
                if let Some(process) = process {
                    service.last_exit = Some(Exit::Unknown);
                    if same_boot {
                        leftovers::kill_late(processes, &process)
                            .map_err(GuardError::system("cannot look at what a service left behind"))?;
                    }
                }
                let again = crate::restart::is_started_again(service.definition.restart, &Exit::Unknown);
                if wanted && same_boot && again {
                    service.wanted = true;
                    service.phase = Phase::Due {
                        at: now.plus(service.back_off.next(Duration::ZERO)),
                    };
                }
            }
        }
        services.insert(name, service);
    }
    Ok(services)
}

fn listen(state: &StateFolder) -> Result<UnixListener, GuardError> {
    let path = state.path.join(SOCKET);
    // We have the lock: whoever bound it is gone.
    match unlinkat(&state.handle, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(GuardError::state("cannot remove the old", path)(error.into())),
    }
    let listener =
        UnixListener::bind(state.socket()).map_err(GuardError::state("cannot listen at", &path))?;
    listener
        .set_nonblocking(true)
        .map_err(GuardError::state("cannot listen at", &path))?;
    Ok(listener)
}
