//! From what is written to what it means: every value is judged, and all mistakes are named at once.

mod probe;
mod process;
mod window;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use lockstep_core::diagnostic::{self, Style};
use lockstep_core::policy::OperatorPolicy;
use lockstep_core::reads::Reads;
use lockstep_core::service::{HttpReload, Pause, Reload, ServiceName, Tier, Verify};
use lockstep_source::{Access, Bounds, SourceSpec};

use super::values;
use super::{Rollout, Run, Service, Settings, SettingsError, Source, Telemetry, Volume, Web, written};

/// In less nobody can be paused: a tick of the system's clock passes before a stop is confirmed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// No pause may be asked for that is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A shorter interval would only burn the processor: wake-ups are what makes it quick.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Less is not enough for a server that is far away, and busy.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
/// More would leave a way back, or an end, waiting for a server that hangs.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(120);

struct Resolver {
    folder: PathBuf,
    problems: Vec<String>,
    /// Whether the services are to run on this machine.
    here: bool,
}

pub(super) fn resolve(
    file: &Path,
    written: written::Settings,
    here: bool,
) -> Result<Settings, SettingsError> {
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let mut resolver = Resolver {
        folder,
        problems: Vec::new(),
        here,
    };
    let source = resolver.source(written.source);
    let volume = Volume {
        path: resolver.place("volume.path", &written.volume.path),
        keep: written.volume.keep,
    };
    if volume.keep < 2 {
        resolver.wrong(
            "volume.keep",
            "at least 2 releases are kept: the live one and the way back",
        );
    }
    let mut names = BTreeSet::new();
    let mut services = Vec::new();
    for (index, service) in written.service.into_iter().enumerate() {
        if !names.insert(service.name.clone()) {
            resolver.wrong(
                "service.name",
                &format!(
                    "{:?} is used twice; each service has a name of its own",
                    service.name
                ),
            );
        }
        services.push(resolver.service(index, service));
    }
    let windows = resolver.windows(written.window);
    let pause_limit = resolver.duration("rollout.pause_limit", written.rollout.pause_limit);
    if !(SHORTEST_PAUSE..=LONGEST_PAUSE).contains(&pause_limit) {
        resolver.wrong(
            "rollout.pause_limit",
            "at least 10ms and at most 2s is expected, for example \"500ms\"",
        );
    }
    let bake = resolver.duration("rollout.bake", written.rollout.bake);
    let state = resolver.place("state.path", &written.state.path);
    if state.starts_with(&volume.path) || volume.path.starts_with(&state) {
        resolver.wrong(
            "state.path",
            "the state folder and the volume must not lie in one another",
        );
    }
    let telemetry = written
        .telemetry
        .and_then(|telemetry| resolver.fit("telemetry.otlp", values::collector(telemetry.otlp)))
        .map(|otlp| Telemetry { otlp });
    let policy_file = written.policy.and_then(|policy| {
        if policy.file.is_empty() {
            resolver.wrong(
                "policy.file",
                "a file is expected; leave the table out where there is none",
            );
            return None;
        }
        Some(resolver.path(&policy.file))
    });
    let policy = policy_file.as_deref().and_then(|file| resolver.policy(file));
    if resolver.problems.is_empty() {
        Ok(Settings {
            policy_file,
            policy,
            file: file.to_owned(),
            source,
            volume,
            services,
            windows,
            rollout: Rollout {
                pause_limit,
                bake,
                observe: written.rollout.observe,
            },
            web: written.web.map(|web| Web { listen: web.listen }),
            telemetry,
            state,
        })
    } else {
        Err(SettingsError::Wrong {
            path: file.to_owned(),
            problems: resolver.problems,
        })
    }
}

impl Resolver {
    fn wrong(&mut self, key: &str, what: &str) {
        self.problems.push(format!("  {key}: {what}"));
    }

    /// Notes a mistake, and gives what there is without one.
    fn fit<T>(&mut self, key: &str, judged: Result<T, String>) -> Option<T> {
        judged.map_err(|what| self.wrong(key, &what)).ok()
    }

