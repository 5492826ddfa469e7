//! The end of a lab: by its own test, or by a keeper that outlives a test which was killed.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::programs::built;
use crate::wait::{PATIENCE, until};
use crate::{processes, report};

/// The keeper of one lab.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts one for the lab in this folder.
    pub(crate) fn of(root: &Path) -> Self {
        let program = built().join("lab-keeper");
        // A build beside this takes a program away for a moment before it puts the new one there.
        let child = until(PATIENCE, || {
            let mut command = Command::new(&program);
            command
                .current_dir("/")
                .env_clear()
                .stdin(Stdio::piped())
                .stdout(Stdio::null());
            // What is typed to end the test is not meant for its keeper.
            command.process_group(0).spawn().ok()
        });
        let child = child.unwrap_or_else(|| panic!("{} cannot be run", program.display()));
        let mut input = child.stdin.as_ref().expect("it is piped");
        writeln!(input, "{}", root.display()).expect("it reads");
        Self(child)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The test has cleaned up by itself, and the keeper finds nothing any more.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Ends all processes of the lab in this folder, and removes it. False when somebody could not be ended.
#[must_use = "somebody may be left"]
pub(crate) fn end(root: &Path) -> bool {
    // The guard starts nobody once it is dead, so this comes to an end; whoever was just being started is found by
    // the next look.
    let gone = until(PATIENCE, || {
        let mut left = processes::of(root);
        left.sort_by_key(|process| process.role.clone());
        for process in &left {
            process.signal(Signal::KILL);
        }
        left.is_empty().then_some(())
    });
    let _ = fs::remove_dir_all(report::run_folder(&root.join("state")));
    gone.is_some()
}

/// What the keeper does when its test was killed.
pub fn clean_up(root: &Path) {
    let _ = end(root);
    // One that is gone is what is wanted; of what cannot be removed nobody is left to hear.
    let _ = fs::remove_dir_all(root);
}
