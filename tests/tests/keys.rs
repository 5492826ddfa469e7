//! Keys of the settings that no other scenario is about: what each changes. The table of all of them, each with its
//! test, is at the end of `docs/settings.md`.

use std::fs;
use std::time::{Duration, SystemTime};

use lockstep_tests::points::Arrival;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

/// A service by a shell, which says in the lab's folder what it was told. Its loop is of short sleeps, since a shell
/// obeys between two commands.
fn shell(name: &str, script: &str, more: &str, stop: &str) -> String {
    format!(
        "[[service]]\nname = {name:?}\n\
         process = {{ command = [\"sh\", \"-c\", {script:?}], {more}stop = {stop} }}\n\
         reload = {{ signal = \"SIGHUP\" }}\nverify = {{ within = \"10s\" }}\n"
    )
}

#[test]
fn a_service_is_asked_to_stop_by_its_signal_and_killed_when_its_time_is_up() {
    let obeys = "trap 'echo INT > obeys.said; exit' INT; trap : HUP; while :; do sleep 0.05; done";
    let refuses = "trap 'echo QUIT > refuses.said' QUIT; trap : HUP; while :; do sleep 0.05; done";
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .settings(&shell(
            "obeys",
            obeys,
            "",
            "{ signal = \"SIGINT\", within = \"1m\" }",
        ))
        .settings(&shell(
            "refuses",
            refuses,
            "",
            "{ signal = \"SIGQUIT\", within = \"300ms\" }",
        ))
        .start();
    // It also ends before the minute of the first is over, or the harness gives the command up.
    lab.lockstep(&["down"]).done();
    let said = |name: &str| fs::read_to_string(lab.root().join(format!("{name}.said")));
    assert_eq!(said("obeys").expect("it was asked"), "INT\n");
    assert_eq!(said("refuses").expect("it was asked"), "QUIT\n");
    assert!(lab.services().is_empty());
}

#[test]
fn a_service_runs_in_its_own_folder_if_it_has_one() {
    let elsewhere = tempfile::tempdir().expect("there is room");
    let script = "pwd > place; trap : HUP; while :; do sleep 0.05; done";
    let cwd = format!("cwd = {:?}, ", elsewhere.path().display().to_string());
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .settings(&shell("b", script, &cwd, "{ signal = \"SIGKILL\" }"))
        .start();
    let place = elsewhere.path().join("place");
    eventually("it says where it is", || {
        fs::read_to_string(&place).is_ok_and(|text| text.trim() == elsewhere.path().to_string_lossy())
    });
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
}

#[test]
fn nobody_is_paused_who_is_not_to_be() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a").pause("none"))
        .start();
    let before = lab.services();
    let settled = lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(settled.pause_us, Some(0));
    assert!(lab.events().iter().all(|event| event.kind != "Pausing"));
    assert_eq!(lab.value("a"), 2);
    lab.assert_same_processes(&before);
}

#[test]
fn a_pause_may_last_as_long_as_the_limit_and_no_longer() {
    // Four times the default, so that which of the two holds can be told on a busy machine.
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .settings("[rollout]\npause_limit = \"2s\"")
        .unstarted()
        .start();
    lab.spawn_with_points(&[]);
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab.stop_in("Unpausing", 0);
    let revision = lab.set(&[("a", "value = 2")]);
    assert!(matches!(lab.wait_stopped(|| false), Arrival::At(_)));
    let reached = lab.root().join("stop-at.reached");
    let paused = fs::metadata(&reached).and_then(|facts| facts.modified());
    let process = lab.process("a");
    eventually("the limit ends the pause", || !process.is_stopped());
    let lasted = SystemTime::now().duration_since(paused.expect("the reconciler wrote it"));
    lab.stop_nowhere();
    lab.wake_reconciler();
    lab.wait_settled(&revision);
    let lasted = lasted.expect("time goes on");
    assert!(lasted > Duration::from_secs(1), "{lasted:?}");
    lab.assert_nobody_stopped();
}

#[test]
fn a_connection_is_asked_for_where_the_tcp_probe_says() {
    let listener = |service: Service, port: &str| {
        service
            .tier("probed")
            .probe(&format!("{{ tcp = \"{{address}}:{port}\", every = \"50ms\" }}"))
    };
    let lab = Lab::builder()
        .service(listener(
            Service::running("a").args(&["--http", "{address}:8100"]),
            "8100",
        ))
        .start();
    let before = lab.services();
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    assert_eq!(lab.value("a"), 2);
    // Somewhere else nobody listens.
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    fs::write(
        lab.settings(),
        settings.replace(":8100\", every", ":8101\", every"),
    )
    .expect("the folder is ours");
    lab.stop_reconciler();
    lab.start_reconciler();
    lab.wait_status("nobody listens there", |status| {
        let error = status.instance("a").error.as_ref();
        error.is_some_and(|error| error.to_string().contains(":8101: Connection refused"))
    });
    lab.assert_same_processes(&before);
}
