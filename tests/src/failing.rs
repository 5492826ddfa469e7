//! A change that has to be taken back.

use lockstep_protocol::Revision;

use crate::events::Event;
use crate::{Lab, Service};

/// How long evidence is waited for where it does not come: as short as a busy machine lets it be for the others.
pub const SHORT: &str = "2s";

/// A service that behaves, and one that a commit makes misbehave.
#[must_use]
pub fn with(bad: Service) -> Lab {
    Lab::builder()
        .service(bad)
        .service(Service::acknowledged("good"))
        .start()
}

/// Publishes a change of both, and asserts that it is taken back whole, and why.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn goes_back(lab: &Lab, lines: &str, words: &str) -> Revision {
    let (live, good) = (lab.status().live.expect("something is live"), lab.ask("good"));
    let revision = lab.set(&[("bad", lines), ("good", "value = 2")]);
    let end = lab.wait_rolled_back(&revision);
    let status = lab.status();
    let now = status.live.clone().expect("something is live");
    assert_eq!(
        (now.revision, now.digest),
        (live.revision, live.digest),
        "what was live is live"
    );
    assert!(now.switch > live.switch, "by a new switch");
    assert_eq!(
        status
            .candidate
            .as_ref()
            .map(|candidate| candidate.state.as_str()),
        Some("quarantined")
    );
    let quarantined = status
        .quarantined
        .iter()
        .find(|entry| entry.revision == revision)
        .expect("it is named");
    for text in [&quarantined.reason, &failure_of(lab, &end).message] {
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
    assert_eq!((lab.value("good"), lab.value("bad")), (good.value, 1));
    assert_eq!(lab.process("good").pid, good.pid, "who behaved goes on");
    assert!(
        status.services.iter().all(|service| service.current),
        "{:#?}",
        status.services
    );
    lab.assert_nobody_stopped();
    lab.assert_volume_whole();
    revision
}

/// The event that names why a rollout failed.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn failure_of(lab: &Lab, end: &Event) -> Event {
    lab.wait_event("why it failed", |event| {
        event.kind == "Failed" && event.rollout == end.rollout
    })
}
