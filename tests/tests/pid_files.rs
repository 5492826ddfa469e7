//! Services that somebody else runs (`pid_file`, `executable`, `status_file`, `offer_file`): found, paused and told, never started or
//! ended.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use lockstep_tests::wait::{eventually, stays};
use lockstep_tests::{Lab, Service};
use rustix::process::Signal;

/// A lab with a supervised `a`, and a `web` that the test runs.
fn lab(web: Service, args: &[&str]) -> Lab {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(web.foreign())
        .start();
    lab.start_foreign("web", args);
    wait_known(&lab);
    lab
}

fn wait_known(lab: &Lab) {
    let pid = lab.foreign("web").pid;
    lab.wait_status("it is known, and fit", |status| {
        // While a reconciler starts, nobody is known.
        status.service("web").instances.first().is_some_and(|web| {
            web.pid == Some(pid) && web.current && matches!(web.state.as_str(), "applied" | "fit")
        })
    });
}

fn both(value: &str) -> [(&str, &str); 2] {
    [("a", value), ("web", value)]
}

#[test]
fn it_takes_part_like_a_service_of_ones_own() {
    let lab = lab(Service::acknowledged("web"), &["--children", "2"]);
    let (a, web) = (lab.process("a"), lab.foreign("web"));
    let settled = lab.wait_settled(&lab.set(&both("value = 2")));
    assert!(
        settled.pause_us.is_some() && settled.message.is_empty(),
        "{settled:?}"
    );
    assert_eq!((lab.value("a"), lab.value("web")), (2, 2));

    let refused = lab.set(&[("a", "value = 3"), ("web", "value = 3\nrefuse = true")]);
    let back = lab.wait_rolled_back(&refused);
    assert!(back.message.contains("web: it refused the release"), "{back:?}");
    assert_eq!((lab.value("a"), lab.value("web")), (2, 2));
    assert_eq!((lab.process("a"), lab.foreign("web")), (a, web));
    lab.assert_nobody_stopped();
}

#[test]
fn a_pause_of_it_alone_is_a_pause() {
    let lab = Lab::builder()
        .service(Service::acknowledged("web").foreign())
        .start();
    lab.start_foreign("web", &["--children", "2"]);
    wait_known(&lab);
    let settled = lab.wait_settled(&lab.set(&[("web", "value = 2")]));
    assert!(settled.pause_us.is_some_and(|pause| pause > 0), "{settled:?}");
    lab.assert_nobody_stopped();
}

#[test]
fn a_vote_of_it_touches_nobody() {
    let lab = lab(Service::voting("web"), &["--vote"]);
    let rejected = lab.set(&[("a", "value = 2"), ("web", "value = 2\nrefuse = true")]);
    let event = lab.wait_kind("Rejected", &rejected);
    assert!(
        event.message.contains("web: it voted against the candidate"),
        "{event:?}"
    );
    assert_eq!((lab.ask("a").rings, lab.ask("web").rings), (0, 0));
    lab.wait_settled(&lab.set(&both("value = 3")));
    assert_eq!((lab.value("a"), lab.value("web")), (3, 3));
    let left = lab.foreign_folder("web").join("offer.json");
    eventually("the offer is taken back", || !left.exists());
}

#[test]
fn one_that_says_nothing_is_told_once_when_it_is_found_and_at_each_change() {
    let lab = lab(Service::running("web"), &["--style", "plain", "--reload", "hup"]);
    // What it read before it was found, nobody knows.
    eventually("it was told", || lab.ask("web").rings == 1);
    lab.wait_settled(&lab.set(&both("value = 2")));
    assert_eq!((lab.value("web"), lab.ask("web").rings), (2, 2));
    // A reconciler that begins anew knows it again.
    lab.stop_reconciler();
    lab.start_reconciler();
    lab.wait_settled(&lab.set(&both("value = 3")));
    assert_eq!((lab.value("web"), lab.ask("web").rings), (3, 3));
}

