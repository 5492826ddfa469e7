//! Prints what one changed file costs in a repository of 50,000 files: listing, fetch, tree, digest.
//!
//! `cargo run --release -p lockstep-source --example cost`

use std::time::{Duration, Instant};

use lockstep_protocol::Revision;
use lockstep_source::testing::{GitDaemon, Origin};
use lockstep_source::{Mirror, SourceSpec};
use tempfile::TempDir;

const FOLDERS: usize = 500;
const FILES_IN_EACH: usize = 100;
const ROUNDS: usize = 15;

fn main() {
    let origin = Origin::new();
    for folder in 0..FOLDERS {
        for file in 0..FILES_IN_EACH {
            origin.write_file(
                &format!("config/d{folder}/f{file}.toml"),
                format!("a = {folder}\nb = {file}\n"),
            );
        }
    }
    let first = origin.publish("Begin");
    // As a server's housekeeping leaves a repository.
    origin.run(&origin.bare(), &["repack", "-adq"]);
    let daemon = GitDaemon::serve(origin.bare().parent().expect("it lies in a folder"));
    println!("{} files in {FOLDERS} folders", FOLDERS * FILES_IN_EACH);
    for (name, url) in [
        ("a local path", origin.url()),
        ("git daemon", daemon.url("origin.git")),
    ] {
        println!("\nfrom {name}");
        measure(&origin, &url, &first);
    }
}

fn measure(origin: &Origin, url: &str, first: &Revision) {
    let state = TempDir::new().expect("a temporary folder can be made");
    let spec = SourceSpec::new(url, "main").publishing("config");
    let mirror = Mirror::open(state.path().join("mirror.git"), spec).expect("the mirror opens");
    print("first fetch", [timed(|| mirror.fetch().expect("it fetches")).1]);
    let (mut tree, whole) = timed(|| mirror.tree(first, None).expect("it can be published"));
    print("whole tree", [whole]);
    let mut base = first.clone();
    let mut times: [Vec<Duration>; 5] = Default::default();
    for round in 0..ROUNDS {
        let file = format!("config/d{}/f7.toml", round * 31 % FOLDERS);
        let head = origin.publish_file(&file, format!("{url} {round} {base}\n"));
        let (_, listing) = timed(|| mirror.list_head().expect("it lists"));
        let (fetched, fetch) = timed(|| mirror.fetch().expect("it fetches"));
        assert_eq!(fetched, head);
        let (next, difference) = timed(|| {
            mirror
                .tree(&head, Some((&base, &tree)))
                .expect("it can be published")
        });
        let (_, digest) = timed(|| next.digest());
        let (changes, compare) = timed(|| next.changes_since(&tree));
        assert!(!changes.is_empty());
        for (times, time) in times
            .iter_mut()
            .zip([listing, fetch, difference, digest, compare])
        {
            times.push(time);
        }
        (tree, base) = (next, head);
    }
    for (name, times) in ["listing", "fetch", "tree by difference", "digest", "compare"]
        .into_iter()
        .zip(times)
    {
        print(name, times);
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let done = work();
    (done, started.elapsed())
}

fn print(name: &str, times: impl IntoIterator<Item = Duration>) {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "  {name:<20} {:>9.2} ms median {:>9.2} ms worst",
        millis(median),
        millis(worst)
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
