//! Git: a bare [`Mirror`] of the config repository, and the trees of its revisions judged fit to be published.
//!
//! The way of one look, each step on the caller's own blocking thread:
//!
//! ```text
//! Watcher, Schedule ──wake──▶ list_head ──new head──▶ fetch ──▶ commit, file (policy), tree ──▶ core
//!                                                                        └─ blobs ──▶ the volume
//! ```
//!
//! | module | for |
//! |---|---|
//! | `spec` | which repository, which branch, which folder, which limits |
//! | `mirror`, `mend`, `heal` | the folder with the bare repository: opening, pinning, remaking, repacking |
//! | `pack` | whether the mirror's packs are as they were written |
//! | `fetch`, `local`, `copy`, `remote` | looking at the source and fetching from it |
//! | `access`, `net` | reaching a server: limits, trust, credentials |
//! | `history`, `set_by` | commits: facts, ancestors, names; which one gave a file what it says |
//! | `tree`, `walk`, `refusal` | what a revision publishes, and why not |
//! | `tally` | how much a revision publishes, at the cost of what changed |
//! | `commit` | a way back, committed and pushed |
//! | `blobs` | contents by id, from any thread |
//! | `wake`, `schedule` | when to look |
//!
//! What it must never do: write to the source otherwise than by an unforced push of a way back, decide whether a revision may go live, follow a link out of a
//! tree, wait for a server without a limit, load an object before its size is known to be allowed, show credentials, or trust a wake-up.

mod access;
mod blobs;
mod commit;
mod copy;
mod error;
mod facts;
mod fetch;
mod heal;
mod history;
mod libgit;
mod local;
mod mend;
mod mirror;
mod net;
mod pack;
mod refusal;
mod remote;
mod schedule;
mod set_by;
mod spec;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
mod tree;
mod wake;
mod walk;

pub use access::{Access, Stamp};
pub use blobs::Blobs;
pub use commit::CommitError;
pub use error::{CODES, Next, SourceError, code_in};
pub use fetch::Head;
pub use history::CommitFacts;
pub use libgit::set_up;
pub use mirror::Mirror;
pub use net::hang_up::HangUp;
pub use net::refused::{HostKey, Refused};
pub use refusal::{Reason, Refusal, TreeRefused};
pub use schedule::Schedule;
pub use set_by::SetBy;
pub use spec::{Bounds, Limits, SourceSpec};
pub use tally::Tally;
pub use wake::Watcher;

#[cfg(test)]
mod tests {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}

    #[test]
    fn handles_go_to_other_threads() {
        is_send::<crate::Mirror>();
        is_send::<crate::Blobs>();
        is_sync::<crate::Blobs>();
        is_send::<crate::SourceError>();
    }
}