#[test]
fn one_that_is_away_is_neither_started_nor_waited_for_and_catches_up_when_it_is_there() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("web").within("60s").foreign())
        .start();
    let began = Instant::now();
    let settled = lab.wait_settled(&lab.set(&both("value = 2")));
    assert!(began.elapsed() < Duration::from_secs(30), "it was waited for");
    assert_eq!(settled.message, "unproven: web");
    let status = lab.status();
    let web = status.instance("web");
    assert_eq!(web.state, "dead");
    let why = web.error.as_deref().unwrap_or_default();
    assert!(why.contains("is not there: it does not run"), "{why}");
    assert!(!lab.services().contains_key("web"));

    lab.start_foreign("web", &[]);
    wait_known(&lab);
    assert_eq!(lab.value("web"), 2);
    let settled = lab.wait_settled(&lab.set(&both("value = 3")));
    assert_eq!((settled.message.as_str(), lab.value("web")), ("", 3));
}

#[test]
fn its_managers_restart_makes_a_new_instance() {
    let lab = lab(Service::acknowledged("web"), &[]);
    let (first, id) = (lab.foreign("web"), lab.status().instance("web").id.clone());
    first.signal(Signal::KILL);
    lab.wait_status("its end is seen", |status| status.instance("web").state == "dead");
    let ended = lab.wait_event("its end is told", |event| event.is_of("Ended", "web"));
    assert!(
        ended.message.contains("its parent was not this guard"),
        "{ended:?}"
    );
    // Nobody starts it but its manager, also by the next change.
    lab.wait_settled(&lab.set(&both("value = 2")));
    assert_eq!(lab.status().instance("web").state, "dead");

    lab.start_foreign("web", &[]);
    wait_known(&lab);
    assert_ne!(lab.status().instance("web").id, id);
    // One that takes over from a living one, as a graceful upgrade does.
    let second = lab.foreign("web");
    lab.start_foreign("web", &[]);
    wait_known(&lab);
    assert!(second.is_alive());
    lab.wait_settled(&lab.set(&both("value = 3")));
    assert_eq!(lab.value("web"), 3);
    second.signal(Signal::KILL);
    assert_eq!(lab.status().instance("web").restarts, 0);
}

#[test]
fn its_death_after_the_switch_sends_all_back_and_its_successor_is_told() {
    let lab = lab(Service::by_hand("web"), &["--style", "hand"]);
    let a = lab.process("a");
    let revision = lab.set(&[("a", "value = 2"), ("web", "value = 2\nbehave = \"exit\"")]);
    let back = lab.wait_rolled_back(&revision);
    assert!(back.message.contains("web: it ended"), "{back:?}");
    assert!(back.message.contains("see its own log"), "{back:?}");
    assert!(back.message.contains("unproven: web"), "{back:?}");
    assert_eq!((lab.value("a"), lab.process("a")), (1, a));
    lab.start_foreign("web", &["--style", "hand"]);
    wait_known(&lab);
    assert_eq!(lab.value("web"), 1);
    lab.wait_settled(&lab.set(&both("value = 3")));
}

#[test]
fn whoever_is_not_expected_is_not_touched_and_the_reason_is_told() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("web").foreign())
        .start();
    // SIGUSR1 would kill it.
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("1000");
    let stranger = lab.run_foreign("web", sleep);
    let aborted = |value: i64, words: &str| {
        lab.wait_status(words, |status| {
            status.alarms.iter().any(|alarm| alarm.contains(words))
        });
        let revision = lab.set(&both(&format!("value = {value}")));
        let event = lab.wait_kind("Aborted", &revision);
        assert!(
            event.message.starts_with("web: ") && event.message.contains(words),
            "{event:?}"
        );
        assert_eq!(lab.value("a"), 1);
        assert!(stranger.is_alive() && !stranger.is_stopped());
        let shown = lab.status().instance("web").error.clone().unwrap_or_default();
        assert!(shown.contains(words), "{shown}");
    };
    aborted(2, "executes /");
    // A file that was left over: its number was given to another process.
    let file = fs::File::options()
        .write(true)
        .open(lab.foreign_folder("web").join("pid"));
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    file.expect("it is ours")
        .set_modified(hour_ago)
        .expect("it is ours");
    aborted(3, "is older than the process");
    lab.write_pid("web", "nobody");
    aborted(4, "holds no process number");
    lab.write_pid("web", &stranger.pid.to_string());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(lab.foreign_folder("web").join("pid"), open).expect("it is ours");
    aborted(5, "can be written by everybody");
    // Who reads nothing of a change is not asked.
    lab.set(&[("web", "value = 1")]);
    lab.wait_settled(&lab.set(&[("a", "value = 6")]));

    lab.start_foreign("web", &[]);
    wait_known(&lab);
    assert!(lab.status().alarms.is_empty());
    lab.wait_settled(&lab.set(&both("value = 7")));
    assert!(stranger.is_alive());
}

