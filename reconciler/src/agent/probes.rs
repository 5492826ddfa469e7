//! Probes: one look from outside, with a time limit of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::http::Method;
use lockstep_core::rollout::ProbeResult;
use lockstep_core::service::ServiceName;
use lockstep_protocol::{RELEASE_FILE, Release, env};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use super::Surroundings;
use super::commands::{self, Unsuccessful};
use super::http;
use super::task::{Agent, Finished};
use crate::settings::{Equals, ProbeKind, States};

/// While a rollout waits for probes, they are not slower than this.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How long one look may take at most, whatever the interval.
const LONGEST: Duration = Duration::from_secs(2);
/// The same for a command, which has to start first.
const COMMAND_LONGEST: Duration = Duration::from_secs(5);
/// No answer that is looked into is longer.
const LONGEST_ANSWER: usize = 64 * 1024;
/// As much of a wrong value is shown.
const VALUE_SHOWN: usize = 100;

impl Agent {
    pub(super) fn next_probe(&mut self) -> Option<Instant> {
        for service in self.spec.probes.keys() {
            self.probe_due.entry(service.clone()).or_insert_with(Instant::now);
        }
        self.probe_due.values().min().copied()
    }

    /// From now on only what is seen from now on counts for these.
    pub(super) fn probe(&mut self, services: BTreeSet<ServiceName>) {
        let now = Instant::now();
        for service in &services {
            self.probe_due.insert(service.clone(), now);
            // One that hangs must not keep the next from being tried.
            if let Some(command) = self.commands.get(service) {
                command.abort();
            }
        }
        self.probing = services;
    }

    pub(super) fn begin_probes(&mut self) {
        let now = Instant::now();
        for (service, probe) in &self.spec.probes {
            let Some(due) = self.probe_due.get_mut(service).filter(|due| **due <= now) else {
                continue;
            };
            let every = if self.probing.contains(service) {
                probe.every.min(PROBE_EVERY)
            } else {
                probe.every
            };
            *due = now + every;
            let Some(surroundings) = self.spec.surroundings.get(service) else {
                continue;
            };
            if self.commands.contains_key(service) {
                continue;
            }
            let look = Look {
                kind: probe.kind.clone(),
                service: surroundings.clone(),
                volume: self.spec.volume.clone(),
            };
            let (name, began) = (service.clone(), self.clock.now());
            let task = self.work.spawn(async move {
                let failure = look.once().await;
                Finished::Probe {
                    service: name,
                    result: ProbeResult { began, failure },
                }
            });
            if let ProbeKind::Exec(_) = probe.kind {
                self.commands.insert(service.clone(), task);
            }
        }
    }
}

/// One look: what is asked, and of whom.
struct Look {
    kind: ProbeKind,
    service: Surroundings,
    volume: PathBuf,
}

impl Look {
    /// Looks once. None: it passed.
    async fn once(self) -> Option<String> {
        // A command is killed with all that it started, so its end is not left to this limit.
        let result = match &self.kind {
            ProbeKind::Tcp(address) => in_time(connect(address)).await,
            ProbeKind::Http {
                authority,
                path,
                states,
            } => in_time(self.http(authority, path, states.as_ref())).await,
            ProbeKind::Exec(words) => self.exec(words).await,
        };
        result.err()
    }

    async fn http(&self, authority: &str, path: &str, states: Option<&States>) -> Result<(), String> {
        // What is live is read first: an answer to a later question is about nothing older.
        let states = match states {
            Some(states) => Some((states, live(self.volume.clone()).await?.1)),
            None => None,
        };
        http::exchange(
            (Method::GET, authority, path),
            "lockstep-probe",
            async |response| {
                if !response.status().is_success() {
                    return Err(format!("status {}", response.status()));
                }
                let Some((states, live)) = states else {
                    return Ok(());
                };
                let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
                let body = body.map_err(|error| {
                    if error.is::<http_body_util::LengthLimitError>() {
                        format!("the answer is longer than {LONGEST_ANSWER} bytes")
                    } else {
                        error.to_string()
                    }
                })?;
                judge(&body.to_bytes(), states, &live)
            },
        )
        .await
    }

    async fn exec(&self, words: &[String]) -> Result<(), String> {
        let prepared = in_time(self.command(words)).await?;
        match commands::run(prepared, COMMAND_LONGEST).await {
            Ok(()) => Ok(()),
            Err(Unsuccessful::Said(text)) => Err(format!("{}: {text}", words[0])),
            Err(Unsuccessful::NotRun(why)) => Err(match &self.service.user {
                Some(user) => format!("{why} (as user {user})"),
                None => why,
            }),
        }
    }

    /// The command as the service itself would be run, but for what makes it the service.
    async fn command(&self, words: &[String]) -> Result<Command, String> {
        let (program, arguments) = words.split_first().ok_or("its command is empty")?;
        let candidate = if words.iter().any(|word| word.contains(CANDIDATE)) {
            live(self.volume.clone()).await?.0
        } else {
            PathBuf::new()
        };
        let filled = |word: &String| word.replace(CANDIDATE, &candidate.to_string_lossy());
        let mut command = Command::new(filled(program));
        command
            .args(arguments.iter().map(filled))
            .current_dir(&self.service.cwd)
            .env_clear()
            .envs(&self.service.env)
            // Only the service may speak for itself.
            .env_remove(env::STATUS_FILE)
            .env_remove(env::OFFER_FILE);
        if let Some(user) = self.service.user.clone() {
            let ids = tokio::task::spawn_blocking(move || lockstep_guard::ids_to_become(&user));
            if let Some((user, group)) = ids.await.map_err(|error| error.to_string())?? {
                command.uid(user).gid(group);
            }
        }
        Ok(command)
    }
}

