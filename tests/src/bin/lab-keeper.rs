//! Ends what is left of a lab whose test was killed: a test that ends by itself takes its lab along.
//!
//! Its standard input names the lab's folder in one line, and stays open for as long as the test lives. It has no
//! other argument, so that it is not taken for one of the lab's processes.

use std::io::{BufRead as _, Read as _};
use std::path::Path;

fn main() {
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    let named = input.read_line(&mut line).is_ok() && line.ends_with('\n');
    // Whatever ends this, the test is gone.
    let _ = input.read_to_end(&mut Vec::new());
    if named {
        lockstep_tests::clean_up(Path::new(line.trim_end_matches('\n')));
    }
}
