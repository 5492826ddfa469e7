//! Services that run as users of their own. Only root can start such: as anybody else these tests end at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

const NOBODY: u32 = 65534;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: only root can start processes of another user");
    }
    root
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("it is there");
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout)
        .expect("it prints text")
        .trim()
        .to_owned()
}

/// A user in more than one group, if the machine has one that is not root.
fn in_groups() -> String {
    let groups = fs::read_to_string("/etc/group").expect("every machine has it");
    let members = groups.lines().filter_map(|line| line.rsplit(':').next());
    let mut users = members
        .flat_map(|members| members.split(','))
        .filter(|user| !user.is_empty());
    let fits = |user: &&str| {
        let id = Command::new("id")
            .args(["-u", user])
            .output()
            .expect("it is there");
        id.status.success() && id.stdout != b"0\n"
    };
    users.find(fits).unwrap_or("nobody").to_owned()
}

/// The numbers behind a name in `/proc/PID/status`.
fn numbers(pid: i32, name: &str) -> BTreeSet<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.expect("it has one")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn started(lab: Lab) -> Lab {
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(lab.root().join("lab"), open).expect("the lab is ours");
    lab.start_reconciler();
    lab.wait_settled(&lab.origin().revision("HEAD"));
    lab
}

#[test]
fn a_service_has_its_users_groups_home_and_folder_and_takes_part_in_everything() {
    if !is_root() {
        return;
    }
    let user = in_groups();
    let check = "id -u > {lab}/checked # {candidate}";
    let lab = Lab::builder()
        .service(
            Service::voting("a")
                .user(&user)
                .args(&["--children", "1"])
                .check(&["/bin/sh", "-c", check]),
        )
        .service(
            Service::probed("b")
                .user(&user)
                .probe("{ exec = [\"/bin/sh\", \"-c\", \"id -u > {lab}/probed\"], every = \"50ms\" }"),
        )
        .unstarted()
        .start();
    let lab = started(lab);
    let (uid, gid) = (output("id", &["-u", &user]), output("id", &["-g", &user]));
    let groups: BTreeSet<_> = output("id", &["-G", &user])
        .split(' ')
        .map(str::to_owned)
        .collect();
    let process = lab.process("a");
    assert_eq!(numbers(process.pid, "Uid:"), BTreeSet::from([uid.clone()]));
    assert_eq!(numbers(process.pid, "Gid:"), BTreeSet::from([gid.clone()]));
    assert_eq!(numbers(process.pid, "Groups:"), groups);
    let environment = fs::read(format!("/proc/{}/environ", process.pid)).expect("it lives");
    let home = output("getent", &["passwd", &user])
        .split(':')
        .nth(5)
        .expect("it has one")
        .to_owned();
    let has_home = |entry: &[u8]| entry == format!("HOME={home}").as_bytes();
    assert!(environment.split(|byte| *byte == 0).any(has_home), "HOME={home}");

    let folder = lab.instance_folder("a");
    let facts = fs::metadata(&folder).expect("it was made");
    assert_eq!(
        (facts.uid().to_string(), facts.mode() & 0o777),
        (uid.clone(), 0o700)
    );
    let status = fs::metadata(folder.join("status.json")).expect("it was written");
    assert_eq!(status.uid().to_string(), uid);
    // It appends to its output by the handle that it was given, and cannot change it otherwise.
    let log = fs::metadata(lab.state().join("log/a.log")).expect("it was made");
    assert_eq!((log.uid(), log.mode() & 0o777), (0, 0o640));

    let before = lab.services();
    let both = |value: &str| [("a", value.to_owned()), ("b", "value = 2".to_owned())];
    let set = |value: &str| {
        let sections = both(value);
        let sections: Vec<_> = sections
            .iter()
            .map(|(name, lines)| (*name, lines.as_str()))
            .collect();
        lab.set(&sections)
    };
    let settled = lab.wait_settled(&set("value = 2"));
    assert!(settled.pause_us.is_some_and(|pause| pause > 0), "{settled:?}");
    assert_eq!((lab.value("a"), lab.value("b")), (2, 2));
    lab.wait_kind("Rejected", &set("value = 3\nrefuse = true"));
    lab.assert_same_processes(&before);
    lab.assert_nobody_stopped();
    let said = |file: &str| fs::read_to_string(lab.root().join("lab").join(file)).expect("it was written");
    assert_eq!(
        said("checked").trim(),
        "0",
        "a check runs as the reconciler's user"
    );
    eventually("it was probed", || said("probed").trim() == uid);
}

#[test]
fn a_service_of_another_user_cannot_touch_the_files_of_one() {
    if !is_root() {
        return;
    }
    let lab = Lab::builder()
        .service(Service::acknowledged("a").user(&in_groups()))
        .service(Service::acknowledged("b"))
        .unstarted()
        .start();
    let lab = started(lab);
    for service in ["a", "b"] {
        let file = lab.instance_folder(service).join("status.json");
        for program in ["cat", "touch", "rm"] {
            let mut command = Command::new(program);
            command.arg(&file).uid(NOBODY - 1).gid(NOBODY - 1);
            let ended = command.output().expect("it is there");
            assert!(!ended.status.success(), "{program} of {service}'s status");
        }
    }
}

#[test]
fn a_user_that_the_machine_does_not_know_is_refused_at_the_start() {
    let lab = Lab::builder()
        .service(Service::acknowledged("a").user("nobody-of-this-name"))
        .unstarted()
        .start();
    let said = lab.run_to_end(&[]).failed(2);
    assert!(
        said.contains("process: user: there is no user nobody-of-this-name"),
        "{said}"
    );
    let said = lab.lockstep(&["doctor"]).failed(2);
    assert!(said.contains("there is no user nobody-of-this-name"), "{said}");
}

#[test]
fn a_lockstep_that_is_not_root_refuses_to_run_services_as_others() {
    if !is_root() {
        return;
    }
    let lab = Lab::builder()
        .service(Service::acknowledged("a").user("root"))
        .service(Service::acknowledged("b").user("nobody"))
        .service(Service::acknowledged("c").user("root").foreign())
        .unstarted()
        .start();
    let said = lab.lockstep_as(NOBODY, &["run"]).failed(2);
    for service in ["\"a\"", "\"c\""] {
        let words = format!(
            "{service}: process: user: only root may become user root: run Lockstep as root or as that user"
        );
        assert!(said.contains(&words), "{words}\n{said}");
    }
    assert!(!said.contains("\"b\": process"), "it is its own user\n{said}");
    assert!(!lab.state().join("guard.sock").exists());
}
