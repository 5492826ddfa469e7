//! Probes: one look from outside, with a time limit of its own.

use std::collections::{BTreeMap, BTreeSet};
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
use super::task::{Agent, Finished};
use super::{exposition, http};
use crate::settings::{Equals, Place, ProbeKind, States};

/// While a rollout waits for probes, they are not slower than this.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How long one look may take at most, whatever the interval.
const LONGEST: Duration = Duration::from_secs(2);
/// The same for a command, which has to start first.
const COMMAND_LONGEST: Duration = Duration::from_secs(5);
/// No answer that is looked into is longer: a document of its own, or all metrics of a program.
const LONGEST_JSON: usize = 64 * 1024;
const LONGEST_METRICS: usize = 4 * 1024 * 1024;
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
                let longest = match states.place {
                    Place::Json(_) => LONGEST_JSON,
                    Place::Metric { .. } => LONGEST_METRICS,
                };
                let body = Limited::new(response.into_body(), longest).collect().await;
                let body = body.map_err(|error| {
                    if error.is::<http_body_util::LengthLimitError>() {
                        format!("the answer is longer than {longest} bytes")
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
    match &states.place {
        Place::Json(field) => {
            let answer: serde_json::Value =
                serde_json::from_slice(answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
            let found = answer
                .pointer(field)
                .ok_or_else(|| format!("the answer has no {field:?}"))?;
            if found
                .as_str()
                .is_some_and(|text| is_live(text, states.equals, live))
            {
                return Ok(());
            }
            let found = found.to_string();
            Err(unlike(&format!("{field:?}"), &found, states.equals, live))
        }
        Place::Metric { name, label, labels } => {
            let found = stated(answer, name, label, labels)?;
            if is_live(&found, states.equals, live) {
                return Ok(());
            }
            let place = format!("the label {label:?} of {name}");
            Err(unlike(&place, &format!("{found:?}"), states.equals, live))
        }
    }
}

/// What the label of a metric says. By convention its value is 1, and one series is there for each value of the label:
/// those of the past are gone, or 0.
fn stated(
    answer: &[u8],
    name: &str,
    label: &str,
    labels: &BTreeMap<String, String>,
) -> Result<String, String> {
    let text = std::str::from_utf8(answer).map_err(|error| format!("the answer is no text: {error}"))?;
    let mut all = exposition::series(text, name)?;
    if all.is_empty() {
        return Err(format!("the answer has no metric {name}"));
    }
    all.retain(|one| {
        labels
            .iter()
            .all(|(name, value)| one.labels.get(name) == Some(value))
    });
    if all.is_empty() {
        return Err(format!("no series of {name} has the labels {labels:?}"));
    }
    #[allow(
        clippy::float_cmp,
        reason = "it is 1 exactly, or it is not what is looked for"
    )]
    all.retain(|one| one.value == 1.0);
    if all.is_empty() {
        return Err(format!("no series of {name} is 1"));
    }
    let mut stated = all
        .into_iter()
        .map(|mut one| {
            one.labels
                .remove(label)
                .ok_or_else(|| format!("{name} has no label {label:?}"))
        })
        .collect::<Result<BTreeSet<_>, _>>()?;
    match (stated.pop_first(), stated.pop_first()) {
        (Some(one), None) => Ok(one),
        (one, other) => Err(format!(
            "two series of {name} are 1, for the {label:?} {} and {}: the one of the past must go, or be 0",
            clipped(&one.unwrap_or_default()),
            clipped(&other.unwrap_or_default())
        )),
    }
}

fn is_live(text: &str, equals: Equals, live: &Release) -> bool {
    match equals {
        Equals::Revision => {
            let short = live.revision.short().len();
            text.len() >= short && live.revision.as_str().starts_with(text)
        }
        Equals::Digest => text == live.digest.to_string(),
    }
}

/// What stands somewhere is not what is live.
fn unlike(place: &str, found: &str, equals: Equals, live: &Release) -> String {
    let expected = match equals {
        Equals::Revision => format!("the revision {}", live.revision),
        Equals::Digest => format!("the digest {}", live.digest),
    };
    format!("{place} is {}, and {expected} is expected", clipped(found))
}

fn clipped(text: &str) -> String {
    text.chars().take(VALUE_SHOWN).collect()
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
            place: Place::Json(field.to_owned()),
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

    #[test]
    fn a_metric_states_what_is_live_in_a_label() {
        let states = |labels: &[(&str, &str)]| States {
            place: Place::Metric {
                name: "app_config_info".to_owned(),
                label: "hash".to_owned(),
                labels: labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            },
            equals: Equals::Digest,
        };
        let digest = release().digest.to_string();
        let judged = |text: &str, labels: &[(&str, &str)]| {
            let text = text.replace("LIVE", &digest);
            judge(text.as_bytes(), &states(labels), &release())
        };
        let live = "up 1\napp_config_info{hash=\"LIVE\"} 1\n";
        assert_eq!(judged(live, &[]), Ok(()));
        // What ran before may still be shown, as 0; several processes may say the same.
        let mixed = "app_config_info{hash=\"old\"} 0\napp_config_info{hash=\"LIVE\",pid=\"1\"} 1\n\
                     app_config_info{hash=\"LIVE\",pid=\"2\"} 1.0\napp_config_info{hash=\"x\",part=\"y\"} 1\n";
        assert_eq!(judged(mixed, &[("pid", "2")]), Ok(()));
        assert_eq!(
            judged(mixed, &[]).unwrap_err(),
            format!(
                "two series of app_config_info are 1, for the \"hash\" {digest} and x: the one of the past must go, or \
                 be 0"
            )
        );
        assert_eq!(
            judged(mixed, &[("part", "y")]).unwrap_err(),
            format!("the label \"hash\" of app_config_info is \"x\", and the digest {digest} is expected")
        );
        for (text, words) in [
            ("up 1\n", "the answer has no metric app_config_info"),
            (
                "app_config_info{hash=\"LIVE\"} 0\n",
                "no series of app_config_info is 1",
            ),
            (
                "app_config_info{digest=\"LIVE\"} 1\n",
                "app_config_info has no label \"hash\"",
            ),
            (
                "app_config_info{hash=\"LIVE} 1\n",
                "line 1 is no sample of app_config_info",
            ),
        ] {
            assert_eq!(judged(text, &[]).unwrap_err(), words);
        }
        let error = judged(live, &[("job", "a")]).unwrap_err();
        assert_eq!(
            error,
            "no series of app_config_info has the labels {\"job\": \"a\"}"
        );
    }
}
