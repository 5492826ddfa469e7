//! The way to a server: connecting, proving who is who, and carrying git's protocol.
//!
//! libgit2 speaks git's protocol; what carries it is ours, because libgit2's own transports cannot do what has to
//! be promised here: a limit for every step, one attempt a credential, trust that is read anew at each connection,
//! and a reason instead of a sentence (docs/decisions/014).
//!
//! ```text
//! remote ──▶ line::Line ──dial──▶ TCP ──▶ git:// │ TLS, HTTP │ SSH
//!    │           ▲
//!    └─ libgit2 ─┘  carrier: libgit2's smart protocol reads and writes through the line
//! ```
//!
//! What it must never do: wait without a limit, send a credential before the other end proved who it is or to
//! anybody but that, or try a credential twice on one connection.

#![cfg_attr(
    not(all(feature = "https", feature = "ssh")),
    allow(dead_code, reason = "each kind of line uses its own part of what they share")
)]

pub(crate) mod address;
pub(crate) mod carrier;
mod dial;
pub(crate) mod hang_up;
#[cfg(feature = "https")]
mod https;
#[cfg(feature = "ssh")]
mod known_hosts;
pub(crate) mod line;
pub(crate) mod refused;
pub(crate) mod secret;
#[cfg(feature = "ssh")]
mod ssh;
#[cfg(feature = "https")]
mod tls;

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// To list, and perhaps to fetch.
    Fetch,
    /// To push.
    Push,
}

impl Service {
    /// The program at the other end.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Fetch => "git-upload-pack",
            Self::Push => "git-receive-pack",
        }
    }
}
