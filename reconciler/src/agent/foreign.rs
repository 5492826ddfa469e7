//! Services that somebody else runs: found by their pid files, attached at the guard, never started or ended.
//!
//! A pid file is a claim, and anybody may have written it: it is opened like everything that is not ours, and what it
//! names is checked by the guard before anything is sent to it. A process that was attached stays the instance as
//! long as it lives and the file names nobody else; a file that is being written anew changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use lockstep_core::rollout::{Event, MemberId};
use lockstep_core::service::ServiceName;
use lockstep_guard::wire::{Answer, Body, Foreign as Expected, Process, Refusal, Supervised};
use lockstep_protocol::{InstanceToken, Status};
use tokio::time::timeout;

use super::folders::{Folders, Text, follow_folder, read_at};
use super::link::{ANSWER_WITHIN, Link, LinkError};
use super::pending::Pending;
use super::phrases::refusal_phrase;
use super::task::Agent;
use super::{Report, Sought};
use crate::settings::Foreign;

/// No pid file is longer.
const LONGEST: usize = 4096;
/// A pid file that is older than its process by more than this was written for another one.
const OLDER_BY: Duration = Duration::from_secs(1);
/// The kernel counts a process's start in ticks, and a file's time by its timer: each may seem earlier than it was.
const COARSE: Duration = Duration::from_millis(20);

/// What is known of one of them.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The process that is attached.
    attached: Option<Process>,
    /// The guard was asked to attach this one.
    asked: Option<(u32, u64)>,
    /// What was told last.
    told: Option<Sought>,
}

/// Whom a pid file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// Nobody who lives: why.
    Nobody(String),
    /// Nobody can be found by it: why, and what to do.
    Unusable(String),
    /// This process, if it is what is expected.
    Process { pid: u32, start_ticks: u64 },
}

/// Whom the pid file of a service names.
pub(crate) fn named(foreign: &Foreign) -> Named {
    let path = foreign.pid_file.display();
    let text = match read_at(&foreign.pid_file, follow_folder) {
        Ok(Some(text)) => text,
        Ok(None) => return Named::Nobody(format!("its pid file {path} is not there: it does not run")),
        Err(error) => return Named::Unusable(error.to_string()),
    };
    let users = [
        Some(0),
        Some(rustix::process::geteuid().as_raw()),
        expected_user(foreign).ok(),
    ];
    if let Err(why) = is_safe(&text, &users) {
        return Named::Unusable(format!("its pid file {path} {why}"));
    }
    if text.bytes.is_empty() {
        return Named::Nobody(format!(
            "its pid file {path} is empty: it is just being written, or it does not run"
        ));
    }
    let Some(pid) = number(&text.bytes) else {
        return Named::Unusable(format!(
            "its pid file {path} holds no process number: one in decimal is expected in its first line"
        ));
    };
    let Some(start_ticks) = lockstep_guard::start_ticks(pid) else {
        return Named::Nobody(format!(
            "its pid file {path} names process {pid}, which does not live"
        ));
    };
    let began = began(start_ticks);
    if text.written() + OLDER_BY < began {
        return Named::Unusable(format!(
            "its pid file {path} is older than the process {pid} that it names: the number was given to another process \
             after the service had ended. Start the service, or remove the file; if the clock was set since, `touch` it"
        ));
    }
    Named::Process { pid, start_ticks }
}

/// The number and the name of the user that a service is expected to run as.
pub(crate) fn expected_user(foreign: &Foreign) -> Result<u32, String> {
    match &foreign.user {
        Some(name) => lockstep_guard::user_number(name),
        None => Ok(rustix::process::geteuid().as_raw()),
    }
}

/// That user's name, for people.
pub(crate) fn user_name(foreign: &Foreign) -> String {
    foreign
        .user
        .clone()
        .unwrap_or_else(|| "the user of Lockstep".to_owned())
}

