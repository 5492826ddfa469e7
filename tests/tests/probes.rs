//! Probes that run a command, or look into an answer.

use lockstep_tests::processes::Role;
use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service, failing};

/// A service that is probed by a shell script, which is given the live release's folder as `$0`.
fn by_command(script: &str) -> Service {
    let probe = format!("{{ exec = [\"sh\", \"-c\", {script:?}, \"{{candidate}}\"], every = \"50ms\" }}");
    Service::running("bad").tier("probed").probe(&probe)
}

#[test]
fn a_command_judges_what_is_live() {
    let lab = failing::with(
        by_command("if grep -q unhealthy \"$0/config.toml\"; then echo not well >&2; exit 3; fi")
            .within(failing::SHORT),
    );
    let before = lab.services();
    lab.wait_settled(&lab.set(&[("bad", "value = 1\ndelay = 1")]));
    failing::goes_back(&lab, "value = 2\nunhealthy = true", "sh: not well");
    lab.assert_same_processes(&before);
}

#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started_and_does_not_keep_the_way_back() {
    let hangs = "if grep -q unhealthy \"$0/config.toml\"; then setsid sleep 600 & sleep 600; fi";
    let lab = failing::with(by_command(hangs).within(failing::SHORT));
    let before = lab.services();
    failing::goes_back(
        &lab,
        "value = 2\nunhealthy = true",
        "its probe did not answer within 2s",
    );
    assert!(lab.events().iter().all(|event| event.kind != "Stuck"));
    lab.assert_same_processes(&before);
    eventually("nobody sleeps any more", || {
        let all = lab.processes();
        !all.iter()
            .any(|process| matches!(&process.role, Role::Other(command) if command.contains("sleep")))
    });
}

#[test]
fn a_command_that_takes_longer_than_its_interval_never_runs_twice_at_once() {
    let script = "exec 9>\"$LAB_PLACE/lock\"; flock -n 9 || touch \"$LAB_PLACE/twice\"; sleep 0.3";
    let lab = failing::with(by_command(script));
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
    let lies = |name: &str| lab.root().join("lab").join(name).exists();
    assert!(lies("lock") && !lies("twice"));
}

#[test]
fn a_command_runs_as_the_services_user_and_speaks_for_nobody() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can start processes of another user");
        return;
    }
    let script = "test \"$(id -u) $(id -g)\" = '65534 65534' && test \"$MARK\" = here && \
                  test -z \"$LOCKSTEP_STATUS_FILE$LOCKSTEP_INSTANCE\" || { id; env; exit 1; }";
    let lab = Lab::builder()
        .service(by_command(script).user("nobody").env("MARK", "here"))
        .unstarted()
        .start();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(lab.root().join("lab"), open).expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab.wait_settled(&lab.set(&[("bad", "value = 2")]));
}

#[test]
fn an_answer_must_state_what_is_live() {
    for equals in ["revision", "digest"] {
        states(
            equals,
            &format!("http = \"http://{{address}}:8100/release\", json = \"/{equals}\""),
            &format!("\"/{equals}\""),
        );
    }
}

#[test]
fn a_metric_must_state_what_is_live() {
    for equals in ["revision", "digest"] {
        states(
            equals,
            "http = \"http://{address}:8100/metrics\", metric = \"lab_config_info\"",
            &format!("the label {equals:?} of lab_config_info"),
        );
    }
}

/// A service says in this place what it works with, and is taken at its word.
#[track_caller]
fn states(equals: &str, place: &str, words: &str) {
    let bad = Service::program("bad", &["{bin}/lab-service", "bad"])
        .args(&["--style", "plain", "--reload", "hup", "--http", "{address}:8100"])
        .reload("{ signal = \"SIGHUP\" }")
        .tier("probed")
        .within(failing::SHORT)
        .probe(&format!("{{ {place}, equals = {equals:?}, every = \"50ms\" }}"));
    let lab = failing::with(bad);
    let before = lab.services();
    let live = lab.status().live.expect("something is live");
    let found = match equals {
        "revision" => live.revision.to_string(),
        _ => live.digest.to_string(),
    };
    // It works with the new values, answers, and says that it is what it was.
    failing::goes_back(
        &lab,
        "value = 2\nlag = true",
        &format!("{words} is {found:?}, and the {equals} "),
    );
    lab.wait_settled(&lab.set(&[("bad", "value = 3")]));
    assert_eq!(lab.value("bad"), 3);
    lab.assert_same_processes(&before);
}