/// Stands for the folder of the release that is live: after the switch, the candidate.
const CANDIDATE: &str = "{candidate}";

async fn in_time<T>(look: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let looked = tokio::time::timeout(LONGEST, look).await;
    looked.unwrap_or_else(|_| Err(format!("no answer within {LONGEST:?}")))
}

async fn connect(address: &str) -> Result<(), String> {
    let connected = TcpStream::connect(address).await;
    connected.map(drop).map_err(|error| format!("{address}: {error}"))
}

/// What is live at this moment, as a service that reads the volume sees it: its folder, and what it says of itself.
async fn live(volume: PathBuf) -> Result<(PathBuf, Release), String> {
    // A volume may be slow.
    let read = tokio::task::spawn_blocking(move || read_live(&volume));
    read.await
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(|error| format!("what is live cannot be read: {error}"))
}

fn read_live(volume: &Path) -> Result<(PathBuf, Release), String> {
    let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let current = volume.join("current");
    // Once: a switch must not fall between the folder and its document.
    let folder = current.canonicalize().map_err(|error| named(&current, &error))?;
    let file = folder.join(RELEASE_FILE);
    let text = std::fs::read(&file).map_err(|error| named(&file, &error))?;
    let release = serde_json::from_slice(&text).map_err(|error| named(&file, &error))?;
    Ok((folder, release))
}

/// Whether an answer states what is live.
fn judge(answer: &[u8], states: &States, live: &Release) -> Result<(), String> {
    let States { field, equals } = states;
    let answer: serde_json::Value =
        serde_json::from_slice(answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
    let found = answer
        .pointer(field)
        .ok_or_else(|| format!("the answer has no {field:?}"))?;
    let (expected, is_it) = match equals {
        Equals::Revision => {
            let revision = live.revision.as_str();
            let short = live.revision.short().len();
            let is_it = found
                .as_str()
                .is_some_and(|text| text.len() >= short && revision.starts_with(text));
            (format!("the revision {revision}"), is_it)
        }
        Equals::Digest => {
            let digest = live.digest.to_string();
            let is_it = found.as_str() == Some(digest.as_str());
            (format!("the digest {digest}"), is_it)
        }
    };
    if is_it {
        return Ok(());
    }
    let found: String = found.to_string().chars().take(VALUE_SHOWN).collect();
    Err(format!("{field:?} is {found}, and {expected} is expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

    fn release() -> Release {
        Release {
            revision: REVISION.parse().unwrap(),
            digest: lockstep_protocol::Digest::of_bytes(b"x"),
            author: "A <a@b>".to_owned(),
            committed: jiff::Timestamp::UNIX_EPOCH,
            subject: "Subject".to_owned(),
            built: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn asked(field: &str, equals: Equals) -> States {
        States {
            field: field.to_owned(),
            equals,
        }
    }

    #[test]
    fn a_field_states_the_live_revision_whole_or_short() {
        let states = asked("/config/revision", Equals::Revision);
        let judged = |value: &str| {
            let answer = format!("{{\"config\": {{\"revision\": {value}}}}}");
            judge(answer.as_bytes(), &states, &release())
        };
        for text in [REVISION, &REVISION[..12], &REVISION[..13]] {
            assert_eq!(judged(&format!("{text:?}")), Ok(()), "{text}");
        }
        let longer = format!("{REVISION}0");
        for text in [&REVISION[..11], "", "0123456789ab0", &REVISION[1..], &longer] {
            let error = judged(&format!("{text:?}")).unwrap_err();
            assert_eq!(
                error,
                format!("\"/config/revision\" is {text:?}, and the revision {REVISION} is expected")
            );
        }
        assert!(judged("12345678901234").is_err(), "a number is no revision");
    }

    #[test]
    fn a_field_states_the_live_digest() {
        let states = asked("", Equals::Digest);
        let digest = release().digest.to_string();
        let judged = |value: &str| judge(format!("{value:?}").as_bytes(), &states, &release());
        assert_eq!(judged(&digest), Ok(()));
        for text in [REVISION, &digest[..20], &release().digest.hex()] {
            let error = judged(text).unwrap_err();
            assert!(error.contains(text) && error.contains(&digest), "{error}");
        }
    }

    #[test]
    fn an_answer_without_the_field_is_named() {
        let states = asked("/revision", Equals::Revision);
        for (answer, words) in [
            ("well", "the answer is no JSON"),
            ("{}", "the answer has no \"/revision\""),
            ("[1]", "the answer has no \"/revision\""),
        ] {
            let error = judge(answer.as_bytes(), &states, &release()).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
        let long = format!("{{\"revision\": {:?}}}", "y".repeat(10_000));
        let error = judge(long.as_bytes(), &states, &release()).unwrap_err();
        assert!(error.len() < 300, "{error}");
    }

    #[test]
    fn what_is_live_is_what_current_leads_to() {
        let volume = tempfile::tempdir().unwrap();
        let folder = volume.path().canonicalize().unwrap().join(".lockstep/releases/r");
        std::fs::create_dir_all(folder.join(".lockstep")).unwrap();
        let error = read_live(volume.path()).unwrap_err();
        assert!(error.contains("current"), "{error}");
        std::os::unix::fs::symlink(".lockstep/releases/r", volume.path().join("current")).unwrap();
        let text = serde_json::to_string(&release()).unwrap();
        std::fs::write(folder.join(RELEASE_FILE), text).unwrap();
        assert_eq!(read_live(volume.path()), Ok((folder, release())));
    }
}
