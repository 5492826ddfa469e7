//! Golden scenarios: a readable script a file in `scenarios/`, and below it everything that was said.
//!
//! A file has three parts: what the rollout is like, `--- script`, and `--- log`. The script is one step a
//! line (see [`Stage::step`]); between two steps nothing happens by itself. `UPDATE=1` writes the log anew:
//! read the difference before you commit it. New scenario: a new file, and its name in the list below.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the scenarios are files")]

mod rollout_world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use lockstep_core::rollout::{Effect, Event, Kind, MemberId, Part};
use lockstep_core::service::{Pause, Reload, Tier};

use rollout_world::{Act, Fault, Service, World, command_line, id, over_http, world};

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { play(stringify!($name)); })*
    };
}

scenarios!(
    absent_crash_loops,
    absent_is_started,
    absent_was_starting,
    aborted_by_a_full_journal,
    agent_lost_before_the_pause,
    crash_after_the_intent,
    crash_after_the_quarantine,
    crash_after_the_rename,
    crash_after_the_unpause,
    crash_after_the_way_backs_rename,
    crash_before_the_intent,
    crash_before_the_outcome,
    crash_during_a_restart,
    crash_during_stuck,
    crash_during_the_pause,
    crash_during_verifying,
    crash_twice,
    deposed,
    died_before_the_switch,
    died_while_the_switch_was_made,
    died_on_the_signal,
    first_release,
    first_release_fails,
    first_release_fails_and_crashes,
    flush_failed,
    foreign_comes_back,
    foreign_current,
    foreign_is_away,
    foreign_would_have_to_be_restarted,
    guard_lost_in_verifying,
    healing,
    healing_fails,
    http_answers_late,
    http_crash_before_the_answer,
    http_is_asked_after_the_unpause,
    http_refused,
    http_stuck_recovers,
    late_answer_after_the_restore,
    outcome_cannot_be_written,
    pause_ended_by_its_limit,
    pause_timed_out,
    refused,
    restart_fails,
    restarts_come_last,
    settled,
    silent,
    stuck_recovers,
    stuck_before_the_switch_back,
    stuck_superseded,
    switch_failed,
    veto,
    vote_timed_out,
    wrong_switch,
);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
fn every_scenario_is_played() {
    let files: BTreeSet<_> = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: BTreeSet<_> = NAMES.iter().map(|name| format!("{name}.txt")).collect();
    assert_eq!(
        files,
        known,
        "files in {} and names in this test",
        folder().display()
    );
}

fn play(name: &str) {
    let path = folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, script) = text.split_once("--- script\n").expect("a line `--- script`");
    let (script, expected) = script.split_once("--- log\n").unwrap_or((script, ""));
    let mut stage = Stage::new(head);
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        stage.note(format!("> {line}"));
        stage.step(line);
        let broken = &stage.world.broken;
        assert!(broken.is_empty(), "{name}: `{line}`: {broken:?}\n{}", stage.log());
    }
    let log = stage.log();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{head}--- script\n{script}--- log\n{log}")).unwrap();
    } else {
        assert!(
            log == expected,
            "{name} went otherwise (UPDATE=1 writes it anew):\n{}",
            difference(expected, &log)
        );
    }
}

/// The first line that differs, with what comes before it.
fn difference(expected: &str, log: &str) -> String {
    let (expected, log): (Vec<_>, Vec<_>) = (expected.lines().collect(), log.lines().collect());
    let same = expected
        .iter()
        .zip(&log)
        .take_while(|(one, other)| one == other)
        .count();
    let before = log[same.saturating_sub(5)..same].join("\n");
    let line = |lines: &[&str]| lines.get(same).map_or("(the end)", |line| line).to_owned();
    format!(
        "{before}\n- {}\n+ {}\n\nall of it:\n{}",
        line(&expected),
        line(&log),
        log.join("\n")
    )
}