/// Whether nobody else can have written it.
fn is_safe(text: &Text, users: &[Option<u32>]) -> Result<(), String> {
    let facts = &text.facts;
    if !users.contains(&Some(facts.uid())) {
        return Err(format!(
            "belongs to user {}, who is neither root, nor the user of Lockstep, nor that of the service",
            facts.uid()
        ));
    }
    if facts.mode() & 0o002 != 0 {
        return Err(
            "can be written by everybody: `chmod o-w` it, since whom it names is paused and signalled".into(),
        );
    }
    if text.bytes.len() > LONGEST {
        return Err(format!(
            "is longer than {LONGEST} bytes: a process number is expected"
        ));
    }
    Ok(())
}

fn number(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// The time of day at which a process began, as the kernel counts.
fn began(start_ticks: u64) -> SystemTime {
    SystemTime::now() - super::task::age_of(start_ticks).unwrap_or_default()
}

/// The statement of a process that somebody else started: whatever it wrote since it began is its own.
pub(super) fn statement(
    folders: &Folders,
    service: &ServiceName,
    process: &Process,
) -> Result<Option<Status>, String> {
    match folders.dated_status(service).map_err(|error| error.to_string())? {
        Some((status, written)) if written + COARSE >= began(process.start_ticks) => Ok(Some(Status {
            instance: InstanceToken(process.instance.clone()),
            ..status
        })),
        Some(_) => Err(format!(
            "it was written before process {} began (or the clock was set since): it counts once the service writes it \
             again",
            process.pid
        )),
        None => Ok(None),
    }
}

impl Agent {
    /// The attached process of a service that somebody else runs.
    pub(super) fn attached(&self) -> BTreeMap<ServiceName, Process> {
        self.followed
            .iter()
            .filter_map(|(service, followed)| Some((service.clone(), followed.attached.clone()?)))
            .collect()
    }

    /// Whether somebody else runs it.
    pub(super) fn is_foreign(&self, service: &ServiceName) -> bool {
        self.spec.foreign.contains_key(service)
    }

    /// Why nobody can be paused and told in the place of these.
    pub(super) fn unusable(&self) -> impl Iterator<Item = (MemberId, String)> {
        self.followed
            .iter()
            .filter_map(|(service, followed)| match &followed.told {
                Some(Sought::Unusable(why)) => Some((MemberId::only(service), why.clone())),
                Some(Sought::There | Sought::Nobody(_)) | None => None,
            })
    }

    /// At the opening of a conversation: attaches whoever lives, so that the first thing that is told is who is there.
    pub(super) async fn attach_all(
        &mut self,
        link: &mut Link,
        known: Vec<Supervised>,
    ) -> Result<Vec<Supervised>, LinkError> {
        self.rolling = false;
        self.followed = self
            .spec
            .foreign
            .keys()
            .map(|service| (service.clone(), Followed::default()))
            .collect();
        if self.followed.is_empty() {
            return Ok(known);
        }
        for known in &known {
            let service = ServiceName::new(&known.service);
            if known.foreign {
                if let Some(followed) = self.followed.get_mut(&service) {
                    followed.attached.clone_from(&known.process);
                    followed.told = Some(Sought::There);
                }
            } else if self.is_foreign(&service) && (known.process.is_some() || known.back_off_ms.is_some()) {
                // It was run by Lockstep under the settings before.
                let body = Body::Stop {
                    service: known.service.clone(),
                };
                self.ask(link, body, Pending::Dismiss).await?;
            }
        }
        for service in self.followed.keys().cloned().collect::<Vec<_>>() {
            if let Some(process) = self.newly_named(&service) {
                let answer = timeout(ANSWER_WITHIN, link.request(Body::Attach { process })).await;
                let answer = answer.map_err(|_| link.silent())??;
                self.note_attached(&service, answer);
            }
        }
        let list = timeout(ANSWER_WITHIN, link.request(Body::List)).await;
        match list.map_err(|_| link.silent())?? {
            Ok(Answer::Services { services }) => Ok(services),
            other => Err(LinkError::Unexpected(format!("{other:?}"))),
        }
    }

    /// Looks at the pid files again, and has the guard attach whoever is new.
    pub(super) async fn follow(&mut self, link: &mut Link) -> Result<(), LinkError> {
        for service in self.followed.keys().cloned().collect::<Vec<_>>() {
            if let Some(process) = self.newly_named(&service) {
                self.ask(link, Body::Attach { process }, Pending::Attach(service))
                    .await?;
            }
        }
        Ok(())
    }

    /// Looks at a pid file: the process to be attached, if it names another one than before.
    fn newly_named(&mut self, service: &ServiceName) -> Option<Expected> {
        let foreign = self.spec.foreign.get(service)?;
        let (pid, start_ticks) = match named(foreign) {
            Named::Process { pid, start_ticks } => (pid, start_ticks),
            // As long as the attached one lives, a file that is taken away or written anew changes nothing.
            Named::Nobody(_) if self.followed.get(service)?.attached.is_some() => return None,
            Named::Nobody(why) => {
                self.sought(service, Sought::Nobody(why));
                return None;
            }
            Named::Unusable(why) => {
                self.sought(service, Sought::Unusable(why));
                return None;
            }
        };
        let user = match expected_user(foreign) {
            Ok(user) => user,
            Err(why) => {
                self.sought(service, Sought::Unusable(why));
                return None;
            }
        };
        let expected = Expected {
            service: service.to_string(),
            pid,
            start_ticks,
            user,
            user_name: user_name(foreign),
            executable: foreign.executable.clone(),
        };
        let followed = self.followed.get_mut(service)?;
        let is_it = |process: &Process| (process.pid, process.start_ticks) == (pid, start_ticks);
        let known = followed.attached.as_ref().is_some_and(is_it) && followed.told == Some(Sought::There);
        if known || followed.asked == Some((pid, start_ticks)) {
            return None;
        }
        followed.asked = Some((pid, start_ticks));
        Some(expected)
    }

    /// The guard has attached a process, or refused to.
    pub(super) fn note_attached(&mut self, service: &ServiceName, answer: Result<Answer, Refusal>) {
        let Some(followed) = self.followed.get_mut(service) else {
            return;
        };
        followed.asked = None;
        match answer {
            Ok(Answer::Started { process }) => {
                let known = followed.attached.replace(process.clone());
                if known.is_none_or(|known| known.instance != process.instance) {
                    self.started(service, &process);
                }
                self.sought(service, Sought::There);
            }
            // Tried again when the pause is over.
            Err(Refusal::AlreadyFrozen) => {}
            Ok(answer) => self.sought(
                service,
                Sought::Unusable(format!("the guard answered {answer:?}")),
            ),
            Err(refusal) => {
                let mut why = refusal_phrase(&refusal);
                if why.contains("is not understood") {
                    why = "the guard that runs was started by an earlier version of Lockstep, which knows no pid files: \
                           `lockstep down`, then `lockstep run`"
                        .to_owned();
                }
                self.sought(service, Sought::Unusable(why));
            }
        }
    }

    /// An attached process ended.
    pub(super) fn note_gone(&mut self, service: &ServiceName, instance: &str) {
        if let Some(followed) = self.followed.get_mut(service)
            && followed
                .attached
                .as_ref()
                .is_some_and(|known| known.instance == instance)
        {
            followed.attached = None;
        }
    }

    /// Tells what became of the search for a service, if that is new.
    fn sought(&mut self, service: &ServiceName, found: Sought) {
        let Some(followed) = self.followed.get_mut(service) else {
            return;
        };
        if followed.told.as_ref() == Some(&found) {
            return;
        }
        followed.told = Some(found.clone());
        self.tell(Report::Sought {
            service: service.clone(),
            found,
        });
    }

    /// Tells that an order to start or end it is not carried out.
    pub(super) fn refuse_start(&self, service: &ServiceName) {
        self.tell(Report::Event(Event::StartFailed {
            member: MemberId::only(service),
            reason: "Lockstep does not start it: it has a `pid_file`".to_owned(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn at(pid_file: PathBuf) -> Foreign {
        Foreign {
            pid_file,
            user: None,
            executable: PathBuf::from("/bin/true"),
            status_file: None,
            offer_file: None,
            cwd: PathBuf::from("/"),
            env: BTreeMap::new(),
        }
    }

    fn unusable(foreign: &Foreign) -> String {
        match named(foreign) {
            Named::Unusable(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_line_names_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = at(folder.path().join("a.pid"));
        let me = std::process::id();
        for text in [
            format!("{me}"),
            format!("{me}\n"),
            format!("  {me} \n/var/lib/data\n5432\n"),
        ] {
            std::fs::write(&foreign.pid_file, text).unwrap();
            assert!(matches!(named(&foreign), Named::Process { pid, .. } if pid == me));
        }
        for text in ["\n", "x", "-5", "0", "12 13", "99999999999999"] {
            std::fs::write(&foreign.pid_file, text).unwrap();
            let why = unusable(&foreign);
            assert!(why.contains("holds no process number"), "{text:?}: {why}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_or_names_the_dead_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = at(folder.path().join("run/a.pid"));
        let nobody = |foreign: &Foreign| match named(foreign) {
            Named::Nobody(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(nobody(&foreign).contains("is not there"));
        std::fs::create_dir(folder.path().join("run")).unwrap();
        assert!(nobody(&foreign).contains("is not there"));
        std::fs::write(&foreign.pid_file, "").unwrap();
        assert!(nobody(&foreign).contains("just being written"));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::fs::write(&foreign.pid_file, child.id().to_string()).unwrap();
        assert!(nobody(&foreign).contains("does not live"));
    }

    #[test]
    fn what_was_written_since_the_process_began_is_its_own_statement() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let file = folder.path().join("status.json");
        let text = format!(
            "[source]\nurl = '/c.git'\n[volume]\npath = 'v'\n[[service]]\nname = 'a'\n\
             reload = {{ signal = 'SIGHUP' }}\nverify = {{ tier = 'acknowledged' }}\n\
             process = {{ pid_file = 'a.pid', executable = '/a', status_file = {file:?} }}\n"
        );
        let settings = crate::settings::Settings::parse(&folder.path().join("lockstep.toml"), &text).unwrap();
        let folders = Folders::open(&state).unwrap().with_files_of(&settings.services);
        let me = std::process::id();
        let process = Process {
            instance: "mine".to_owned(),
            pid: me,
            start_ticks: lockstep_guard::start_ticks(me).unwrap(),
        };
        let service = ServiceName::new("a");
        assert_eq!(statement(&folders, &service, &process), Ok(None));
        std::fs::write(
            &file,
            r#"{ "protocol": 1, "instance": "", "switch": 3, "revision": null, "digest": null, "state": "applied",
                 "attempted": { "switch": 3, "revision": null }, "error": null, "at": "2026-01-01T00:00:00Z" }"#,
        )
        .unwrap();
        let status = statement(&folders, &service, &process).unwrap().unwrap();
        assert_eq!(status.instance, InstanceToken("mine".to_owned()));
        let open = std::fs::File::options().write(true).open(&file).unwrap();
        open.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        let why = statement(&folders, &service, &process).unwrap_err();
        assert!(why.contains("before process"), "{why}");
        Folders::remove(&state).unwrap();
    }

    #[test]
    fn a_file_that_is_older_than_its_process_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = at(folder.path().join("a.pid"));
        std::fs::write(&foreign.pid_file, std::process::id().to_string()).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(&foreign.pid_file)
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        let why = unusable(&foreign);
        assert!(why.contains("is older than the process"), "{why}");
    }

    #[test]
    fn nothing_but_a_file_that_others_cannot_write_is_believed_and_nothing_is_waited_for() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let foreign = at(folder.path().join("a.pid"));
        let path = &foreign.pid_file;
        rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap();
        assert!(unusable(&foreign).contains("a named pipe"));
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/proc/self/stat", path).unwrap();
        assert!(unusable(&foreign).contains("a symbolic link"));
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
        assert!(unusable(&foreign).contains("a folder"));
        std::fs::remove_dir(path).unwrap();
        std::fs::write(path, "1".repeat(LONGEST + 1)).unwrap();
        assert!(unusable(&foreign).contains("longer than"));
        std::fs::write(path, std::process::id().to_string()).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(unusable(&foreign).contains("can be written by everybody"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(named(&foreign), Named::Process { .. }));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(12345), None).unwrap();
            assert!(unusable(&foreign).contains("belongs to user 12345"));
        }
        // The folder may be reached by a link, as /var/run is.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        std::fs::write(folder.path().join("b.pid"), std::process::id().to_string()).unwrap();
        assert!(matches!(named(&at(link.join("b.pid"))), Named::Process { .. }));
    }
}
