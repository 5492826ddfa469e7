//! The same scenarios for two real services, one in Rust and one in Python, each a process that gets signals.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use lockstep_client::{Client, Refusal, Signal, Snapshot, StatusState, SwitchNumber, Trigger};
use rustix::process::{Pid, Signal as Sent, kill_process};
use serde::Deserialize;

use crate::volume::{Volume, eventually};

/// Set in the process that is the Rust service: this test program, started once more.
const IS_SERVICE: &str = "LOCKSTEP_CLIENT_TEST_SERVICE";

#[derive(Deserialize)]
struct Config {
    limit: u32,
}

fn load(snapshot: &Snapshot) -> Result<Config, Refusal> {
    let config: Config = snapshot.toml("config.toml")?;
    if config.limit == 0 {
        return Err(Refusal::new("`limit` must be a whole number above 0").in_file("config.toml"));
    }
    Ok(config)
}

/// The Rust service. As a test among the others it does nothing.
#[test]
fn service() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::var_os(IS_SERVICE).is_none() {
        return Ok(());
    }
    let _client = Client::builder(load)
        .trigger(Trigger::Signal(Signal::Usr1))
        .trigger(Trigger::Signal(Signal::Hup))
        .vote(true)
        .from_env()?
        .start()?;
    loop {
        std::thread::park();
    }
}

/// A running service; it ends with the test, however that ends.
struct Service(Child);

impl Service {
    fn signal(&self, signal: Sent) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
    }

    fn wait_until_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.0.id());
        eventually("the process to stop", || {
            let text = std::fs::read_to_string(&stat).unwrap();
            let (_, state) = text.rsplit_once(") ").unwrap();
            state.starts_with('T').then_some(())
        });
    }

    fn assert_alive(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it still runs");
    }

    fn end(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Start = fn(&Volume) -> Service;

fn rust(volume: &Volume) -> Service {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["services::service", "--exact", "--quiet"])
        .env(IS_SERVICE, "1");
    spawn(command, volume)
}

fn python(volume: &Volume) -> Service {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/lockstep_service.py");
    let mut command = Command::new("python3");
    command.arg(script);
    spawn(command, volume)
}

fn spawn(mut command: Command, volume: &Volume) -> Service {
    command
        .envs(volume.vars())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Service(command.spawn().expect("the service's program is installed"))
}