/// What a service does with what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Refuse,
    Lie,
    Silent,
    Slow,
    Veto,
    Dies,
    /// It answers a request with another status than 2xx.
    Turns,
    /// It answers no request.
    Hangs,
}

struct Stage {
    world: World,
    moods: BTreeMap<MemberId, Mood>,
}

impl Stage {
    fn new(head: &str) -> Self {
        let mut kind = Kind::Change;
        let mut bake = Duration::ZERO;
        let mut services = Vec::new();
        for line in head
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["kind", "change"] => kind = Kind::Change,
                ["kind", "first"] => kind = Kind::First,
                ["kind", "healing"] => kind = Kind::Healing,
                ["bake", seconds] => bake = Duration::from_secs(seconds.parse().unwrap()),
                ["service", name, words @ ..] => services.push(service(name, words)),
                _ => panic!("`{line}` is not known"),
            }
        }
        let mut world = world(kind, bake, &services, &[]);
        world.log = Some(Vec::new());
        Self {
            world,
            moods: BTreeMap::new(),
        }
    }

    fn note(&mut self, line: String) {
        self.world.log.as_mut().unwrap().push(line);
    }

    fn log(&self) -> String {
        let mut log = self.world.log.clone().unwrap();
        if let Some(rollout) = &self.world.rollout {
            let end = rollout.outcome().map_or_else(
                || format!("not over: {}", lockstep_core::status::state_of(rollout)),
                |outcome| outcome.as_str().to_owned(),
            );
            log.push(format!("= {end}"));
        } else {
            log.push("= nobody is there".to_owned());
        }
        for (id, instance) in &self.world.instances {
            let runs = match &instance.process {
                None => "is dead".to_owned(),
                Some(process) => {
                    let runs = process
                        .runs
                        .map_or("nothing".to_owned(), |runs| format!("switch {runs}"));
                    let paused = if process.paused { ", paused" } else { "" };
                    format!("runs {runs} as {}{paused}", process.token)
                }
            };
            log.push(format!("= {id} {runs}"));
        }
        log.join("\n") + "\n"
    }

    /// One line of a script.
    fn step(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            // Everything happens, until time alone is left.
            ["run"] => while self.once() {},
            // The same, but not the first command that begins like this.
            ["until", rest @ ..] => {
                let rest = rest.join(" ");
                while !self.is_next(&rest) {
                    assert!(self.once(), "`{rest}` never comes:\n{}", self.log());
                }
            }
            // The next command is carried out, or fails.
            ["do"] => self.world.act(&Act::Execute),
            ["fail"] => self.force(&Act::ExecuteBadly),
            // Time passes to the next deadline, and what follows happens.
            ["wait"] => {
                self.world.act(&Act::Tick);
                while self.once() {}
            }
            ["tick"] => self.world.act(&Act::Tick),
            // From now on a service does this with what it reads; or what it should.
            ["refuses", name] => self.mood(name, Some(Mood::Refuse)),
            ["lies", name] => self.mood(name, Some(Mood::Lie)),
            ["silent", name] => self.mood(name, Some(Mood::Silent)),
            ["slow", name] => self.mood(name, Some(Mood::Slow)),
            ["vetoes", name] => self.mood(name, Some(Mood::Veto)),
            ["turns-away", name] => self.mood(name, Some(Mood::Turns)),
            ["hangs", name] => self.mood(name, Some(Mood::Hangs)),
            ["crash-loops", name] => self.mood(name, Some(Mood::Dies)),
            ["well", name] => self.mood(name, None),
            ["dies", name] => self.force(&Act::Die(id(name))),
            ["starts", name] => self.world.act(&Act::FinishStart(id(name))),
            ["appears", name] => {
                self.world.act(&Act::StartByPolicy(id(name)));
                self.world.act(&Act::Notice(id(name)));
            }
            ["not-started", name] => self.force(&Act::FailStart(id(name))),
            ["reads", name] => self.world.act(&Act::Read(id(name))),
            ["applies", name] => self.world.act(&Act::Apply(id(name))),
            ["lose-agent"] => self.force(&Act::LoseAgent),
            ["return-agent"] => self.world.act(&Act::ReturnAgent),
            ["crash"] => self.force(&Act::Crash),
            ["foreign-current", number] => {
                let number = number.parse().unwrap();
                self.world.volume.current = Some(lockstep_protocol::SwitchNumber(number));
            }
            ["recover"] => self.world.act(&Act::Recover),
            ["supersede"] => self.world.tell(Event::Supersede),
            ["depose"] => self.world.tell(Event::Deposed),
            ["pause-expires"] => {
                self.world.thaw();
                self.world.expired = true;
                self.world.tell(Event::PauseExpired);
            }
            _ => panic!("`{line}` is no step"),
        }
    }

    fn mood(&mut self, name: &str, mood: Option<Mood>) {
        match mood {
            Some(mood) => self.moods.insert(id(name), mood),
            None => self.moods.remove(&id(name)),
        };
    }

    /// Makes something happen that otherwise happens only when dice say so.
    fn force(&mut self, act: &Act) {
        for fault in [
            Fault::Crash,
            Fault::Disk,
            Fault::Agent,
            Fault::Refuse,
            Fault::Die,
            Fault::Guard,
        ] {
            self.world.faults.insert(fault, 1);
        }
        self.world.act(act);
        self.world.faults.clear();
    }

    fn is_next(&self, text: &str) -> bool {
        self.world
            .todo
            .front()
            .is_some_and(|command| command_line(command).starts_with(text))
    }

    /// The next thing that happens by itself, if anything does.
    fn once(&mut self) -> bool {
        for act in self.world.acts() {
            let mood = |id: &MemberId| self.moods.get(id).copied();
            match &act {
                Act::Tick | Act::Recover | Act::ReturnAgent | Act::StartByPolicy(_) => continue,
                Act::Read(id) if mood(id) == Some(Mood::Silent) => continue,
                Act::Vote(id, _) if mood(id) == Some(Mood::Silent) => continue,
                Act::Probe(id, _) if mood(id) == Some(Mood::Silent) => continue,
                Act::Answer(id, _) if mood(id) == Some(Mood::Hangs) => continue,
                Act::Answer(id, true) if mood(id) == Some(Mood::Turns) => {
                    let act = Act::Answer(id.clone(), false);
                    self.force(&act);
                }
                Act::Vote(id, true) if mood(id) == Some(Mood::Veto) => {
                    let act = Act::Vote(id.clone(), false);
                    self.force(&act);
                }
                Act::Apply(id) => match mood(id) {
                    Some(Mood::Slow) => continue,
                    Some(Mood::Refuse) => self.force(&Act::Refuse(id.clone())),
                    Some(Mood::Lie) => self.force(&Act::Lie(id.clone())),
                    Some(Mood::Dies) => self.force(&Act::Die(id.clone())),
                    Some(Mood::Silent | Mood::Veto | Mood::Turns | Mood::Hangs) | None => {
                        self.world.act(&act);
                    }
                },
                _ => self.world.act(&act),
            }
            return true;
        }
        false
    }
}

fn service(name: &str, words: &[&str]) -> Service {
    let mut service = Service::new(name);
    for word in words {
        match *word {
            "running" => service.tier = Tier::Running,
            "probed" => service.tier = Tier::Probed,
            "voting" => service.tier = Tier::Voting,
            "unpaused" => service.pause = Pause::None,
            "watch" => service.reload = Reload::Watch,
            "http" => service.reload = over_http(),
            "restart" => {
                service.reload = Reload::Restart;
                service.effect = Effect::Restart;
            }
            "restart-effect" => service.effect = Effect::Restart,
            "absent" => service.part = Part::Absent,
            "dead" => service.alive = false,
            "check" => service.check = true,
            "foreign" => service.supervised = false,
            _ => panic!("`{word}` says nothing of a service"),
        }
    }
    service
}
