//! Two services through commits during which somebody is killed, and what has to hold every time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use lockstep_protocol::Revision;

use rustix::process::Signal;

use crate::processes::{Process, Role};
use crate::stillness::Stillness;
use crate::view::Status;
use crate::wait::{PATIENCE, eventually, until};
use crate::{Lab, Service, Sessions};

/// What the settings allow here, as by default.
const PAUSE_LIMIT: Duration = Duration::from_millis(500);
/// What the end of a pause may take by itself: whoever holds it is woken at the limit, finds each thread and continues
/// it, a few system calls for each process. That its turn may come late on a busy machine is measured, and taken off
/// what was seen (see [`stillness`](crate::stillness)).
const MARGIN: Duration = Duration::from_millis(100);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The reconciler.
    Reconciler,
    /// The guard.
    Guard,
    /// The holder.
    Holder,
    /// Reconciler and guard at once.
    Pair,
    /// Reconciler, guard and holder at once: the next start thaws first thing.
    All,
}

impl Victim {
    /// Everybody, in the order of how much is left.
    pub const EACH: [Self; 5] = [Self::Reconciler, Self::Guard, Self::Holder, Self::Pair, Self::All];

    /// The processes that it means.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Reconciler => &[Role::Reconciler],
            Self::Guard => &[Role::Guard],
            Self::Holder => &[Role::Holder],
            Self::Pair => &[Role::Guard, Role::Reconciler],
            Self::All => &[Role::Holder, Role::Guard, Role::Reconciler],
        }
    }

    /// Whether the reconciler is among them.
    #[must_use]
    pub fn takes_reconciler(self) -> bool {
        self.roles().contains(&Role::Reconciler)
    }
}

/// What a commit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Both services take it.
    Taken,
    /// One of them votes for it, and refuses it after the switch.
    Refused,
    /// It passes no validation, so it touches nothing.
    Invalid,
}

/// A lab with one voting and one acknowledging service, both of which hold a connection.
pub struct Crashes {
    still: Stillness,
    lab: Lab,
    sessions: [Sessions; 2],
    before: BTreeMap<String, Process>,
    /// The last valid commit and its value.
    live: (Revision, i64),
    next: i64,
}

impl Crashes {
    /// Sets it up: the first commit has settled under a reconciler that knows its points.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more tables in the settings.
    #[must_use]
    pub fn start_with(tables: &str) -> Self {
        let sessions = [Sessions::listen(), Sessions::listen()];
        let connected =
            |service: Service, to: &Sessions| service.args(&["--connect", &to.address().to_string()]);
        let lab = Lab::builder()
            .service(connected(Service::voting("a"), &sessions[0]))
            .service(connected(Service::acknowledged("b"), &sessions[1]))
            .settings(&format!(
                "[rollout]\npause_limit = \"{}ms\"\n{tables}",
                PAUSE_LIMIT.as_millis()
            ))
            .start();
        lab.restart_with_points();
        let crashes = Self {
            still: Stillness::watch(&lab, PAUSE_LIMIT + MARGIN),
            sessions,
            before: lab.services(),
            live: (lab.origin().revision("HEAD"), 1),
            next: 2,
            lab,
        };
        crashes.wait("the first commit is live", |status| crashes.holds(status));
        crashes
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The processes of the services as they were at the beginning.
    #[must_use]
    pub fn before(&self) -> &BTreeMap<String, Process> {
        &self.before
    }

    /// The longest that anybody stood still.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.still.longest()
    }

    /// Commits and pushes a change of what both services read.
    pub fn publish(&mut self, change: Change) -> Revision {
        let value = self.next;
        self.next += 1;
        let good = format!("value = {value}");
        let bad = match change {
            Change::Taken => good.clone(),
            // Not at once, so that there is a Verifying before it is known.
            Change::Refused => format!("{good}\ndelay = 30\nrefuse_late = true"),
            Change::Invalid => format!("{good}\nthis is no TOML"),
        };
        let revision = self.lab.set(&[("a", &bad), ("b", &good)]);
        match change {
            Change::Taken => self.live = (revision.clone(), value),
            Change::Refused | Change::Invalid => {}
        }
        revision
    }

    /// Kills somebody, and does what an operator or a supervisor would do next: starts the reconciler again.
    ///
    /// # Panics
    /// When somebody of them does not live.
    pub fn strike(&self, victim: Victim) {
        // The guard takes its time before it starts a holder that has just died once more.
        eventually(&format!("all of {victim:?} live"), || {
            let alive = self.lab.processes();
            let lives = |role: &Role| alive.iter().any(|process| process.role == *role);
            victim.roles().iter().all(lives)
        });
        self.strike_any(victim);
    }

    /// The same with whoever of them lives just now.
    pub fn strike_any(&self, victim: Victim) {
        match victim {
            Victim::Reconciler | Victim::Guard | Victim::Holder | Victim::Pair => {
                self.lab.kill_any(victim.roles());
                self.go_on(victim);
            }
            // Nobody is left who would unpause, until the next start does.
            Victim::All => self.still.except(|| {
                self.lab.kill_any(victim.roles());
                self.go_on(victim);
                eventually("the next start thaws", || {
                    self.lab.revive();
                    self.lab.services().values().all(|process| !process.is_stopped())
                });
            }),
        }
    }

    fn go_on(&self, victim: Victim) {
        if victim.takes_reconciler() {
            self.lab.spawn_with_points(&[]);
        } else {
            // One that ended by itself meanwhile is not there to be woken.
            self.lab.revive();
            if let Some(reconciler) = self.lab.reconciler() {
                reconciler.signal(Signal::CONT);
            }
        }
    }

