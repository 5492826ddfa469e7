//! What an agent and the guard say to each other: JSON documents, each behind a length.
//!
//! A frame is a length in bytes (`u32`, little endian, at most [`MAX_FRAME`]) and one JSON document: the
//! agent sends [`Request`], the guard [`Message`]. Each request is answered once, by its id; requests
//! may be in flight together. [`Event`]s come in between.
//!
//! A connection begins with [`Body::Hello`]. When it closes, everything it froze is thawed, every hold it
//! placed is dropped, and the restart policy applies again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The longest frame either side accepts.
pub const MAX_FRAME: u32 = 16 * 1024 * 1024;

/// One request of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the agent, echoed in the answer.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub body: Body,
}

/// What an agent asks of the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Body {
    /// Opens the conversation. A term lower than the highest ever seen (which is recorded on disk before
    /// the answer) is refused with [`Refusal::Deposed`]; a higher one deposes the connections of all lower
    /// ones: they are closed, which thaws what they froze.
    Hello {
        /// The coordinator's term.
        term: u64,
    },
    /// Sets how services are to be run. Takes effect at a service's next start; starts and stops nobody.
    Define {
        /// The definitions, added to or replacing those of the same name.
        services: Vec<Definition>,
    },
    /// Starts a service that has no living process now, also through a back-off or a hold. Answered with
    /// [`Answer::Started`] once its command was executed; one that lives already answers the same with
    /// the facts of the living one; one that is being stopped is started
    /// when it has ended.
    Start {
        /// The service.
        service: String,
    },
    /// Takes in a process that somebody else started and manages, in place of the one known of that service: from
    /// now on it can be looked at, paused and told like others, and is never started, ended or killed. Refused
    /// unless it lives under this start and is what is expected, which is looked at again before each pause and
    /// each signal. Answered with [`Answer::Started`].
    Attach {
        /// Which process, and what it has to be.
        process: Foreign,
    },
    /// Ends a service's process with its stop signal, then by SIGKILL when its time is up; it is not
    /// started again until [`Body::Start`]. Answered with [`Answer::Done`] when it is gone. One that was
    /// [attached](Body::Attach) is only let go.
    Stop {
        /// The service.
        service: String,
    },
    /// From now on these services are started on order alone, whatever their restart policy says.
    Hold {
        /// The services.
        services: Vec<String>,
    },
    /// Drops this connection's holds: the restart policy applies again.
    Release,
    /// Freezes whole process trees, all or none. Answered with [`Answer::Frozen`] when every thread of all
    /// of them is confirmed stopped, or with a [`Refusal`] and everything unpaused again.
    Freeze {
        /// The instances, by service. Each names the process it means: another one in its place refuses.
        instances: Vec<InstanceRef>,
        /// How long confirming may take.
        within_ms: u64,
        /// How long they may stay frozen, from the first stop: then the guard, or the holder, thaws by
        /// itself. More than [`LONGEST_PAUSE`](crate::LONGEST_PAUSE) is refused.
        limit_ms: u64,
        /// Signals that must not kill when sent: looked at again while frozen.
        signals: BTreeMap<String, String>,
    },
    /// Queues the signals, then thaws everything this connection froze. Answered with [`Answer::Thawed`].
    Thaw {
        /// Signal names such as `SIGUSR1`, by service. Sent to the service's main process only.
        signals: BTreeMap<String, String>,
    },
    /// Sends signals to processes that were not frozen, after looking whether they would kill.
    /// Answered with [`Answer::Signalled`]; each is judged for itself.
    Signal {
        /// The instance and the signal's name.
        signals: Vec<(InstanceRef, String)>,
    },
    /// Asks whether these signals would be survived, without sending them. Answered with [`Answer::Signalled`].
    Examine {
        /// The instance and the signal's name.
        signals: Vec<(InstanceRef, String)>,
    },
    /// All services, as the guard knows them.
    List,
    /// Stops all services (in parallel, each with its own stop signal and time) and ends guard and holder.
    Shutdown,
}

/// One start of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceRef {
    /// The service's name.
    pub service: String,
    /// The token of this start (`LOCKSTEP_INSTANCE`).
    pub instance: String,
}

/// How a service is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name: the key in everything else.
    pub service: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The whole environment, but for `LOCKSTEP_INSTANCE`, which the guard adds at each start.
    pub env: BTreeMap<String, String>,
    /// The user to run as; the guard's own when none.
    pub user: Option<String>,
    /// Where stdout and stderr are appended; never a pipe, which could break.
    pub output: PathBuf,
    /// The folder of the status and offer files: made before a start, owned by the service's user, 0700.
    pub run_dir: PathBuf,
    /// The signal that asks the service to end, such as `SIGTERM`.
    pub stop_signal: String,
    /// How long it may take before it is killed.
    pub stop_within_ms: u64,
    /// What to do when it ends by itself.
    pub restart: RestartPolicy,
}

/// A process that was not started by the guard, and what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// The service's name.
    pub service: String,
    /// The pid.
    pub pid: u32,
    /// Its start time in clock ticks since boot, by which another process of the same pid is told from it.
    pub start_ticks: u64,
    /// The number of the user that all of its user ids have to be.
    pub user: u32,
    /// That user's name, for messages.
    pub user_name: String,
    /// The file that it has to be executing, links resolved.
    pub executable: PathBuf,
}

