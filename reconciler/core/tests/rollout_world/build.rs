//! Building a world, and its lines in a log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lockstep_core::rollout::{
    self, Answer, CheckVerdict, Command, Effect, Event, Evidence, Kind, Life, Limits, Member, MemberId,
    Moment, Part, Progress, Rollout, Side,
};
use lockstep_core::service::{HttpReload, Method, Pause, Reload, Tier};
use lockstep_protocol::{
    Attempt, Digest, InstanceToken, PROTOCOL, Revision, RolloutId, Status, StatusError, StatusState,
    SwitchNumber, Vote,
};

use super::{Fault, Instance, Process, Volume, World, notice_line};

/// The switches of every world.
pub(crate) const FROM: SwitchNumber = SwitchNumber(1);
pub(crate) const TO: SwitchNumber = SwitchNumber(2);
pub(crate) const BACK: SwitchNumber = SwitchNumber(3);

/// What a service is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) tier: Tier,
    pub(crate) pause: Pause,
    pub(crate) reload: Reload,
    pub(crate) effect: Effect,
    pub(crate) part: Part,
    pub(crate) alive: bool,
    pub(crate) check: bool,
    pub(crate) within: Duration,
    /// Whether Lockstep starts it.
    pub(crate) supervised: bool,
}

impl Service {
    /// A service as most are: it acknowledges, is frozen, and reloads by a signal.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tier: Tier::Acknowledged,
            pause: Pause::Freeze,
            reload: Reload::Signal("SIGUSR1".to_owned()),
            effect: Effect::Reload,
            part: Part::Participant,
            alive: true,
            check: false,
            within: Duration::from_secs(5),
            supervised: true,
        }
    }
}

/// A reload over HTTP.
pub(crate) fn over_http() -> Reload {
    Reload::Http(HttpReload {
        method: Method::Post,
        authority: "127.0.0.1:9090".to_owned(),
        path: "/-/reload".to_owned(),
    })
}

