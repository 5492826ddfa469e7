//! What a probe means: where it looks, and what it must find there.

use std::time::Duration;

use super::super::{Equals, Place, Probe, ProbeKind, States, values, written};
use super::Resolver;

/// A shorter interval would only burn the processor.
const SHORTEST_EVERY: Duration = Duration::from_millis(10);

impl Resolver {
    pub(super) fn probe(&mut self, key: &str, probe: written::Probe) -> Probe {
        let every = self.duration(key, probe.every);
        if every < SHORTEST_EVERY {
            self.wrong(key, "probe.every: at least 10ms is expected");
        }
        let states = self.states(key, &probe);
        let kind = match (probe.http, probe.tcp, probe.exec) {
            (Some(url), None, None) => self.http(key, &url, states),
            (None, Some(address), None) => {
                let judged = values::address(&address, None);
                let judged = judged.map_err(|what| format!("probe.tcp: {what}"));
                ProbeKind::Tcp(self.fit(key, judged).unwrap_or_default())
            }
            (None, None, Some(command)) => {
                if command.first().is_none_or(String::is_empty) {
                    self.wrong(
                        key,
                        "probe.exec: a program is expected, for example [\"./healthy\", \"{candidate}\"]",
                    );
                }
                ProbeKind::Exec(self.program(&format!("{key}: probe.exec"), command))
            }
            (_, _, _) => {
                self.wrong(
                    key,
                    "probe: exactly one is expected of http = \"http://…\", tcp = \"HOST:PORT\" and exec = [\"PROGRAM\", …]",
                );
                ProbeKind::Tcp(String::new())
            }
        };
        Probe { kind, every }
    }

    /// What the answer must state, if anything.
    fn states(&mut self, key: &str, probe: &written::Probe) -> Option<States> {
        if probe.metric.is_none() && (probe.label.is_some() || !probe.labels.is_empty()) {
            self.wrong(
                key,
                "probe.labels: only a metric has labels, for example metric = \"app_config_info\"",
            );
        }
        let place = match (&probe.json, &probe.metric) {
            (None, None) => None,
            (Some(field), None) => {
                let judged = values::json_pointer(field);
                self.fit(key, judged.map_err(|what| format!("probe.json: {what}")));
                Some(("json", Place::Json(field.clone())))
            }
            (None, Some(name)) => Some(("metric", self.metric(key, name, probe))),
            (Some(_), Some(_)) => {
                self.wrong(key, "probe: one of json and metric is expected, not both");
                return None;
            }
        };
        match (place, probe.equals) {
            (None, None) => None,
            (Some((what, place)), Some(equals)) => {
                if probe.http.is_none() {
                    self.wrong(
                        key,
                        &format!("probe.{what}: only an answer over http can be looked into"),
                    );
                }
                Some(States { place, equals })
            }
            (Some((what, _)), None) => {
                self.wrong(
                    key,
                    &format!(
                        "probe.{what}: what it must equal is expected too: equals = \"revision\" or \"digest\""
                    ),
                );
                None
            }
            (None, Some(_)) => {
                self.wrong(
                    key,
                    "probe.equals: where it stands is expected too, for example json = \"/config/revision\" or \
                     metric = \"app_config_info\"",
                );
                None
            }
        }
    }

    fn metric(&mut self, key: &str, name: &str, probe: &written::Probe) -> Place {
        let label = match (&probe.label, probe.equals) {
            (Some(label), _) => label,
            (None, Some(Equals::Digest)) => "digest",
            (None, Some(Equals::Revision) | None) => "revision",
        };
        let judged = values::metric(name).map_err(|what| format!("probe.metric: {what}"));
        self.fit(key, judged);
        for name in probe.labels.keys().map(String::as_str).chain([label]) {
            let judged = values::label(name).map_err(|what| format!("probe.labels: {what}"));
            self.fit(key, judged);
        }
        if probe.labels.contains_key(label) {
            self.wrong(
                key,
                &format!("probe.labels: {label:?} is the one that is looked into: leave it out"),
            );
        }
        Place::Metric {
            name: name.to_owned(),
            label: label.to_owned(),
            labels: probe.labels.clone(),
        }
    }

    fn http(&mut self, key: &str, url: &str, states: Option<States>) -> ProbeKind {
        let judged = values::http(url).map_err(|what| format!("probe.http: {what}"));
        match self.fit(key, judged) {
            Some((authority, path)) => ProbeKind::Http {
                authority,
                path,
                states,
            },
            None => ProbeKind::Tcp(String::new()),
        }
    }

    /// Judges a probe beside the rest of its service. `in_part`: it names what it reads.
    pub(super) fn probe_fits(&mut self, key: &str, probe: Option<&Probe>, in_part: bool) {
        match probe.map(|probe| &probe.kind) {
            // It would not be told of what changes nothing that it reads, and would seem to lag behind.
            Some(ProbeKind::Http { states: Some(_), .. }) if in_part => self.wrong(
                key,
                "probe.equals: a service that reads only a part is not told of every revision: leave `reads` out",
            ),
            Some(ProbeKind::Http { .. } | ProbeKind::Tcp(_) | ProbeKind::Exec(_)) | None => {}
        }
    }
}
