//! The test service: plays every part that a service can play, also the bad ones.
//!
//! Arguments say what it is (its style, how it is told, who its children are); its table of `config.toml` says what
//! it works with and how it misbehaves, so that a commit can change that. It must never be shipped.
//!
//! | module | what it is for |
//! |---|---|
//! | `section` | what it reads |
//! | `by_client` | takes part by the client library |
//! | `by_hand` | writes its status by hand: honestly, or not |
//! | `plain` | re-reads a file and states nothing |
//! | `doors` | answers the test, the probe; holds a connection |
//! | `family` | children, grandchildren, threads |

mod by_client;
mod by_hand;
mod doors;
mod family;
mod plain;
mod section;
mod told;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::doors::Served;

/// A service for tests.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Its name, and its table in the document
    name: String,
    /// How it takes part
    #[arg(long, value_enum, default_value_t = Style::Client)]
    style: Style,
    /// How it is told
    #[arg(long, value_enum, default_value_t = Reload::Usr1)]
    reload: Reload,
    /// Catch the signal and die of it all the same, as runtimes do that only look as if they handled it
    #[arg(long)]
    fragile: bool,
    /// The table it reads instead of its own
    #[arg(long)]
    section: Option<String>,
    /// Answer offers
    #[arg(long)]
    vote: bool,
    /// Refuse values from this one on
    #[arg(long)]
    refuse_from: Option<i64>,
    /// Serve /health, /release, /metrics and, if it is told so, /reload here
    #[arg(long)]
    http: Option<SocketAddr>,
    /// Hold one connection to this address
    #[arg(long)]
    connect: Option<SocketAddr>,
    /// Fork this many children
    #[arg(long, default_value_t = 0)]
    children: u32,
    /// Fork twice, this many times
    #[arg(long, default_value_t = 0)]
    grandchildren: u32,
    /// Run this many threads that allocate without an end
    #[arg(long, default_value_t = 0)]
    threads: u32,
    /// End after this many milliseconds
    #[arg(long)]
    exit_after: Option<u64>,
    /// Take this many milliseconds to start
    #[arg(long, default_value_t = 0)]
    slow_start: u64,
    /// Stay in front of the service as `uv run` does: it is a child, and signals are passed on to it
    #[arg(long)]
    in_front: bool,
    /// What a child of it does instead of all that
    #[arg(long, hide = true, value_enum)]
    as_child: Option<family::Part>,
}

impl Args {
    fn section(&self) -> &str {
        self.section.as_deref().unwrap_or(&self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Style {
    /// By the client library
    Client,
    /// By a status written by hand
    Hand,
    /// States nothing
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reload {
    Usr1,
    Hup,
    Watch,
    /// By a POST to /reload, which is answered when it is done (styles `hand` and `plain`)
    Http,
    /// Not at all: SIGUSR1 and SIGHUP keep their default, which is to kill
    Never,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(part) = args.as_child {
        return family::play(part);
    }
    if args.in_front {
        return family::stand_in_front();
    }
    // The handler comes first: before it the signal kills.
    let (asked, requests) = mpsc::channel();
    let told = match args.style {
        Style::Client => None,
        Style::Hand | Style::Plain => Some(told::Told::by(args.reload, args.fragile, requests)),
    };
    std::thread::sleep(Duration::from_millis(args.slow_start));
    let served = Arc::new(Served::default());
    family::found(&args);
    if let Some(after) = args.exit_after {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            std::process::exit(7);
        });
    }
    let ready = {
        let (args, served) = (args.clone(), Arc::clone(&served));
        move || doors::open(&args, &served, asked)
    };
    match (args.style, told) {
        (Style::Client, _) => by_client::run(&args, &served, ready),
        (Style::Hand, Some(told)) => by_hand::run(&args, &served, told, ready),
        (Style::Plain, Some(told)) => plain::run(&args, &served, told, ready),
        (Style::Hand | Style::Plain, None) => unreachable!("they are told by their own means"),
    }
}

/// A variable that the guard sets.
fn place(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is set by whoever starts this"))
        .into()
}
