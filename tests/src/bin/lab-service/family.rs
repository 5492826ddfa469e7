//! Children, grandchildren whose parent is gone, and busy threads.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::ValueEnum;

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
