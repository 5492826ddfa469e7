//! The benchmarks: what a user waits for, measured on real processes, and beside it what cannot be avoided.
//!
//! `cargo e2e bench` runs all of it in a release build; `--quick` takes few samples, a word takes only the parts whose
//! name contains it. The figures that are kept are in `docs/benchmarks.md`. It prints what is reached, also where that
//! falls short of what is wanted: a benchmark is no test.

mod fetching;
mod footprint;
mod hooks;
mod pausing;
mod road;
mod table;

use clap::Parser;

/// How much is measured.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// Few samples: to see whether it works, not what it costs
    #[arg(long)]
    quick: bool,
    /// Only the parts whose name contains this
    part: Option<String>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// So many samples, or few.
    fn samples(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

/// A part by its name.
type Part = (&'static str, fn(&Arguments));

fn main() {
    let arguments = Arguments::parse();
    let parts: [Part; 5] = [
        ("fetching", fetching::measure),
        ("pausing", pausing::measure),
        ("road", road::measure),
        ("footprint", footprint::measure),
        ("hooks", hooks::measure),
    ];
    table::machine();
    for (name, measure) in parts {
        if arguments
            .part
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
        {
            measure(&arguments);
        }
    }
}