    /// Whether an end of a rollout was told after this event.
    #[must_use]
    pub fn ended_after(&self, seq: u64) -> bool {
        let events = self.lab.events();
        let mut later = events.iter().filter(|event| event.seq > seq);
        later.any(|event| matches!(event.kind.as_str(), "Settled" | "RolledBack"))
    }

    fn ended(&self, status: &Status, revision: &Revision, change: Change) -> bool {
        let judged = match change {
            Change::Taken => status.candidate.is_none(),
            Change::Refused => status.quarantined.iter().any(|entry| entry.revision == *revision),
            Change::Invalid => status
                .candidate
                .as_ref()
                .is_some_and(|candidate| candidate.revision == *revision && candidate.state == "rejected"),
        };
        judged && self.holds(status)
    }

    /// Whether the last valid commit is live in all services, and nothing is under way.
    fn holds(&self, status: &Status) -> bool {
        status.rollout.is_none()
            && status.live.as_ref().map(|live| &live.revision) == Some(&self.live.0)
            && status.services.iter().all(|service| {
                service.current
                    && service
                        .instances
                        .iter()
                        .all(|instance| instance.state == "applied")
            })
    }

    fn look(&self) -> Option<Status> {
        let ran = self.lab.lockstep(&["status", "--json"]);
        (ran.code == Some(0)).then(|| serde_json::from_str(&ran.out).expect("the status is a document"))
    }

    #[track_caller]
    fn wait(&self, what: &str, so: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let seen = until(PATIENCE, || {
            self.lab.revive();
            last = self.look();
            last.clone().filter(&so)
        });
        seen.unwrap_or_else(|| panic!("the status did not become: {what}; it is {last:#?}"))
    }

    /// Waits for a commit's end, and looks at everything that has to hold then.
    ///
    /// # Panics
    /// When something does not.
    #[track_caller]
    pub fn assert_end(&self, revision: &Revision, change: Change) {
        let status = self.wait(&format!("the end of {change:?} {}", revision.short()), |status| {
            self.ended(status, revision, change)
        });
        for service in &status.services {
            let restarts: Vec<_> = service
                .instances
                .iter()
                .map(|instance| instance.restarts)
                .collect();
            assert_eq!(restarts, [0], "restarts of {}", service.name);
        }
        let live = status.live.expect("it was looked at above");
        for name in ["a", "b"] {
            assert_eq!(
                self.lab.value(name),
                self.live.1,
                "the value that {name} works with"
            );
            assert_eq!(
                self.lab.ask(name).switch,
                live.switch,
                "the switch that {name} runs"
            );
        }
        self.assert_nobody_was_touched();
        self.assert_volume_tidy();
        self.assert_events_numbered();
    }

    /// Asserts that the services' processes are the first ones, one for each service, that none stood still for too
    /// long, and that their connections hold.
    ///
    /// # Panics
    /// When it is not so.
    #[track_caller]
    pub fn assert_nobody_was_touched(&self) {
        let leaders: Vec<_> = self
            .lab
            .processes()
            .into_iter()
            .filter(|process| process.is_leader() && matches!(process.role, Role::Service(_)))
            .map(|process| (process.pid, process.start))
            .collect();
        let expected: Vec<_> = self
            .before
            .values()
            .map(|process| (process.pid, process.start))
            .collect();
        let (leaders, expected): (BTreeSet<_>, BTreeSet<_>) =
            (leaders.into_iter().collect(), expected.into_iter().collect());
        assert_eq!(leaders, expected, "the services' processes (pid, start)");
        for sessions in &self.sessions {
            sessions.assert_one_never_dropped();
        }
        self.still.assert_short();
    }

    /// Asserts that the volume holds what a settled one holds, and nothing that an interrupted one left.
    ///
    /// # Panics
    /// When it does not become so.
    #[track_caller]
    pub fn assert_volume_tidy(&self) {
        self.lab.assert_volume_whole();
        let own = self.lab.volume().join(".lockstep");
        // What is deleted in the background is gone soon.
        let mut left = Vec::new();
        let tidy = until(PATIENCE, || {
            left = leftovers(&own);
            left.is_empty().then_some(())
        });
        assert!(tidy.is_some(), "left over on the volume: {left:?}");
    }

    /// Asserts that the events are numbered one by one.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn assert_events_numbered(&self) {
        let numbers: Vec<_> = self.lab.events().iter().map(|event| event.seq).collect();
        let expected: Vec<_> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "the numbers of the events");
    }
}

impl Drop for Crashes {
    fn drop(&mut self) {
        // A failed test asks the reconciler for its status: one that is stopped would not answer.
        if let Some(reconciler) = self.lab.reconciler() {
            reconciler.signal(Signal::CONT);
        }
    }
}

/// What does not belong into a volume's own folder.
fn leftovers(own: &std::path::Path) -> Vec<String> {
    let names = |folder: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    };
    let mut left = Vec::new();
    let mut terms = Vec::new();
    for name in names(own) {
        if name.starts_with("term-") {
            terms.push(name);
        } else if !["lock", "releases", "switches", "manifests"].contains(&name.as_str()) {
            left.push(name);
        }
    }
    if terms.len() > 1 {
        left.extend(terms.iter().cloned());
    }
    for term in &terms {
        let folder = own.join(term);
        let (mut folders, mut files) = (Vec::new(), Vec::new());
        for name in names(&folder) {
            if name == "journal" || name.starts_with("reserve-") {
                continue;
            }
            let kind = if folder.join(&name).is_dir() {
                &mut folders
            } else {
                &mut files
            };
            kind.push(format!("{term}/{name}"));
        }
        // The tree that the next build begins with, and its manifest; it keeps the name of what it was made from.
        if (folders.len(), files.len()) != (1, 1) {
            left.extend(folders.into_iter().chain(files));
        }
    }
    left
}