#[test]
fn a_process_of_another_user_is_not_touched_unless_that_is_said() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can start processes of another user");
        return;
    }
    let nobody = |lab: &Lab| {
        let mut command = Command::new(lab.root().join("bin/lab-service"));
        command.arg("web");
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(lab.root().join("lab"), open).expect("the lab is ours");
        lab.run_foreign("web", command);
        eventually("it answers", || lab.value("web") == 1);
    };
    let service = || Service::acknowledged("web").foreign();
    let lab = Lab::builder().service(service()).start();
    nobody(&lab);
    lab.wait_status("it is not what is expected", |status| {
        let wrong = |alarm: &String| alarm.contains("runs as user 65534") && alarm.contains("is expected");
        status.alarms.iter().any(wrong)
    });
    let revision = lab.set(&[("web", "value = 2")]);
    lab.wait_kind("Aborted", &revision);
    assert_eq!(lab.value("web"), 1);

    let lab = Lab::builder().service(service().user("nobody")).start();
    nobody(&lab);
    wait_known(&lab);
    lab.wait_settled(&lab.set(&[("web", "value = 2")]));
    assert_eq!(lab.value("web"), 2);
}

#[test]
fn a_status_from_before_its_start_is_not_its_own() {
    let lab = lab(Service::acknowledged("web").within("2s"), &[]);
    let status = lab.foreign_folder("web").join("status.json");
    let text = fs::read(&status).expect("it was written");
    lab.foreign("web").signal(Signal::KILL);
    lab.wait_status("its end is seen", |status| status.instance("web").state == "dead");
    // Its successor states nothing, and the statement of the one before lies there.
    let file = fs::File::create(&status).expect("it is ours");
    fs::write(&status, text).expect("it is ours");
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .expect("it is ours");
    lab.start_foreign("web", &["--style", "plain"]);
    lab.wait_status("it states nothing", |status| {
        status.instance("web").state == "silent"
    });
}

#[test]
fn it_outlives_everything_of_lockstep_and_is_known_again() {
    let lab = lab(Service::acknowledged("web"), &[]);
    let (web, id) = (lab.foreign("web"), lab.status().instance("web").id.clone());
    lab.kill_guard();
    lab.wait_settled(&lab.set(&both("value = 2")));
    lab.kill_reconciler();
    lab.kill_guard();
    lab.start_reconciler();
    lab.wait_settled(&lab.set(&both("value = 3")));
    assert_eq!(lab.status().instance("web").id, id);
    lab.lockstep(&["down"]).done();
    assert!(lab.services().is_empty(), "what Lockstep runs is down");
    assert_eq!(lab.foreign("web"), web);
    lab.start_reconciler();
    wait_known(&lab);
    lab.wait_settled(&lab.set(&both("value = 4")));
    assert_eq!((lab.value("web"), lab.foreign("web")), (4, web));
}

#[test]
fn a_change_that_takes_its_restart_is_not_tried_and_says_what_to_do() {
    let policy = "version = 1\n[[effect]]\nkeys = [\"web.value\"]\nrestart = [\"web\"]\n";
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::acknowledged("web").foreign())
        .file(".lockstep/policy.toml", policy)
        .start();
    lab.start_foreign("web", &[]);
    wait_known(&lab);
    let web = lab.foreign("web");
    let revision = lab.set(&both("value = 2"));
    let aborted = lab.wait_kind("Aborted", &revision);
    assert!(
        aborted
            .message
            .contains("web: this change takes a restart of it, and Lockstep does not start it"),
        "{aborted:?}"
    );
    assert_eq!((lab.value("a"), lab.foreign("web")), (1, web));
}

