//! What the hooks cost whoever commits or pushes one changed file, in repositories of growing size.
//!
//! The first one at a place counts all that is published; it is shown apart from those that follow.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_tests::hooked::Hooked;

use crate::Arguments;
use crate::table::{self, Samples, millis, ratio};

const SIZES: [usize; 4] = [10, 1_000, 10_000, 50_000];
const IN_EACH_FOLDER: usize = 100;

pub(crate) fn measure(arguments: &Arguments) {
    let rounds = arguments.samples(40, 10);
    table::head(
        "Hooks, one changed file",
        &[
            "files",
            "pre-receive, median",
            "p99",
            "to the smallest",
            "the first",
            "pre-commit, median",
            "the first",
            "`git commit` alone",
            "samples",
        ],
    );
    let mut smallest = None;
    for files in SIZES {
        let hooked = filled(files);
        let (first_push, push) = pushes(&hooked, files, rounds);
        let (first_commit, commit, plain) = commits(&hooked, files, rounds);
        let median = push.median();
        table::row(&[
            &files.to_string(),
            &millis(median),
            &millis(push.quantile(0.99)),
            &ratio(median, *smallest.get_or_insert(median)),
            &millis(first_push),
            &millis(commit.median()),
            &millis(first_commit),
            &millis(plain.median()),
            &rounds.to_string(),
        ]);
    }
}

fn name(file: usize) -> String {
    format!("config/d{}/f{file}.toml", file / IN_EACH_FOLDER)
}

fn filled(files: usize) -> Hooked {
    let hooked = Hooked::new();
    for file in 0..files {
        let text = format!("number = {file}\nlimit = 0.25\n");
        hooked.origin().write_file(&name(file), text);
    }
    hooked.origin().publish("All of them");
    // As housekeeping leaves repositories.
    for folder in [hooked.origin().bare(), hooked.origin().work()] {
        hooked.git_in(&folder, &["repack", "-adq"]).done();
    }
    hooked
}

fn change(hooked: &Hooked, files: usize, round: usize) -> String {
    let file = name(round * 7919 % files);
    let text = format!("number = {round}\nlimit = 0.5\n");
    hooked.origin().write_file(&file, text);
    file
}

/// Runs a hook as git does, and gives how long it took.
fn run(hooked: &Hooked, folder: &Path, hook: &str, input: &str) -> Duration {
    let began = Instant::now();
    let mut child = Command::new(hooked.program())
        .args(["hook", "run", hook, "--path", "config"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .expect("it was built");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it is our child").success());
    began.elapsed()
}

fn pushes(hooked: &Hooked, files: usize, rounds: usize) -> (Duration, Samples) {
    let (mut first, mut others) = (Duration::ZERO, Samples::default());
    for round in 0..=rounds {
        let old = hooked.head();
        let file = change(hooked, files, round);
        hooked
            .git(&["commit", "-q", "-m", "one", "-o", "--", &file])
            .done();
        let new = hooked.head();
        // There, and not yet on the branch: as a push lies while the hook judges it.
        hooked
            .git(&["push", "-q", "origin", "HEAD:refs/heads/side"])
            .done();
        let line = format!("{old} {new} refs/heads/main\n");
        let took = run(hooked, &hooked.origin().bare(), "pre-receive", &line);
        if round == 0 {
            first = took;
        } else {
            others.add(took);
        }
        hooked.push(&[]).done();
    }
    (first, others)
}

fn commits(hooked: &Hooked, files: usize, rounds: usize) -> (Duration, Samples, Samples) {
    let (mut first, mut others, mut plain) = (Duration::ZERO, Samples::default(), Samples::default());
    let work = hooked.origin().work();
    for round in 0..=rounds {
        let file = change(hooked, files, rounds + round + 1);
        hooked.git(&["add", "--", &file]).done();
        let took = run(hooked, &work, "pre-commit", "");
        if round == 0 {
            first = took;
        } else {
            others.add(took);
        }
        plain.time(|| hooked.git(&["commit", "-q", "-m", "one"]).done());
    }
    (first, others, plain)
}
