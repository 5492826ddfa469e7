//! `cargo archive`: what is released. Static programs and all that belongs to them, in one file that is byte for byte
//! the same wherever a commit is built with the same toolchain.
//!
//! | module | for |
//! |---|---|
//! | [`machine`] | what is here: the checkout, cargo's folders, the toolchain |
//! | [`compile`] | the programs, and which crates cargo compiled into them |
//! | [`bill`] | the bill of materials (SBOM) |
//! | [`licences`] | the licence texts of all that is linked |
//! | [`contents`] | which file lies where in the archive |
//! | [`pack`] | the archive itself |

mod bill;
mod compile;
mod contents;
mod licences;
mod machine;
mod pack;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::machine::{Machine, TARGET};

/// Build the release archive: static programs, units, docs, completions, licences and a bill of materials
#[derive(Debug, Parser)]
#[command(
    name = "cargo archive",
    after_help = "Examples:\n  cargo archive\n  cargo archive --out /srv/releases --jobs 2"
)]
struct Arguments {
    /// Where the archive and its checksum are put [default: dist in the target folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// How many compilers run at one time [default: cargo's]
    #[arg(long)]
    jobs: Option<u32>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo archive: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let machine = Machine::look()?;
    if let Some(changed) = machine.uncommitted()? {
        eprintln!(
            "cargo archive: {changed} is not committed: this is not what anybody else gets from the commit"
        );
    }
    let built = compile::programs(&machine, arguments.jobs)?;
    let name = format!("lockstep-{}-{TARGET}", built.version()?);
    let files = contents::gather(&machine, &built)?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| machine.target_dir.join("dist"));
    let packed = pack::pack(&out, &name, machine.epoch, &files)?;
    println!("{}", packed.path.display());
    println!(
        "{} files, {:.1} MiB, sha256 {}",
        files.len(),
        packed.bytes as f64 / f64::from(1 << 20),
        packed.sha256
    );
    Ok(())
}
