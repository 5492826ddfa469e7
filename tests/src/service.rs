//! A service of a lab, as the settings say it: the test service in one of its parts, or another program.

use std::fmt::Write as _;

/// One `[[service]]`. `{bin}`, `{lab}` and `{address}` in arguments are the lab's own.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    command: Vec<String>,
    env: Vec<(String, String)>,
    reads: Option<Vec<String>>,
    pause: &'static str,
    reload: String,
    tier: &'static str,
    within: String,
    probe: Option<String>,
    restart: &'static str,
    user: Option<String>,
    check: Option<Vec<String>>,
    /// More keys of `process`, each with a comma before it.
    process: String,
    /// Whether the test starts it itself; with the file that it executes.
    foreign: Option<String>,
}

impl Service {
    /// The test service, which reads its own table of `config.toml`: frozen, told by SIGUSR1, acknowledging by
    /// the client library.
    #[must_use]
    pub fn acknowledged(name: &str) -> Self {
        Self::program(name, &["{bin}/lab-service", name]).reads(&[&format!("config.toml#{name}")])
    }

    /// The same, also asked before anything is switched.
    #[must_use]
    pub fn voting(name: &str) -> Self {
        Self::acknowledged(name).arg("--vote").tier("voting")
    }

    /// The same with a status written by hand, so that it can misbehave in it.
    #[must_use]
    pub fn by_hand(name: &str) -> Self {
        Self::acknowledged(name).args(&["--style", "hand"])
    }

    /// One that re-reads its file on SIGHUP and states nothing.
    #[must_use]
    pub fn running(name: &str) -> Self {
        Self::acknowledged(name)
            .args(&["--style", "plain", "--reload", "hup"])
            .reload("{ signal = \"SIGHUP\" }")
            .tier("running")
    }

    /// The same with a health page that is probed.
    #[must_use]
    pub fn probed(name: &str) -> Self {
        let service = Self::running(name)
            .args(&["--http", "{address}:8100"])
            .tier("probed");
        Self {
            probe: Some("{ http = \"http://{address}:8100/health\", every = \"50ms\" }".to_owned()),
            ..service
        }
    }

    /// One that re-reads its file when it is asked over HTTP, and states nothing.
    #[must_use]
    pub fn requested(name: &str) -> Self {
        Self::acknowledged(name)
            .args(&["--style", "plain", "--reload", "http", "--http", "{address}:8100"])
            .reload("{ http = \"http://{address}:8100/reload\" }")
            .tier("running")
    }

    /// One that sees every switch by itself.
    #[must_use]
    pub fn watching(name: &str) -> Self {
        Self::acknowledged(name)
            .args(&["--reload", "watch"])
            .reload("{ watch = {} }")
    }

    /// One that takes a change only by being started again.
    #[must_use]
    pub fn restarted(name: &str) -> Self {
        Self::acknowledged(name).reload("{ restart = {} }").pause("none")
    }

    /// Any program, with the defaults of the test service.
    #[must_use]
    pub fn program(name: &str, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: Vec::new(),
            reads: None,
            pause: "freeze",
            reload: "{ signal = \"SIGUSR1\" }".to_owned(),
            tier: "acknowledged",
            within: "10s".to_owned(),
            probe: None,
            restart: "always",
            user: None,
            check: None,
            process: String::new(),
            foreign: None,
        }
    }

    /// The same, found by its pid file: started by [`Lab::start_foreign`](crate::Lab::start_foreign), never by Lockstep.
    #[must_use]
    pub fn foreign(self) -> Self {
        self.foreign_executing("{bin}/lab-service")
    }

    /// The same where the process executes this file.
    #[must_use]
    pub fn foreign_executing(self, executable: &str) -> Self {
        Self {
            foreign: Some(executable.to_owned()),
            ..self
        }
    }

    /// More keys of `process`, as the settings write them.
    #[must_use]
    pub fn process(mut self, keys: &str) -> Self {
        write!(self.process, ", {keys}").expect("a text takes every line");
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.command.push(arg.to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        args.iter().fold(self, |service, arg| service.arg(arg))
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What it reads.
    #[must_use]
    pub fn reads(mut self, patterns: &[&str]) -> Self {
        self.reads = Some(patterns.iter().map(|&pattern| pattern.to_owned()).collect());
        self
    }

    /// How it is paused: `freeze` or `none`.
    #[must_use]
    pub fn pause(self, pause: &'static str) -> Self {
        Self { pause, ..self }
    }

    /// How it is told, as the settings write it.
    #[must_use]
    pub fn reload(self, reload: &str) -> Self {
        Self {
            reload: reload.to_owned(),
            ..self
        }
    }

    /// By which evidence it is verified.
    #[must_use]
    pub fn tier(self, tier: &'static str) -> Self {
        Self { tier, ..self }
    }

    /// How long that may take.
    #[must_use]
    pub fn within(self, within: &str) -> Self {
        Self {
            within: within.to_owned(),
            ..self
        }
    }

    /// Its probe, as the settings write it.
    #[must_use]
    pub fn probe(self, probe: &str) -> Self {
        Self {
            probe: Some(probe.to_owned()),
            ..self
        }
    }

    /// When it is started again by itself.
    #[must_use]
    pub fn restart(self, restart: &'static str) -> Self {
        Self { restart, ..self }
    }

    /// As which user it runs.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        Self {
            user: Some(user.to_owned()),
            ..self
        }
    }

    /// Its dry run.
    #[must_use]
    pub fn check(mut self, command: &[&str]) -> Self {
        self.check = Some(command.iter().map(|&word| word.to_owned()).collect());
        self
    }

    /// The table, with the lab's places still to be filled in.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n[[service]]\nname = {:?}\n", self.name);
        let mut line = |key: &str, value: String| {
            writeln!(text, "{key} = {value}").expect("a text takes every line");
        };
        if let Some(reads) = &self.reads {
            line("reads", format!("{reads:?}"));
        }
        let user = self
            .user
            .as_ref()
            .map(|user| format!(", user = {user:?}"))
            .unwrap_or_default();
        let env: String = self
            .env
            .iter()
            .map(|(name, value)| format!(", {name} = {value:?}"))
            .collect();
        let more = &self.process;
        let stop = if more.contains("stop = ") {
            ""
        } else {
            ", stop = { signal = \"SIGTERM\", within = \"5s\" }"
        };
        let process = match &self.foreign {
            None => format!(
                "command = {:?}, env = {{ LAB_PLACE = \"{{lab}}\"{env} }}, restart = {:?}{stop}",
                self.command, self.restart
            ),
            Some(executable) => {
                let folder = format!("{{lab}}/{}", self.name);
                let files = match self.tier {
                    "voting" => format!(
                        ", status_file = \"{folder}/status.json\", offer_file = \"{folder}/offer.json\""
                    ),
                    "acknowledged" => format!(", status_file = \"{folder}/status.json\""),
                    _ => String::new(),
                };
                format!("pid_file = \"{folder}/pid\", executable = {executable:?}{files}")
            }
        };
        line("process", format!("{{ {process}{user}{more} }}"));
        line("pause", format!("{:?}", self.pause));
        line("reload", self.reload.clone());
        let probe = self
            .probe
            .as_ref()
            .map(|probe| format!(", probe = {probe}"))
            .unwrap_or_default();
        line(
            "verify",
            format!("{{ tier = {:?}, within = {:?}{probe} }}", self.tier, self.within),
        );
        if let Some(check) = &self.check {
            line("check", format!("{check:?}"));
        }
        text
    }
}
