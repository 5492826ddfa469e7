//! From the look at the repository to the switch, for one changed file, in repositories of growing size; beside it
//! what plain git needs to bring the same change into a work tree. And the work in the background afterwards.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lockstep_protocol::Revision;
use lockstep_tests::{Lab, Remote};

use crate::Arguments;
use crate::table::{self, Samples, millis, ratio};

const SIZES: [usize; 4] = [10, 1_000, 10_000, 50_000];
const IN_EACH_FOLDER: usize = 100;
/// The volume's thread is at rest when it used no processor time for this long.
const REST: Duration = Duration::from_millis(60);

pub(crate) fn measure(arguments: &Arguments) {
    let rounds = arguments.samples(40, 5);
    let all = if arguments.quick { &SIZES[..3] } else { &SIZES[..] };
    table::head(
        "Fetch to switch, one changed file",
        &[
            "files",
            "git daemon, median",
            "p99",
            "to the smallest",
            "file://, median",
            "git fetch + checkout",
            "background afterwards",
            "its processor time",
            "samples",
        ],
    );
    let mut smallest = None;
    for files in all {
        let figures = of_size(*files, rounds);
        let daemon = figures.daemon.median();
        let first = *smallest.get_or_insert(daemon);
        table::row(&[
            &files.to_string(),
            &millis(daemon),
            &millis(figures.daemon.quantile(0.99)),
            &ratio(daemon, first),
            &millis(figures.file.median()),
            &millis(figures.plain.median()),
            &millis(figures.background.median()),
            &millis(figures.background_work.median()),
            &rounds.to_string(),
        ]);
    }
}

#[derive(Default)]
struct Figures {
    daemon: Samples,
    file: Samples,
    plain: Samples,
    background: Samples,
    background_work: Samples,
}

fn of_size(files: usize, rounds: usize) -> Figures {
    let mut figures = Figures::default();
    let lab = lab(files, Remote::Daemon);
    let work = plain_clone(&lab);
    for round in 0..rounds {
        let changed = || change(&lab, files, round);
        figures.daemon.add(road(&lab, changed, |background, work| {
            figures.background.add(background);
            figures.background_work.add(work);
        }));
        let git = |words: &[&str]| lab.origin().run(&work, words);
        figures.plain.time(|| {
            git(&["fetch", "-q", "origin", "main"]);
            git(&["checkout", "-q", "-f", "FETCH_HEAD"]);
        });
    }
    drop(lab);
    let lab = self::lab(files, Remote::File);
    for round in 0..rounds {
        figures
            .file
            .add(road(&lab, || change(&lab, files, round), |_, _| {}));
    }
    figures
}

fn name(file: usize) -> String {
    format!("config/d{}/f{file}.toml", file / IN_EACH_FOLDER)
}

fn lab(files: usize, remote: Remote) -> Lab {
    let mut builder = Lab::builder().remote(remote).source("interval = \"1h\"");
    for file in 0..files {
        builder = builder.file(&name(file), format!("number = {file}\nlimit = 0.25\n"));
    }
    let lab = builder.unstarted().start();
    // As a server's housekeeping leaves a repository.
    lab.origin().run(&lab.origin().bare(), &["repack", "-adq"]);
    let first = lab.origin().revision("HEAD");
    lab.start_reconciler();
    // Building tens of thousands of files takes longer than anything else here is allowed to.
    let began = Instant::now();
    while settled(&lab, &first).is_none() {
        assert!(
            began.elapsed() < Duration::from_secs(600),
            "the first release settles"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    rest(&lab);
    lab
}

fn plain_clone(lab: &Lab) -> std::path::PathBuf {
    let url = fs::read_to_string(lab.settings()).expect("it was written");
    let url = url
        .lines()
        .find_map(|line| line.strip_prefix("url = "))
        .expect("the source has one");
    let work = lab.root().join("plain");
    let target = work.to_string_lossy().into_owned();
    lab.origin()
        .run(lab.root(), &["clone", "-q", url.trim_matches('"'), &target]);
    work
}

fn change(lab: &Lab, files: usize, round: usize) -> Revision {
    let file = name(round * 7919 % files);
    lab.publish(&[(&file, &format!("number = {round}\nlimit = 0.5\n"))])
}

/// When a revision settled, and how long it took from the look.
fn settled(lab: &Lab, revision: &Revision) -> Option<(Timestamp, Duration)> {
    let events = lab.events();
    let event = events.iter().find(|event| event.is("Settled", revision))?;
    Some((event.at, Duration::from_micros(event.total_us?)))
}

/// Has something changed, wakes the reconciler and gives the time from its look to the switch, and then what goes on
/// in the background.
fn road(
    lab: &Lab,
    change: impl FnOnce() -> Revision,
    mut afterwards: impl FnMut(Duration, Duration),
) -> Duration {
    let current = lab.volume().join("current");
    let before = fs::read_link(&current).expect("something is live");
    let work_before = volume_thread(lab);
    // A local repository is watched, so the switch may come before anybody asks for it.
    let (switched, revision) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let began = Instant::now();
            while fs::read_link(&current).is_ok_and(|now| now == before) {
                assert!(began.elapsed() < Duration::from_secs(60), "`current` moves");
                std::thread::sleep(Duration::from_micros(100));
            }
            Timestamp::now()
        });
        let revision = change();
        lab.lockstep(&["sync"]).done();
        (looking.join().expect("it was seen"), revision)
    });
    let (at, total) = loop {
        match settled(lab, &revision) {
            Some(settled) => break settled,
            None => std::thread::sleep(Duration::from_micros(500)),
        }
    };
    let looked = at - jiff::SignedDuration::try_from(total).expect("it is short");
    let rested = rest(lab);
    let background = Duration::try_from(rested - at).unwrap_or_default();
    afterwards(background, volume_thread(lab).saturating_sub(work_before));
    Duration::try_from(switched - looked).unwrap_or_default()
}

/// Waits until the volume's thread is at rest, and gives since when.
fn rest(lab: &Lab) -> Timestamp {
    let mut used = volume_thread(lab);
    let (mut since, mut at) = (Instant::now(), Timestamp::now());
    while since.elapsed() < REST {
        std::thread::sleep(Duration::from_millis(1));
        let now = volume_thread(lab);
        if now != used || waits_for_disk(lab) {
            (used, since, at) = (now, Instant::now(), Timestamp::now());
        }
    }
    at
}

fn thread_folder(lab: &Lab) -> Option<std::path::PathBuf> {
    let reconciler = lab.reconciler()?;
    let tasks = fs::read_dir(format!("/proc/{}/task", reconciler.pid)).ok()?;
    tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "volume"))
}

/// The processor time of the volume's thread.
fn volume_thread(lab: &Lab) -> Duration {
    let time = thread_folder(lab).and_then(|folder| processor_time(&folder));
    time.expect("the reconciler lives")
}

fn waits_for_disk(lab: &Lab) -> bool {
    let stat = thread_folder(lab).and_then(|folder| fs::read_to_string(folder.join("stat")).ok());
    stat.is_some_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('D'))
    })
}

/// The processor time of a thread, in nanoseconds by the scheduler's own account.
pub(crate) fn processor_time(task: &Path) -> Option<Duration> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}
