//! An agent: a connection to the guard.

use super::{PATIENCE, Place};
use lockstep_guard::wire::{
    Answer, Body, Definition, Event, InstanceRef, Message, Process, Refusal, Request, Supervised,
};
use lockstep_guard::{Decoder, connect, encode};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An agent's connection, asking one thing after the other.
pub struct Agent {
    pub stream: UnixStream,
    decoder: Decoder,
    next: u64,
    pub events: VecDeque<Event>,
    answers: BTreeMap<u64, Result<Answer, Refusal>>,
}

impl Agent {
    /// Connects and says nothing.
    pub fn new(state: &Path) -> Self {
        let stream = connect(state).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            decoder: Decoder::default(),
            next: 0,
            events: VecDeque::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Sends a request and returns its id.
    pub fn send(&mut self, body: Body) -> u64 {
        self.next += 1;
        self.stream
            .write_all(&encode(&Request { id: self.next, body }).unwrap())
            .unwrap();
        self.next
    }

    pub fn answer_to(&mut self, id: u64) -> Result<Answer, Refusal> {
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            assert!(self.receive(), "the guard closed the connection");
        }
    }

    pub fn ask(&mut self, body: Body) -> Result<Answer, Refusal> {
        let id = self.send(body);
        self.answer_to(id)
    }

    /// Takes in one more message; false when the guard has closed.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 65536];
        loop {
            match self.decoder.next_document::<Message>().unwrap() {
                Some(Message::Answer { id, result }) => {
                    self.answers.insert(id, result);
                    return true;
                }
                Some(Message::Event { event }) => {
                    self.events.push_back(event);
                    return true;
                }
                None => {}
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.decoder.push(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no word from the guard: {error}"),
            }
        }
    }

    /// Waits until the guard has closed this connection.
    pub fn closed(&mut self) {
        while self.receive() {}
    }

    /// The next event, waited for.
    pub fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            assert!(self.receive(), "the guard closed the connection");
        }
    }

    pub fn define(&mut self, services: Vec<Definition>) {
        assert_eq!(self.ask(Body::Define { services }), Ok(Answer::Done));
    }

    pub fn start(&mut self, service: &str) -> Process {
        match self.ask(Body::Start {
            service: service.to_owned(),
        }) {
            Ok(Answer::Started { process }) => process,
            other => panic!("{service} was not started: {other:?}"),
        }
    }

    /// Defines, starts, and waits until the service is ready.
    pub fn run(&mut self, place: &Place, name: &str, words: &[&str]) -> Process {
        self.define(vec![place.define(name, words)]);
        let process = self.start(name);
        place.ready(name, 1);
        process
    }

    pub fn stop(&mut self, service: &str) {
        assert_eq!(
            self.ask(Body::Stop {
                service: service.to_owned()
            }),
            Ok(Answer::Done)
        );
    }

    pub fn list(&mut self) -> Vec<Supervised> {
        match self.ask(Body::List) {
            Ok(Answer::Services { services }) => services,
            other => panic!("no list: {other:?}"),
        }
    }

    pub fn supervised(&mut self, service: &str) -> Supervised {
        self.list()
            .into_iter()
            .find(|supervised| supervised.service == service)
            .unwrap()
    }

    pub fn freeze(&mut self, instances: &[(&str, &Process)], limit_ms: u64) -> Result<u32, Refusal> {
        self.freeze_for(instances, limit_ms, &[])
    }

    /// Freezes, with the signals judged that are to be sent.
    pub fn freeze_for(
        &mut self,
        instances: &[(&str, &Process)],
        limit_ms: u64,
        signals: &[(&str, &str)],
    ) -> Result<u32, Refusal> {
        let body = Body::Freeze {
            instances: instances
                .iter()
                .map(|(service, process)| instance(service, process))
                .collect(),
            within_ms: 1500,
            limit_ms,
            signals: named(signals),
        };
        match self.ask(body)? {
            Answer::Frozen { processes, .. } => Ok(processes),
            other => panic!("an answer to something else: {other:?}"),
        }
    }

    pub fn thaw(&mut self, signals: &[(&str, &str)]) -> (bool, u64) {
        match self.ask(Body::Thaw {
            signals: named(signals),
        }) {
            Ok(Answer::Thawed {
                pause_us,
                expired,
                unsent,
            }) if unsent.is_empty() => (expired, pause_us),
            other => panic!("not thawed well: {other:?}"),
        }
    }
}

pub fn named(signals: &[(&str, &str)]) -> BTreeMap<String, String> {
    signals
        .iter()
        .map(|(service, signal)| ((*service).to_owned(), (*signal).to_owned()))
        .collect()
}

pub fn instance(service: &str, process: &Process) -> InstanceRef {
    InstanceRef {
        service: service.to_owned(),
        instance: process.instance.clone(),
    }
}