/// Makes a test of each scenario for each service.
macro_rules! scenarios {
    ($($name:ident)*) => {
        mod a_rust_service { $( #[test] fn $name() { super::$name(super::rust) } )* }
        mod a_python_service { $( #[test] fn $name() { super::$name(super::python) } )* }
    };
}

scenarios! {
    acknowledges_its_first_release_and_each_signalled_one
    keeps_what_runs_when_it_refuses
    ends_with_a_rejected_status_when_the_first_release_is_invalid
    refuses_half_a_release
    takes_the_newest_release_after_a_stop_in_which_signals_merged
    answers_offers_without_touching_what_runs
    loses_no_switch_in_a_storm_of_signals
}

fn publish(volume: &mut Volume, value: &str) -> SwitchNumber {
    volume.publish(&[("config.toml", &format!("limit = {value}\n"))])
}

fn acknowledges_its_first_release_and_each_signalled_one(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "1");
    let mut service = start(&volume);
    let status = volume.attempt(first);
    assert_eq!(
        (status.state, status.switch, status.instance.0.as_str()),
        (StatusState::Applied, Some(first), "token-1")
    );
    for (value, signal) in [(2, Sent::USR1), (3, Sent::HUP), (4, Sent::USR1)] {
        let built = volume.build(&[("config.toml", &format!("limit = {value}\n"))]);
        let switch = volume.switch_to(&built);
        service.signal(signal);
        let status = volume.attempt(switch);
        assert_eq!(
            (status.state, status.switch, status.error),
            (StatusState::Applied, Some(switch), None)
        );
        assert_eq!(
            (status.digest, status.revision),
            (Some(built.digest), Some(built.revision))
        );
    }
    service.assert_alive();
}

fn keeps_what_runs_when_it_refuses(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "1");
    let mut service = start(&volume);
    volume.attempt(first);
    for (value, line) in [("0", None), ("= nonsense", Some(1))] {
        let switch = publish(&mut volume, value);
        service.signal(Sent::USR1);
        let status = volume.attempt(switch);
        assert_eq!(
            (status.state, status.switch),
            (StatusState::Rejected, Some(first)),
            "{value}"
        );
        let error = status.error.unwrap();
        assert_eq!(
            (error.path.as_deref(), error.line),
            (Some("config.toml"), line),
            "{value}"
        );
    }
    let last = publish(&mut volume, "2");
    service.signal(Sent::USR1);
    assert_eq!(volume.attempt(last).state, StatusState::Applied);
    service.assert_alive();
}

fn ends_with_a_rejected_status_when_the_first_release_is_invalid(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "-1");
    let mut service = start(&volume);
    assert!(!service.end().success());
    let status = volume.status().unwrap();
    assert_eq!(
        (status.state, status.switch, status.attempted.switch),
        (StatusState::Rejected, None, Some(first))
    );
}

fn refuses_half_a_release(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "1");
    let service = start(&volume);
    volume.attempt(first);
    let half = volume.build(&[("config.toml", "limit = 2\n")]);
    std::fs::remove_file(volume.path().join(&half.directory).join(".lockstep/release.json")).unwrap();
    let second = volume.switch_to(&half);
    service.signal(Sent::USR1);
    let status = volume.attempt(second);
    assert_eq!(
        (status.state, status.switch),
        (StatusState::Rejected, Some(first))
    );
    assert_eq!(status.attempted.revision, None);
    assert_eq!(status.error.unwrap().path.unwrap(), ".lockstep/release.json");
}

fn takes_the_newest_release_after_a_stop_in_which_signals_merged(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "1");
    let mut service = start(&volume);
    volume.attempt(first);
    for round in 0..5 {
        service.signal(Sent::STOP);
        service.wait_until_stopped();
        let mut switch = first;
        for value in 1..=5 {
            switch = publish(&mut volume, &(10 * round + value).to_string());
            service.signal(Sent::USR1);
        }
        service.signal(Sent::CONT);
        let status = volume.attempt(switch);
        assert_eq!(
            (status.state, status.switch),
            (StatusState::Applied, Some(switch))
        );
    }
    service.assert_alive();
}

fn answers_offers_without_touching_what_runs(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "1");
    let service = start(&volume);
    volume.attempt(first);
    for (rollout, value, accept) in [("r-1", "2", true), ("r-2", "0", false), ("r-3", "\"x\"", false)] {
        let built = volume.build(&[("config.toml", &format!("limit = {value}\n"))]);
        volume.offer(rollout, &built);
        let status = volume.vote(rollout);
        assert_eq!((status.state, status.switch), (StatusState::Applied, Some(first)));
        let vote = status.vote.unwrap();
        assert_eq!(
            (vote.accept, vote.error.is_none()),
            (accept, accept),
            "{value}: {:?}",
            vote.error
        );
    }
    // An answer outlives the next attempt.
    let second = publish(&mut volume, "3");
    service.signal(Sent::USR1);
    assert_eq!(volume.attempt(second).vote.unwrap().rollout.0, "r-3");
}

fn loses_no_switch_in_a_storm_of_signals(start: Start) {
    let mut volume = Volume::new();
    let first = publish(&mut volume, "1");
    let mut service = start(&volume);
    volume.attempt(first);
    let mut last = first;
    for value in 2..200 {
        last = publish(&mut volume, &value.to_string());
        service.signal(if value % 2 == 0 { Sent::USR1 } else { Sent::HUP });
    }
    assert_eq!(volume.attempt(last).switch, Some(last));
    service.assert_alive();
}
