//! `process`: how a service is run, or where one is found that somebody else runs.

use std::collections::BTreeMap;

use lockstep_core::service::{Reload, Tier};
use lockstep_guard::wire::RestartPolicy;

use super::super::{Foreign, Limits, Process, Run, values, written};
use super::Resolver;

/// A smaller output file would be moved aside all the time.
const SMALLEST_OUTPUT: u64 = 4 * 1024;
/// As many are kept at most: each time all are renamed.
const MOST_OUTPUTS: u32 = 100;

impl Resolver {
    pub(super) fn process(&mut self, key: &str, mut process: written::Process) -> Run {
        if let Some(user) = process.user.as_deref().filter(|_| self.here) {
            let known = lockstep_guard::check_user(user);
            let known = self.fit(key, known.map_err(|what| format!("user: {what}")));
            if known.is_some() {
                let allowed = lockstep_guard::ids_to_become(user).map(drop);
                self.fit(key, allowed.map_err(|what| format!("user: {what}")));
            }
        }
        match process.pid_file.take() {
            Some(pid_file) => Run::Foreign(self.foreign(key, pid_file, process)),
            None => Run::Supervised(self.supervised(key, process)),
        }
    }

    fn supervised(&mut self, key: &str, process: written::Process) -> Process {
        let of_others = [
            ("executable", process.executable.is_some()),
            ("status_file", process.status_file.is_some()),
            ("offer_file", process.offer_file.is_some()),
        ];
        for (name, _) in of_others.into_iter().filter(|(_, given)| *given) {
            self.wrong(
                key,
                &format!("{name}: it belongs to `pid_file`; one that Lockstep runs is told its files by the environment"),
            );
        }
        let words = process.command.unwrap_or_default();
        if words.first().is_none_or(String::is_empty) {
            self.wrong(
                key,
                "command: a program is expected, for example [\"./scanner\", \"--listen\", \"127.0.0.1:50051\"]; or \
                 `pid_file` for a process that somebody else runs",
            );
        }
        let stop = process.stop.unwrap_or_default();
        let judged = values::stop_signal(&stop.signal);
        self.fit(key, judged.map_err(|what| format!("stop.signal: {what}")));
        let variables = process.env.unwrap_or_default();
        for (name, value) in &variables {
            let judged = values::variable(name).and_then(|()| values::without_nul(value));
            self.fit(key, judged.map_err(|what| format!("env: {what}")));
        }
        if let Some(cwd) = &process.cwd {
            self.fit(key, values::without_nul(cwd));
        }
        let cwd = process
            .cwd
            .as_deref()
            .map_or_else(|| self.folder.clone(), |cwd| self.path(cwd));
        let command = self.program(&format!("{key}: command"), words);
        let mut env = self.environment(process.user.as_deref());
        env.extend(variables);
        Process {
            command,
            cwd,
            env,
            user: process.user,
            stop_signal: stop.signal,
            stop_within: self.duration(key, stop.within),
            restart: process.restart.unwrap_or(RestartPolicy::Always),
            output: self.output(key, &process.output.unwrap_or_default()),
        }
    }

    fn output(&mut self, key: &str, output: &written::Output) -> Limits {
        let limits = Limits {
            max_size: output.max_size.as_u64(),
            keep: output.keep,
        };
        if limits.max_size < SMALLEST_OUTPUT {
            self.wrong(
                key,
                "output.max_size: at least 4KiB is expected, for example \"10MiB\"",
            );
        }
        if !(1..=MOST_OUTPUTS).contains(&limits.keep) {
            self.wrong(
                key,
                &format!("output.keep: 1 to {MOST_OUTPUTS} files that were moved aside are kept"),
            );
        }
        limits
    }

    /// A process that Lockstep neither starts nor ends: whatever would say how is refused.
    fn foreign(&mut self, key: &str, pid_file: String, process: written::Process) -> Foreign {
        let of_ours = [
            ("command", process.command.is_some()),
            ("cwd", process.cwd.is_some()),
            ("env", process.env.is_some()),
            ("stop", process.stop.is_some()),
            ("restart", process.restart.is_some()),
            ("output", process.output.is_some()),
        ];
        for (name, _) in of_ours.into_iter().filter(|(_, given)| *given) {
            self.wrong(
                key,
                &format!("{name}: Lockstep neither starts nor ends a process with `pid_file`: leave it out"),
            );
        }
        if process.executable.is_none() {
            self.wrong(
                key,
                "executable: the file that the process of `pid_file` executes is expected, so that no other is \
                 signalled; `readlink /proc/PID/exe` prints it (of a script: its interpreter)",
            );
        }
        let mut file = |name: &str, text: Option<String>| {
            let text = text?;
            if text.is_empty() || text.ends_with('/') {
                self.wrong(key, &format!("{name}: a file is expected"));
            }
            self.fit(key, values::without_nul(&text));
            Some(self.path(&text))
        };
        Foreign {
            pid_file: file("pid_file", Some(pid_file)).unwrap_or_default(),
            executable: file("executable", process.executable).unwrap_or_default(),
            status_file: file("status_file", process.status_file),
            offer_file: file("offer_file", process.offer_file),
            cwd: self.folder.clone(),
            env: self.environment(process.user.as_deref()),
            user: process.user,
        }
    }

    /// Judges one that somebody else runs beside the rest of its service.
    pub(super) fn foreign_fits(
        &mut self,
        [process, reload_key, verify]: [&str; 3],
        foreign: &Foreign,
        reload: &Reload,
        tier: Tier,
    ) {
        if *reload == Reload::Restart {
            self.wrong(
                reload_key,
                "restart: Lockstep does not start the process of a `pid_file`; use { signal = \"SIGHUP\" } or \
                 { watch = {} }, or have Lockstep run it by `process.command`",
            );
        }
        if tier.states() && foreign.status_file.is_none() {
            self.wrong(
                verify,
                &format!("tier {tier:?}: `process.status_file` is expected, the file that the service writes its status to"),
            );
        }
        match (tier, &foreign.offer_file) {
            (Tier::Voting, None) => self.wrong(
                verify,
                "tier \"voting\": `process.offer_file` is expected, the file in which the service looks for offers",
            ),
            (Tier::Running | Tier::Probed | Tier::Acknowledged, Some(_)) => self.wrong(
                process,
                "offer_file: only tier \"voting\" is made offers: leave it out, or set `verify.tier`",
            ),
            (Tier::Voting, Some(offer)) if foreign.status_file.as_ref() == Some(offer) => self.wrong(
                process,
                "offer_file: it cannot be the status file: the one is written by Lockstep, the other by the service",
            ),
            (Tier::Voting | Tier::Running | Tier::Probed | Tier::Acknowledged, _) => {}
        }
    }

    /// What every service's environment begins with.
    fn environment(&self, user: Option<&str>) -> BTreeMap<String, String> {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), path.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        let home = match user.filter(|_| self.here) {
            Some(user) => lockstep_guard::home_of(user)
                .ok()
                .and_then(|home| home.into_os_string().into_string().ok()),
            None => std::env::var("HOME").ok(),
        };
        env.extend(home.map(|home| ("HOME".to_owned(), home)));
        env
    }
}