    /// The operator's own policy. All that is wrong with it is told where it is to judge what goes live.
    fn policy(&mut self, path: &Path) -> Option<Arc<OperatorPolicy>> {
        const LARGEST: u64 = 1 << 20;
        let name = path.display().to_string();
        let text = match std::fs::metadata(path) {
            Ok(facts) if !facts.is_file() => Err("it is no file".to_owned()),
            Ok(facts) if facts.len() > LARGEST => Err("it has more than 1 MiB".to_owned()),
            Ok(_) => std::fs::read(path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let read = text
            .map_err(|why| format!("the operator's policy {name} cannot be read: {why}"))
            .and_then(|text| {
                let text: Arc<[u8]> = text.into();
                OperatorPolicy::read(&name, Arc::clone(&text)).map_err(|report| {
                    let said = diagnostic::text(&report, &[(name.clone(), text)].into(), Style::default());
                    format!(
                        "the operator's policy {name} cannot be used:\n{}",
                        said.trim_end()
                    )
                })
            });
        match read {
            Ok(policy) => Some(Arc::new(policy)),
            Err(what) => {
                if self.here {
                    self.wrong("policy.file", &what);
                }
                None
            }
        }
    }

    /// A folder of Lockstep's own.
    fn place(&mut self, key: &str, text: &str) -> PathBuf {
        if text.is_empty() {
            self.wrong(
                key,
                "a folder is expected; it counts from the settings' own folder",
            );
        }
        self.fit(key, values::without_nul(text));
        self.path(text)
    }

    /// A program with its arguments. One with a slash counts from the settings' folder like every path; a bare
    /// name is looked up in PATH.
    fn program(&mut self, key: &str, mut words: Vec<String>) -> Vec<String> {
        for word in &words {
            self.fit(key, values::without_nul(word));
        }
        if let Some(program) = words.first_mut()
            && program.contains('/')
            && !program.starts_with('{')
        {
            *program = self.path(program).to_string_lossy().into_owned();
        }
        words
    }

    /// An absolute path: relative ones count from the settings' folder.
    fn path(&self, text: &str) -> PathBuf {
        let joined = self.folder.join(text);
        std::path::absolute(&joined)
            .unwrap_or(joined)
            .components()
            .collect()
    }

    fn duration(&mut self, key: &str, duration: SignedDuration) -> Duration {
        Duration::try_from(duration).unwrap_or_else(|_| {
            self.wrong(
                key,
                "a duration cannot be negative; write for example \"5s\" or \"500ms\"",
            );
            Duration::ZERO
        })
    }

    fn source(&mut self, source: written::Source) -> Source {
        let interval = self.duration("source.interval", source.interval);
        if interval < SHORTEST_INTERVAL {
            self.wrong(
                "source.interval",
                "at least 100ms is expected; a local repository wakes at once anyway",
            );
        }
        if source.url.is_empty() {
            self.wrong(
                "source.url",
                "a repository is expected, for example \"/srv/config.git\"",
            );
        }
        let url = if source.url.contains("://") || looks_like_scp(&source.url) {
            source.url
        } else {
            self.path(&source.url).to_string_lossy().into_owned()
        };
        let timeout = self.duration("source.timeout", source.timeout);
        if !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout) {
            self.wrong("source.timeout", "between 1s and 2m is expected");
        }
        let mut file = |key: &str, name: Option<String>| {
            // An empty name would be the settings' folder.
            let name = name.inspect(|name| {
                if name.is_empty() {
                    self.wrong(key, "a file is expected; leave the key out where there is none");
                }
            });
            name.map(|name| self.path(&name))
        };
        let access = Access {
            password_file: file("source.password_file", source.password_file),
            token_file: file("source.token_file", source.token_file),
            ca_file: file("source.ca_file", source.ca_file),
            ssh_key: file("source.ssh_key", source.ssh_key),
            known_hosts: file("source.known_hosts", source.known_hosts),
            username: source.username,
        };
        let spec = SourceSpec {
            access,
            bounds: Bounds::with_steps_of(timeout),
            ..SourceSpec::new(url, source.branch).publishing(source.path)
        };
        self.source_fits(&spec);
        Source {
            spec,
            interval,
            rewind: source.rewind,
        }
    }

    /// Judges each field with sound ones beside it, so that no mistake hides another.
    fn source_fits(&mut self, spec: &SourceSpec) {
        let (branch, path) = ("main".to_owned(), String::new());
        let reached = SourceSpec {
            branch: branch.clone(),
            path: path.clone(),
            ..spec.clone()
        };
        let followed = SourceSpec::new("/", spec.branch.as_str());
        let published = SourceSpec::new("/", branch).publishing(spec.path.as_str());
        for (key, one) in [
            ("source", reached),
            ("source.branch", followed),
            ("source.path", published),
        ] {
            if let Err(error) = one.check() {
                let message = error.to_string();
                // Most begin with the key themselves.
                match message.split_once(' ') {
                    Some((named, what)) if named.starts_with("source.") => self.wrong(named, what),
                    Some(_) | None => self.wrong(key, &message),
                }
            }
        }
    }

    fn service(&mut self, index: usize, service: written::Service) -> Service {
        let key = |field: &str| format!("service[{index}] {:?}: {field}", service.name);
        let (reload_key, verify_key, process_key) = (key("reload"), key("verify"), key("process"));
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if service.name.is_empty()
            || service.name.len() > 63
            || !service.name.chars().all(fits)
            || service.name.starts_with('.')
        {
            self.wrong(
                &key("name"),
                "1 to 63 letters, digits, `-`, `_` or `.` are expected, not beginning with `.`",
            );
        }
        let in_part = service.reads.is_some();
        let reads = match service.reads {
            None => Reads::everything(),
            Some(patterns) => Reads::parse(&patterns).unwrap_or_else(|error| {
                self.wrong(&key("reads"), &error.to_string());
                Reads::everything()
            }),
        };
        let reload = self.reload(&reload_key, service.reload);
        let probe = service.verify.probe.map(|probe| self.probe(&verify_key, probe));
        let verify = Verify {
            tier: service.verify.tier,
            within: self.duration(&verify_key, service.verify.within),
        };
        if verify.within.is_zero() {
            self.wrong(
                &verify_key,
                "within: more than 0 is expected, for example \"10s\"",
            );
        }
        if verify.tier == Tier::Running && verify.within <= lockstep_core::rollout::RUNNING_AFTER {
            self.wrong(
                &verify_key,
                "within: more than 500ms is expected for tier \"running\", which takes that long",
            );
        }
        if (verify.tier == Tier::Probed) != probe.is_some() {
            self.wrong(
                &verify_key,
                "a probe belongs to tier \"probed\", and tier \"probed\" needs a probe",
            );
        }
        self.probe_fits(&verify_key, probe.as_ref(), in_part);
        if service.pause == Pause::Freeze && reload == Reload::Restart {
            self.wrong(
                &key("pause"),
                "a service that is restarted is not paused: leave `pause` out",
            );
        }
        let process = self.process(&process_key, service.process);
        if let Run::Foreign(foreign) = &process {
            self.foreign_fits(
                [&process_key, &reload_key, &verify_key],
                foreign,
                &reload,
                verify.tier,
            );
        }
        if service.check.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(&key("check"), "a program is expected, for example [\"./scanner\", \"--check\", \"{candidate}/config.toml\"]");
        }
        let check = service.check.map(|check| self.program(&key("check"), check));
        Service {
            name: ServiceName::new(&service.name),
            reads,
            process,
            pause: service.pause,
            reload,
            verify,
            probe,
            check,
        }
    }