#[test]
fn a_service_that_is_given_away_is_stopped_and_found_by_its_pid_file_from_then_on() {
    let lab = Lab::builder().service(Service::acknowledged("web")).start();
    let (supervised, before) = (lab.process("web"), lab.now());
    let folder = lab.foreign_folder("web");
    let settings = fs::read_to_string(lab.settings()).expect("it was written");
    let line = settings
        .lines()
        .find(|line| line.starts_with("process = "))
        .expect("it is there");
    let given = format!(
        "process = {{ pid_file = {:?}, executable = {:?}, status_file = {:?} }}",
        folder.join("pid"),
        lab.root().join("bin/lab-service"),
        folder.join("status.json"),
    );
    fs::write(lab.settings(), settings.replace(line, &given)).expect("the lab is ours");
    lab.hang_up();
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
    eventually("what Lockstep ran is stopped", || !supervised.is_alive());
    lab.start_foreign("web", &[]);
    wait_known(&lab);
    lab.wait_settled(&lab.set(&[("web", "value = 2")]));
    assert_eq!(lab.value("web"), 2);

    // And back.
    let before = lab.now();
    lab.foreign("web").signal(Signal::KILL);
    fs::write(lab.settings(), settings).expect("the lab is ours");
    lab.hang_up();
    lab.wait_event_after(before, "it began anew", |event| event.kind == "Started");
    eventually("Lockstep runs it", || lab.services().contains_key("web"));
    lab.wait_settled(&lab.set(&[("web", "value = 3")]));
    assert_eq!(lab.value("web"), 3);
}

#[test]
fn doctor_looks_at_the_pid_file() {
    let lab = Lab::builder()
        .service(Service::acknowledged("web").foreign())
        .start();
    let said = lab.lockstep(&["doctor"]).failed(1);
    assert!(
        said.contains("web, pid file") && said.contains("it does not run"),
        "{said}"
    );
    lab.start_foreign("web", &[]);
    wait_known(&lab);
    let said = lab.lockstep(&["doctor"]).done();
    let pid = lab.foreign("web").pid;
    assert!(said.contains(&format!("process {pid}, ")), "{said}");
    assert!(said.contains("handles SIGUSR1"), "{said}");
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("1000");
    lab.run_foreign("web", sleep);
    let said = lab.lockstep(&["doctor"]).failed(1);
    assert!(
        said.contains("executes /") && said.contains("lab-service is expected"),
        "{said}"
    );
}

#[test]
fn a_pid_file_that_is_taken_away_or_written_anew_changes_nothing_while_the_process_lives() {
    let lab = lab(Service::acknowledged("web"), &[]);
    let id = lab.status().instance("web").id.clone();
    let file = lab.foreign_folder("web").join("pid");
    fs::remove_file(&file).expect("it is ours");
    stays("it is the instance", Duration::from_secs(3), || {
        lab.status().instance("web").id == id
    });
    lab.wait_settled(&lab.set(&both("value = 2")));
    assert_eq!(lab.value("web"), 2);
}

#[test]
fn an_alarm_about_it_ends_also_where_it_is_mended_while_nobody_looks() {
    let lab = lab(Service::acknowledged("web"), &[]);
    let (web, reconciler) = (lab.foreign("web"), lab.reconciler().expect("it runs"));
    lab.write_pid("web", "nobody");
    lab.wait_status("it is an alarm", |status| !status.alarms.is_empty());
    reconciler.signal(Signal::STOP);
    lab.write_pid("web", &web.pid.to_string());
    // The next guard knows the process from the record of this one.
    lab.kill_guard();
    reconciler.signal(Signal::CONT);
    lab.wait_status("all is well", |status| status.alarms.is_empty());
    lab.wait_settled(&lab.set(&both("value = 2")));
    assert_eq!((lab.value("web"), lab.foreign("web")), (2, web));
}

#[test]
fn one_that_says_nothing_and_is_found_while_others_are_told_is_told_afterwards() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a"))
        .service(Service::running("web").foreign())
        .start();
    let next = lab.set(&[("a", "value = 2\ndelay = 1500")]);
    lab.wait_kind("Verifying", &next);
    lab.start_foreign("web", &["--style", "plain", "--reload", "hup"]);
    lab.wait_status("it is known", |status| {
        status.rollout.is_some() && status.instance("web").state != "dead"
    });
    lab.wait_settled(&next);
    eventually("it was told", || lab.ask("web").rings == 1);
}
