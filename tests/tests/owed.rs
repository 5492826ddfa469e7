//! A service that states nothing and was starting when it was told: it gets one more reload once it can hear it, or
//! everybody is told that what it runs is not known.

use std::fs;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

/// Reads at its start, and hears a signal from when `lab/hear` is there: before that the signal would kill it. What
/// it reads it notes in `lab/b.log`.
const DEAF: &str = "load() { sed -n '/^\\[b\\]/,/^\\[c\\]/s/^value = //p' $LOCKSTEP_CONFIG/config.toml >> {lab}/b.log; }; \
     load; while [ ! -e {lab}/hear ]; do sleep 0.05; done; trap load USR1; while :; do sleep 0.05; done";

struct Deaf {
    lab: Lab,
}

impl Deaf {
    fn new() -> Self {
        let service = Service::program("b", &["/bin/sh", "-c", DEAF])
            .reads(&["config.toml#b"])
            .pause("none")
            .tier("running")
            // It is started by a rollout alone, and so on what that rolls out.
            .restart("never");
        let lab = Lab::builder()
            .service(Service::by_hand("a").within("2s"))
            .service(service)
            .service(Service::acknowledged("c"))
            .unstarted()
            .start();
        let deaf = Self { lab };
        deaf.hears();
        deaf.lab.start_reconciler();
        deaf.lab.wait_settled(&deaf.lab.origin().revision("HEAD"));
        assert_eq!(deaf.runs(), Some(1));
        deaf
    }

    fn hears(&self) {
        fs::write(self.lab.root().join("lab/hear"), "").expect("the lab is ours");
    }

    /// Its process ends, and the next one does not hear for now.
    fn starts_deaf(&self) {
        fs::remove_file(self.lab.root().join("lab/hear")).expect("it is there");
        let process = self.lab.process("b");
        process.signal(rustix::process::Signal::KILL);
        eventually("it has ended", || !process.is_alive());
        self.lab.wait_event("its end is known", |event| {
            event.kind == "Ended" && event.service.as_deref() == Some("b")
        });
    }

    /// The value that it read last.
    fn runs(&self) -> Option<i64> {
        let log = fs::read_to_string(self.lab.root().join("lab/b.log")).ok()?;
        log.lines().last()?.parse().ok()
    }

    /// Everybody is told that what it runs is not known; then it hears, and all is well without anybody's doing.
    #[track_caller]
    fn is_owed_until_it_hears(&self, after: u64, value: i64) {
        let lab = &self.lab;
        let said = lab.wait_event_after(after, "it could not be told", |event| {
            event.kind == "Alarm" && event.service.as_deref() == Some("b")
        });
        assert!(
            said.message.contains("may run an earlier release") && said.message.contains("would kill it"),
            "{said:?}"
        );
        let b = |status: &lockstep_tests::view::Status| {
            let service = status.services.iter().find(|service| service.name == "b");
            service.expect("it is in the settings").current
        };
        let alarm = |alarm: &String| alarm.starts_with("b: ") && alarm.contains("may run an earlier release");
        lab.wait_status("b is not known to run what is live", |status| {
            !b(status) && status.alarms.iter().any(alarm)
        });
        // Also by the next reconciler.
        lab.stop_reconciler();
        lab.start_reconciler();
        lab.wait_status("it is remembered", |status| !b(status));
        let process = lab.process("b");
        self.hears();
        eventually("it was told", || self.runs() == Some(value));
        lab.wait_status("b is current again", |status| {
            b(status) && status.alarms.is_empty()
        });
        assert_eq!(lab.process("b").pid, process.pid, "nobody has killed it");
    }
}

#[test]
fn one_that_started_on_the_failed_release_leaves_it_when_it_can_hear() {
    let deaf = Deaf::new();
    let lab = &deaf.lab;
    deaf.starts_deaf();
    let revision = lab.set(&[
        ("a", "value = 3\nbehave = \"silent\""),
        ("b", "value = 3"),
        ("c", "value = 3"),
    ]);
    eventually("it has read what is to fail", || deaf.runs() == Some(3));
    let back = lab.wait_rolled_back(&revision);
    assert!(back.message.contains("unproven: b"), "{back:?}");
    assert_eq!((lab.value("a"), lab.value("c")), (1, 1));
    deaf.is_owed_until_it_hears(back.seq, 1);
}