    fn reload(&mut self, key: &str, reload: written::Reload) -> Reload {
        if reload.method.is_some() && reload.http.is_none() {
            self.wrong(key, "method: only a reload over http has one");
        }
        match (reload.signal, reload.http, reload.watch, reload.restart) {
            (Some(signal), None, None, None) => {
                self.fit(key, values::reload_signal(&signal));
                Reload::Signal(signal)
            }
            (None, Some(url), None, None) => {
                let judged = values::http(&url).map_err(|what| format!("http: {what}"));
                let (authority, path) = self.fit(key, judged).unwrap_or_default();
                Reload::Http(HttpReload {
                    method: reload.method.unwrap_or_default(),
                    authority,
                    path,
                })
            }
            (None, None, Some(_), None) => Reload::Watch,
            (None, None, None, Some(_)) => Reload::Restart,
            (_, _, _, _) => {
                self.wrong(
                    key,
                    "exactly one is expected of { signal = \"SIGHUP\" }, { http = \"http://HOST:PORT/PATH\" }, { watch = {} } and { restart = {} }",
                );
                Reload::Restart
            }
        }
    }
}

/// git's short form `user@host:path`, which is no path.
fn looks_like_scp(url: &str) -> bool {
    url.split('/').next().is_some_and(|first| first.contains(':'))
}
