//! What a Rust service links to take part in Lockstep: load, watch, swap, acknowledge, vote.
//!
//! ```
//! use lockstep_client::{Client, Refusal, Signal, Snapshot, Trigger};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     limit: u32,
//! }
//!
//! fn load(snapshot: &Snapshot) -> Result<Config, Refusal> {
//!     let config: Config = snapshot.toml(snapshot.document())?;
//!     if config.limit == 0 {
//!         return Err(Refusal::new("`limit` must be above 0").in_file(snapshot.document()));
//!     }
//!     Ok(config)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("config.toml");
//! # std::fs::write(&file, "limit = 5\n")?;
//! let config = Client::builder(load)
//!     .trigger(Trigger::Signal(Signal::Usr1)) // caught from here on: first thing in `main`
//!     .vote(true)
//!     .file(&file)? // what is loaded without Lockstep
//!     .from_env()?
//!     .start()?;
//! let now = config.current(); // one value for one piece of work
//! assert_eq!(now.limit, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! - [`Builder::start`] loads the release that `current` points to and writes the first status.
//! - On a [`Trigger`] (or [`Client::reload`]) it resolves `current` once, opens that one directory and gives it to the
//!   loader as a [`Snapshot`]. If the loader and [`Builder::on_change`] agree, the value is swapped and the status says
//!   applied; else the old value stays and the status says rejected, with file, line and column.
//! - After each attempt it looks at `current` again and goes round while that moves: signals sent to a stopped process
//!   merge into one. What was loaded while `current` moved on is dropped.
//! - With [`Builder::vote`] it answers offers by the same loader and [`Builder::on_offer`], beside the live value.
//! - Without Lockstep (`CONFIG_PATH`, or [`Builder::file`]) all of it works on a plain folder, and nothing is reported.
//!
//! # What it never does
//!
//! It never writes below the volume, never decides by a clock, and never replaces the live value by one that was not
//! validated. It brings no async runtime: its two threads block, and end when the [`Client`] is dropped.

mod builder;
mod client;
mod doorbell;
mod engine;
mod place;
mod refusal;
mod snapshot;
mod statement;
mod vote;

pub use builder::{Builder, Signal, StartError, Trigger};
pub use client::Client;
pub use lockstep_protocol::{Digest, Release, Revision, Status, StatusError, StatusState, SwitchNumber};
pub use place::EnvError;
pub use refusal::Refusal;
pub use snapshot::Snapshot;
