//! What a service prints goes to a file, which is moved aside when it has grown.

use std::fs;
use std::path::PathBuf;

use lockstep_tests::wait::eventually;
use lockstep_tests::{Lab, Service};

/// Prints numbers, one a line, without an end: some hundred kilobytes a second.
const COUNTS: &str =
    "i=0; trap : HUP; while :; do seq -f 'number %.0f' $i $((i + 99)); i=$((i + 100)); sleep 0.01; done";

fn chatty(keys: &str) -> Lab {
    let service = Service::program("a", &["/bin/sh", "-c", COUNTS])
        .reload("{ signal = \"SIGHUP\" }")
        .tier("running")
        .process(keys);
    Lab::builder().service(service).start()
}

fn file(lab: &Lab, end: &str) -> PathBuf {
    lab.state().join("log").join(format!("a.log{end}"))
}

/// The numbers of a file. The first and the last line may be parts.
fn numbers(lab: &Lab, end: &str) -> Vec<u64> {
    let text = fs::read(file(lab, end)).expect("it is there");
    assert!(!text.contains(&0), "a hole in {end:?}");
    let text = String::from_utf8(text).expect("digits were written");
    let mut lines: Vec<_> = text.lines().skip(1).collect();
    lines.pop();
    let number = |line: &&str| {
        line.strip_prefix("number ")
            .and_then(|digits| digits.parse().ok())
    };
    lines
        .iter()
        .map(|line| number(line).unwrap_or_else(|| panic!("{line:?} in {end:?}")))
        .collect()
}

#[test]
fn a_file_that_has_grown_is_moved_aside_and_the_service_goes_on() {
    let lab = chatty("output = { max_size = \"16KiB\", keep = 2 }");
    let before = lab.process("a");
    eventually("two are kept", || file(&lab, ".2").exists());
    let first_of = |end: &str| numbers(&lab, end).first().copied();
    let oldest = first_of(".2");
    eventually("the oldest goes", || first_of(".2") != oldest);
    // A change in between disturbs nobody.
    lab.wait_settled(&lab.set(&[("a", "value = 2")]));
    // Nothing is moved any more once the reconciler has ended.
    lab.stop_reconciler();
    assert!(!file(&lab, ".3").exists());
    assert!(!file(&lab, ".new").exists());
    let mut last = 0;
    for end in [".2", ".1", ""] {
        let found = numbers(&lab, end);
        assert!(
            found.is_sorted() && found.first() > Some(&last),
            "{end:?} after {last}: {found:?}"
        );
        last = *found.last().expect("it is not empty");
        let size = fs::metadata(file(&lab, end)).expect("it is there").len();
        assert!(end.is_empty() || size > 16 * 1024, "{end:?} has {size} bytes");
    }
    assert_eq!(lab.process("a"), before);
    let grown = fs::metadata(file(&lab, "")).expect("it is there").len();
    eventually("it goes on printing", || {
        fs::metadata(file(&lab, "")).expect("it is there").len() > grown
    });
}

#[test]
fn what_is_within_the_limit_stays_where_it_is() {
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    for value in 2..5 {
        lab.wait_settled(&lab.set(&[("a", &format!("value = {value}"))]));
    }
    let text = fs::read_to_string(file(&lab, "")).expect("it is there");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!file(&lab, ".1").exists());
}
