//! How long a pause takes: 2 services, 200 services, and one service of 200 processes.
//!
//! `cargo run --release -p lockstep-guard --example pause` (build the example `probe` first).
//! Prints percentiles of the whole pause as the guard measures it (first stop sent to last main process seen
//! running) and of the freeze alone, in microseconds.

use lockstep_guard::wire::{Answer, Body, Definition, InstanceRef, Message, Request, RestartPolicy};
use lockstep_guard::{Decoder, connect, encode, spawn};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

const ROUNDS: usize = 300;
/// Services that wait most of the time, as services do.
const BEAT_MS: &str = "50";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let probe = std::env::current_exe()?.with_file_name("probe");
    let state = folder.path().join("state");
    spawn(&state, &probe)?;
    let mut agent = Agent {
        stream: connect(&state)?,
        decoder: Decoder::default(),
        id: 0,
    };
    agent.ask(Body::Hello { term: 1 })?;
    let measured = measure(&mut agent, folder.path(), &probe);
    agent.ask(Body::Shutdown)?;
    measured
}

fn measure(agent: &mut Agent, folder: &Path, probe: &Path) -> Result<(), Box<dyn Error>> {
    for (what, services, shape) in [
        ("2 services of 1 process", 2, &["beat"][..]),
        ("200 services of 1 process", 200, &["beat"]),
        ("1 service of 200 processes", 1, &["pool", "199"]),
    ] {
        let names: Vec<String> = (0..services)
            .map(|number| format!("s{services}-{number}"))
            .collect();
        let mut instances = Vec::new();
        for name in &names {
            let definition = define(folder, probe, name, shape)?;
            agent.ask(Body::Define {
                services: vec![definition],
            })?;
            if let Answer::Started { process } = agent.ask(Body::Start {
                service: name.clone(),
            })? {
                instances.push(InstanceRef {
                    service: name.clone(),
                    instance: process.instance,
                });
            }
        }
        let (mut freezes, mut pauses, mut stopped) = (Vec::new(), Vec::new(), 0);
        while freezes.len() < ROUNDS {
            let freeze = Body::Freeze {
                instances: instances.clone(),
                within_ms: 1000,
                limit_ms: 2000,
                signals: BTreeMap::new(),
            };
            let Answer::Frozen { processes, took_us } = agent.ask(freeze)? else {
                return Err("not frozen".into());
            };
            let Answer::Thawed { pause_us, .. } = agent.ask(Body::Thaw {
                signals: BTreeMap::new(),
            })?
            else {
                return Err("not thawed".into());
            };
            // The children of the pool come up while the first rounds run.
            if processes > stopped {
                (freezes, pauses) = (Vec::new(), Vec::new());
                stopped = processes;
            }
            freezes.push(took_us);
            pauses.push(pause_us);
        }
        println!(
            "{what}: {stopped} processes; pause {}; freeze {}",
            percentiles(&mut pauses),
            percentiles(&mut freezes)
        );
        for service in names {
            agent.ask(Body::Stop { service })?;
        }
    }
    Ok(())
}

fn percentiles(values: &mut [u64]) -> String {
    values.sort_unstable();
    let at = |percent: usize| values[(values.len() - 1) * percent / 100];
    format!("p50 {} us, p99 {} us, max {} us", at(50), at(99), at(100))
}

fn define(folder: &Path, probe: &Path, name: &str, shape: &[&str]) -> Result<Definition, Box<dyn Error>> {
    let own = folder.join(name);
    std::fs::create_dir_all(&own)?;
    let mut command = vec![
        probe.display().to_string(),
        shape[0].to_owned(),
        own.display().to_string(),
    ];
    command.extend(shape[1..].iter().map(|word| (*word).to_owned()));
    Ok(Definition {
        service: name.to_owned(),
        command,
        cwd: folder.to_owned(),
        env: BTreeMap::from([("PROBE_BEAT_MS".to_owned(), BEAT_MS.to_owned())]),
        user: None,
        output: folder.join(format!("{name}.out")),
        run_dir: own.join("run"),
        stop_signal: "SIGTERM".to_owned(),
        stop_within_ms: 5000,
        restart: RestartPolicy::Never,
    })
}

struct Agent {
    stream: UnixStream,
    decoder: Decoder,
    id: u64,
}

impl Agent {
    fn ask(&mut self, body: Body) -> Result<Answer, Box<dyn Error>> {
        self.id += 1;
        self.stream.write_all(&encode(&Request { id: self.id, body })?)?;
        let mut bytes = [0; 65536];
        loop {
            match self.decoder.next_document()? {
                Some(Message::Answer { id, result }) if id == self.id => {
                    return result.map_err(|refusal| format!("{refusal:?}").into());
                }
                Some(Message::Answer { .. } | Message::Event { .. }) => {}
                None => {
                    let length = self.stream.read(&mut bytes)?;
                    self.decoder.push(&bytes[..length]);
                    if length == 0 {
                        return Err("the guard is gone".into());
                    }
                }
            }
        }
    }
}