/// What the guard does when a service's process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Start it again, with back-off.
    Always,
    /// Start it again unless it ended with status 0.
    OnFailure,
    /// Leave it.
    Never,
}

/// What the guard sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// The answer to a request.
    Answer {
        /// The request's id.
        id: u64,
        /// The answer.
        result: Result<Answer, Refusal>,
    },
    /// Something happened by itself.
    Event {
        /// What happened.
        event: Event,
    },
}

/// A request was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Body::Hello`]: who the guard is.
    Hello {
        /// The guard's pid.
        pid: u32,
        /// The holder's pid.
        holder: u32,
        /// The highest term it had seen before this hello.
        highest_term: u64,
        /// All services.
        services: Vec<Supervised>,
    },
    /// Nothing else to say.
    Done,
    /// To [`Body::Start`].
    Started {
        /// The instance that lives now.
        process: Process,
    },
    /// To [`Body::Freeze`]: all confirmed.
    Frozen {
        /// How many processes were stopped.
        processes: u32,
        /// From the first stop sent to the last confirmation, in microseconds.
        took_us: u64,
    },
    /// To [`Body::Thaw`].
    Thawed {
        /// From the first stop sent to the last main process seen running or gone, in microseconds.
        pause_us: u64,
        /// The freeze had already ended before this thaw (see [`Event::FreezeExpired`]): its promise was
        /// broken. The signals were sent nevertheless, each after a look whether it would kill.
        expired: bool,
        /// Signals that could not be sent, with the reason, by service.
        unsent: BTreeMap<String, SignalFault>,
    },
    /// To [`Body::Signal`] and [`Body::Examine`]: the faults; whoever is missing here is well.
    Signalled {
        /// By service.
        faults: BTreeMap<String, SignalFault>,
    },
    /// To [`Body::List`].
    Services {
        /// All services.
        services: Vec<Supervised>,
    },
}

/// Why a signal was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum SignalFault {
    /// The process is gone, or another one is in its place.
    Gone,
    /// The signal is neither caught, ignored nor blocked in all threads: it would kill.
    WouldKill,
    /// The kernel refused.
    Refused {
        /// The error's text.
        error: String,
    },
}

/// A request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// A higher term has spoken.
    Deposed {
        /// The highest term seen.
        highest_term: u64,
    },
    /// The request came before [`Body::Hello`].
    NoHello,
    /// No service of that name was defined.
    UnknownService {
        /// The name.
        service: String,
    },
    /// The instance named is not the one that lives.
    NotThatInstance {
        /// The service.
        service: String,
    },
    /// Not every thread was seen stopped in time; everything was unpaused.
    FreezeTimedOut {
        /// The processes that were not confirmed, as `pid (command)`.
        unconfirmed: Vec<String>,
        /// The services they belong to.
        services: Vec<String>,
    },
    /// A signal that is to be sent would kill; everything was unpaused.
    SignalWouldKill {
        /// The service.
        service: String,
        /// The signal's name.
        signal: String,
    },
    /// The holder did not confirm: without it nobody is stopped.
    NoHolder,
    /// Something is frozen already.
    AlreadyFrozen,
    /// A command could not be executed.
    CannotStart {
        /// The service.
        service: String,
        /// The reason.
        error: String,
    },
    /// The request could not be understood or carried out.
    Failed {
        /// The reason.
        error: String,
    },
}

/// One service, as the guard knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervised {
    /// Its name.
    pub service: String,
    /// Its living process, if any.
    pub process: Option<Process>,
    /// Whether that process is being stopped: a start that is asked for meanwhile follows its end.
    #[serde(default)]
    pub stopping: bool,
    /// How often it was started again after ending by itself, since it was last started on order.
    pub restarts: u32,
    /// How its last process ended, if one did.
    pub last_exit: Option<Exit>,
    /// Whether its next start waits for a back-off (in milliseconds from now).
    pub back_off_ms: Option<u64>,
    /// Whether it is one that was [attached](Body::Attach): none that the guard starts or ends.
    #[serde(default)]
    pub foreign: bool,
}

/// A living process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The token of this start.
    pub instance: String,
    /// Its pid.
    pub pid: u32,
    /// Its start time in clock ticks since boot, which tells it from a later process of the same pid.
    pub start_ticks: u64,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal, such as `SIGKILL`.
    Signal(String),
    /// Its parent was not this guard: it was adopted from an earlier one, or attached. Nobody could ask the kernel.
    Unknown,
}

/// Something that happened by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A service's process ended.
    Ended {
        /// Which.
        instance: InstanceRef,
        /// How.
        exit: Exit,
        /// When it is started again by itself, in milliseconds from now; none: not by itself.
        back_off_ms: Option<u64>,
        /// Whether it left processes of its own behind. They were killed.
        #[serde(default)]
        left_behind: bool,
    },
    /// A service was started by its restart policy.
    Started {
        /// The service.
        service: String,
        /// The new process.
        process: Process,
    },
    /// The limit passed before a thaw was asked for, or the holder died: everything was unpaused. Only the
    /// connection that froze is told.
    FreezeExpired,
}
