//! End to end: one Lockstep with real git, real files, real processes and real signals, in a folder of its own.
//!
//! # A test
//!
//! ```no_run
//! use lockstep_tests::{Lab, Service};
//!
//! // Two services, a repository, a reconciler; the first commit has settled when this returns.
//! let lab = Lab::builder().service(Service::voting("a")).service(Service::acknowledged("b")).start();
//! let before = lab.services(); // pids with their starts
//! let revision = lab.set(&[("a", "value = 2")]); // edit, commit, push
//! lab.wait_settled(&revision); // follows the events; never sleeps
//! assert_eq!(lab.value("a"), 2); // asks the process itself
//! lab.assert_same_processes(&before);
//! lab.assert_nobody_stopped();
//! // On drop all processes end and the folder goes. If the test failed: commands, settings, processes, status,
//! // events and all logs are printed.
//! ```
//!
//! # Parts
//!
//! | module | what it is for |
//! |---|---|
//! | `lab`, `repository` | [`Lab`]: the verbs, by whom they are about: the reconciler, what happened, services, the repository |
//! | `builder` | [`Builder`]: what a lab is to be |
//! | `foreign` | processes that a test starts in the place of a service's own manager |
//! | `service` | [`Service`]: a `[[service]]` of the settings, by default run by `lab-service` |
//! | `bin/lab-service` | the test service: all tiers, and every way to misbehave, chosen by arguments or by its config |
//! | `trading` | [`Trading`]: the real stack (broker, scanner, orchestrator) and the repository's template |
//! | `sessions` | [`Sessions`]: the other end of a TCP connection that must not drop |
//! | [`events`], [`view`] | the stable shapes of `events --json` and `status --json` |
//! | [`processes`] | who belongs to a lab, who is stopped |
//! | [`points`] | stopping the reconciler at a chosen point of a rollout |
//! | [`threads`] | holding one thread of a process still, while its others go on |
//! | [`tables`] | the tables of one service in the settings |
//! | [`stillness`] | how long anybody stands still, watched all the time |
//! | [`crashes`] | two services through commits during which somebody is killed |
//! | [`failing`] | a change that has to be taken back |
//! | [`followed`] | a lab whose repository is behind a server |
//! | [`wait`] | the one place that sleeps |
//! | `mounted` | a volume that is a file system of its own |
//! | [`hooked`] | a repository with hooks, without a reconciler |
//! | `keeper`, `bin/lab-keeper` | the end of a lab, also when its test was killed |
//! | [`programs`] | what is tested, built once |
//!
//! # What it never does
//!
//! It never waits for time to pass where an event tells, never touches a process that is not its lab's, never uses
//! an address that is not the loopback's. The programs are run by what is stable of them: command line, exit codes,
//! JSON, files of the volume; nothing of the reconciler's code is linked.
//!
//! # The test service
//!
//! It reads `[NAME]` of `config.toml`: `value` is what it works with; see `bin/lab-service/section.rs` for the keys
//! by which a commit makes it misbehave.

mod builder;
pub mod crashes;
pub mod events;
pub mod examples;
pub mod failing;
pub mod followed;
mod foreign;
pub mod hooked;
mod keeper;
mod lab;
mod mounted;
pub mod points;
pub mod processes;
pub mod programs;
mod ran;
mod report;
mod repository;
mod service;
mod sessions;
pub mod stillness;
pub mod tables;
pub mod threads;
mod trading;
pub mod view;
pub mod wait;

pub use builder::{Builder, Remote};
pub use keeper::clean_up;
pub use lab::{Answer, Lab};
pub use ran::Ran;
pub use report::run_folder;
pub use service::Service;
pub use sessions::Sessions;
pub use trading::{Counts, Trading};
