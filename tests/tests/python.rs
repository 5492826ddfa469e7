//! The Python examples take the same roads as a Rust service: the one of thirty lines, which acknowledges, and the
//! longer one, which also votes.

use std::fs;

use lockstep_tests::examples::{Example, Format, all_run, lab, path, publish};
use lockstep_tests::{Service, example_takes_all_roads};

/// The example that acknowledges.
const SMALL: &str = "minimal.py";
/// The example that votes as well.
const WHOLE: &str = "lockstep_service.py";

/// Runs an example unchanged in an interpreter that misbehaves where a document says so.
const MISBEHAVING: &str = "
import os, runpy, sys, time, tomllib
load, replace, rename = tomllib.load, os.replace, os.rename
lost = False
def read(file):
    global lost
    document = load(file)
    time.sleep(document.get('sleep', 0))
    lost = document.get('silent', False)
    if document.get('crash'):
        sys.exit(9)
    return document
tomllib.load = read
os.replace = lambda *names: lost or replace(*names)
os.rename = lambda *names: lost or rename(*names)
runpy.run_path(sys.argv[1], run_name='__main__')
";

fn example(name: &str, tier: &'static str) -> Example {
    let path = path("python").join(name);
    let path = path.to_str().expect("the workspace's path is UTF-8");
    Example {
        service: Service::program("example", &["python3", "-c", MISBEHAVING, path]).tier(tier),
        format: Format::Toml,
    }
}

fn small() -> Example {
    example(SMALL, "acknowledged")
}

fn whole() -> Example {
    example(WHOLE, "acknowledged")
}

example_takes_all_roads!(the_small_one, small);
example_takes_all_roads!(the_whole_one, whole);

#[test]
fn the_whole_one_votes_and_a_vote_against_rejects() {
    let lab = lab(example(WHOLE, "voting"));
    let before = lab.services();
    lab.wait_settled(&publish(&lab, Format::Toml, &[("limit", "7")], 2));
    let refused = publish(&lab, Format::Toml, &[("limit", "0")], 3);
    let rejected = lab.wait_kind("Rejected", &refused);
    assert!(
        rejected
            .message
            .contains("`limit` must be a whole number above 0"),
        "{rejected:?}"
    );
    all_run(&lab, 7, 2);
    assert_eq!(lab.ask("good").rings, 1, "nobody was told");
    lab.assert_same_processes(&before);
}

#[test]
fn the_small_one_has_thirty_lines_and_needs_nothing() {
    let text = fs::read_to_string(path("python").join(SMALL)).expect("it is there");
    assert!(text.lines().count() <= 30, "{}", text.lines().count());
    let imports: Vec<_> = text.lines().filter(|line| line.contains("import ")).collect();
    assert_eq!(imports, ["import datetime, json, os, signal, tomllib"]);
}
