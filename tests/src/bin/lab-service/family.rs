//! Children, grandchildren whose parent is gone, and busy threads.

use std::hint::black_box;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::low_level::pipe;

use crate::Args;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Lives.
    Live,
    /// Makes a child that lives, and ends.
    Leave,
}

/// Brings everybody into being.
pub(crate) fn found(args: &Args) {
    for _ in 0..args.children {
        drop(child(Part::Live).spawn().expect("a child can be made"));
    }
    for _ in 0..args.grandchildren {
        let left = child(Part::Leave).status().expect("a child can be made");
        assert!(left.success(), "the child in between failed");
    }
    for number in 0..args.threads {
        std::thread::spawn(move || {
            loop {
                // Locks of the allocator are held at any moment: what a careless handler would trip over.
                black_box(vec![number; 1000]);
            }
        });
    }
}

fn child(part: Part) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("it knows its own path"));
    let part = part.to_possible_value().expect("no part is hidden");
    command.args(["child", "--as-child", part.get_name()]);
    command
}

/// Runs the service as a child, passes signals on to it, and ends as it ends.
pub(crate) fn stand_in_front() -> ExitCode {
    // Caught before there is anybody to pass them on to.
    let passed_on = [Signal::HUP, Signal::USR1, Signal::TERM].map(|signal| {
        let (bell, ringer) = UnixStream::pair().expect("a socket pair can be made");
        pipe::register(signal.as_raw(), ringer).expect("the signal can be caught");
        (signal, bell)
    });
    let words = std::env::args_os().skip(1).filter(|word| word != "--in-front");
    let program = std::env::current_exe().expect("it knows its own path");
    // Its own name is that of what it plays.
    let mut child = Command::new(program.with_file_name("lab-service"))
        .args(words)
        .spawn()
        .expect("it can be run once more");
    let pid = Pid::from_child(&child);
    for (signal, mut bell) in passed_on {
        std::thread::spawn(move || {
            while matches!(bell.read(&mut [0; 16]), Ok(count) if count > 0) {
                // One that has ended is told by the wait.
                let _ = kill_process(pid, signal);
            }
        });
    }
    let ended = child.wait().expect("it is our child");
    ExitCode::from(ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Plays a part.
pub(crate) fn play(part: Part) -> ExitCode {
    match part {
        Part::Live => loop {
            std::thread::sleep(Duration::from_millis(5));
        },
        Part::Leave => {
            drop(child(Part::Live).spawn().expect("a child can be made"));
            ExitCode::SUCCESS
        }
    }
}