pub(crate) fn revision(digit: char) -> Revision {
    Revision::new(&digit.to_string().repeat(40)).unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

/// A world in which a rollout was just started.
pub(crate) fn world(kind: Kind, bake: Duration, services: &[Service], faults: &[(Fault, u32)]) -> World {
    let from = Side {
        switch: FROM,
        revision: revision('a'),
        digest: digest("from"),
    };
    let to = match kind {
        Kind::Change | Kind::First => Side {
            switch: TO,
            revision: revision('b'),
            digest: digest("to"),
        },
        Kind::Healing => Side {
            switch: TO,
            ..from.clone()
        },
    };
    let from = match kind {
        Kind::Change | Kind::Healing => Some(from),
        Kind::First => None,
    };
    let mut members = BTreeMap::new();
    let mut instances = BTreeMap::new();
    let mut begun = 0;
    for service in services {
        let id = super::id(&service.name);
        let alive = service.alive && (kind != Kind::First || !service.supervised);
        let process = alive.then(|| {
            begun += 1;
            let participates = service.part == Part::Participant && kind != Kind::First;
            let token = InstanceToken(format!("{}.{begun}", service.name));
            let mut process = Process::new(token, (kind != Kind::First).then_some(FROM));
            if participates {
                process.saw = Some(FROM);
                process.runs = Some(FROM);
                process.state_applied(&from_side(), service.tier);
            }
            process
        });
        let member = Member {
            part: service.part,
            effect: if kind == Kind::First && service.supervised {
                Effect::Start
            } else {
                service.effect
            },
            pause: service.pause,
            reload: service.reload.clone(),
            tier: service.tier,
            within: service.within,
            stop_within: Duration::from_secs(1),
            supervised: service.supervised,
            check: service.check,
            life: process
                .as_ref()
                .map_or(Life::Dead, |process| Life::Alive(process.token.clone())),
            progress: Progress::Waiting,
            restarted: false,
            statement: process.as_ref().and_then(|process| process.statement.clone()),
            probe: None,
        };
        members.insert(id.clone(), member);
        instances.insert(
            id,
            Instance {
                service: service.clone(),
                process,
                starting: false,
                deaf: false,
                unseen: false,
            },
        );
    }
    let limits = Limits {
        pause: Duration::from_millis(500),
        bake,
    };
    let current = from.as_ref().map(|from| from.switch);
    let rollout = Rollout::new(
        RolloutId("1-2".to_owned()),
        kind,
        (from, to, BACK),
        limits,
        members,
    );
    let (rollout, commands) = rollout::start(rollout);
    World {
        now: Moment(Duration::from_secs(100)),
        first: rollout.clone(),
        rollout: Some(rollout),
        commands: commands.len(),
        todo: commands.into(),
        volume: Volume {
            current,
            staged: BTreeSet::new(),
            flushed: true,
            intent: None,
            outcome: None,
            quarantined: None,
        },
        instances,
        from_volume: VecDeque::new(),
        from_agent: VecDeque::new(),
        agent_up: true,
        held: false,
        expired: false,
        seen_before_switch: 0,
        probing: BTreeSet::new(),
        faults: faults.iter().copied().collect(),
        interleaved: false,
        begun,
        events: 0,
        ticked: false,
        stuck_once: false,
        log: None,
        broken: Vec::new(),
    }
}

fn from_side() -> Side {
    Side {
        switch: FROM,
        revision: revision('a'),
        digest: digest("from"),
    }
}

impl Process {
    pub(crate) fn new(token: InstanceToken, born: Option<SwitchNumber>) -> Self {
        Self {
            token,
            born,
            runs: None,
            loading: None,
            saw: None,
            told: None,
            signal: false,
            request: None,
            paused: false,
            offer: None,
            statement: None,
        }
    }

    /// Writes that it runs this.
    pub(crate) fn state_applied(&mut self, side: &Side, tier: Tier) {
        if tier.states() {
            self.statement = Some(Status {
                protocol: PROTOCOL,
                instance: self.token.clone(),
                switch: Some(side.switch),
                revision: Some(side.revision.clone()),
                digest: Some(side.digest),
                state: StatusState::Applied,
                attempted: Attempt {
                    switch: Some(side.switch),
                    revision: Some(side.revision.clone()),
                },
                error: None,
                vote: self.statement.as_ref().and_then(|status| status.vote.clone()),
                at: "2026-01-01T00:00:00Z".parse().unwrap(),
            });
        }
    }

    /// Writes that it refused this, and what it runs.
    pub(crate) fn state_rejected(&mut self, attempted: &Side, runs: Option<&Side>) {
        self.statement = Some(Status {
            protocol: PROTOCOL,
            instance: self.token.clone(),
            switch: runs.map(|side| side.switch),
            revision: runs.map(|side| side.revision.clone()),
            digest: runs.map(|side| side.digest),
            state: StatusState::Rejected,
            attempted: Attempt {
                switch: Some(attempted.switch),
                revision: Some(attempted.revision.clone()),
            },
            error: Some(refusal()),
            vote: self.statement.as_ref().and_then(|status| status.vote.clone()),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
        });
    }

    /// Writes its answer to an offer.
    pub(crate) fn vote(&mut self, accept: bool) {
        if let (Some(rollout), Some(statement)) = (self.offer.take(), self.statement.as_mut()) {
            statement.vote = Some(Vote {
                rollout,
                accept,
                error: (!accept).then(refusal),
            });
        }
    }
}

fn refusal() -> StatusError {
    StatusError {
        message: "max_positions is 0".to_owned(),
        path: Some("config.toml".to_owned()),
        line: Some(3),
        column: None,
    }
}

fn ids(ids: &[MemberId]) -> String {
    let all: Vec<_> = ids.iter().map(ToString::to_string).collect();
    if all.is_empty() {
        "nobody".to_owned()
    } else {
        all.join(" ")
    }
}

/// A command in one line.
pub(crate) fn command_line(command: &Command) -> String {
    match command {
        Command::Build => "Build".to_owned(),
        Command::StageBack => "StageBack".to_owned(),
        Command::Examine(whom) => format!("Examine {}", ids(whom)),
        Command::Check(service) => format!("Check {service}"),
        Command::Offer(whom) => format!("Offer {}", ids(whom)),
        Command::RecordIntent => "RecordIntent".to_owned(),
        Command::Hold(services) => {
            let names: Vec<_> = services.iter().map(ToString::to_string).collect();
            format!("Hold {}", names.join(" "))
        }
        Command::Release => "Release".to_owned(),
        Command::Pause(whom) => format!("Pause {}", ids(whom)),
        Command::Switch(switch) => format!("Switch {switch}"),
        Command::Unpause(whom) => format!("Unpause all, reload {}", ids(whom)),
        Command::Tell(whom) => format!("Tell {}", ids(whom)),
        Command::Request(switch, whom) => format!("Request switch {switch} {}", ids(whom)),
        Command::Flush => "Flush".to_owned(),
        Command::Restart(whom) => format!("Restart {}", ids(whom)),
        Command::Start(whom) => format!("Start {}", ids(whom)),
        Command::Probe(whom) => format!("Probe {}", ids(whom)),
        Command::Look => "Look".to_owned(),
        Command::Withdraw(_) => "Withdraw".to_owned(),
        Command::Quarantine(failures) => {
            let all: Vec<_> = failures.iter().map(ToString::to_string).collect();
            format!("Quarantine {}", all.join("; "))
        }
        Command::RecordOutcome(outcome) => format!("RecordOutcome {}", outcome.as_str()),
        Command::Report(notice) => format!("Report {}", notice_line(notice)),
    }
}

fn reasons(unsent: &BTreeMap<MemberId, String>) -> String {
    unsent.iter().map(|(id, why)| format!(" {id}: {why}")).collect()
}

/// An event in one line.
pub(crate) fn event_line(event: &Event) -> String {
    match event {
        Event::Built => "Built".to_owned(),
        Event::BuildFailed { reason } => format!("BuildFailed: {reason}"),
        Event::Examined { unfit } => format!("Examined{}", reasons(unfit)),
        Event::Checked { service, verdict } => match verdict {
            CheckVerdict::Passed => format!("Checked {service}: passed"),
            CheckVerdict::Refused(output) => format!("Checked {service}: refused: {output}"),
            CheckVerdict::Unknown(reason) => format!("Checked {service}: unknown: {reason}"),
        },
        Event::IntentRecorded => "IntentRecorded".to_owned(),
        Event::IntentFailed { reason } => format!("IntentFailed: {reason}"),
        Event::Paused => "Paused".to_owned(),
        Event::PauseFailed { reason } => format!("PauseFailed: {reason}"),
        Event::Switched => "Switched".to_owned(),
        Event::SwitchFailed { reason } => format!("SwitchFailed: {reason}"),
        Event::Unpaused { expired, unsent, .. } => {
            let expired = if *expired { ", by its limit" } else { "" };
            format!("Unpaused{expired}{}", reasons(unsent))
        }
        Event::Told { unsent } => format!("Told{}", reasons(unsent)),
        Event::Answered {
            member,
            switch,
            answer,
            ..
        } => {
            let answer = match answer {
                Answer::Accepted => "accepted".to_owned(),
                Answer::Refused(said) => format!("refused: {said}"),
                Answer::Missing(why) => format!("missing: {why}"),
            };
            format!("Answered {member} for switch {switch}: {answer}")
        }
        Event::PauseExpired => "PauseExpired".to_owned(),
        Event::Flushed => "Flushed".to_owned(),
        Event::FlushFailed { reason } => format!("FlushFailed: {reason}"),
        Event::Started { member, instance } => format!("Started {member} as {instance}"),
        Event::StartFailed { member, reason } => format!("StartFailed {member}: {reason}"),
        Event::Ended {
            member,
            instance,
            how,
        } => format!("Ended {member}, {instance}: {how}"),
        Event::Evidence { member, evidence } => match evidence {
            Evidence::Stated(status) => {
                let runs = status
                    .switch
                    .map_or("nothing".to_owned(), |switch| switch.to_string());
                let tried = status
                    .attempted
                    .switch
                    .map_or("nothing".to_owned(), |switch| switch.to_string());
                let vote = match &status.vote {
                    Some(vote) if vote.accept => ", accepts",
                    Some(_) => ", votes against",
                    None => "",
                };
                match status.state {
                    StatusState::Applied => format!("Stated {member}: applied {tried}, runs {runs}{vote}"),
                    StatusState::Rejected => format!("Stated {member}: rejected {tried}, runs {runs}{vote}"),
                }
            }
            Evidence::Probed(result) => match &result.failure {
                None => format!("Probed {member}: passed"),
                Some(why) => format!("Probed {member}: {why}"),
            },
        },
        Event::Withdrawn => "Withdrawn".to_owned(),
        Event::WithdrawFailed { reason } => format!("WithdrawFailed: {reason}"),
        Event::OutcomeRecorded => "OutcomeRecorded".to_owned(),
        Event::OutcomeFailed { reason } => format!("OutcomeFailed: {reason}"),
        Event::AgentLost => "AgentLost".to_owned(),
        Event::AgentBack { alive } => {
            let all: Vec<_> = alive.values().map(ToString::to_string).collect();
            format!("AgentBack: {}", all.join(" "))
        }
        Event::Deposed => "Deposed".to_owned(),
        Event::Supersede => "Supersede".to_owned(),
        Event::Tick => "Tick".to_owned(),
    }
}
