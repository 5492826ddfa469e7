//! What libgit2 keeps once for the whole process, set once, and the small conversions to and from its types.

use std::sync::Once;

use git2::{ConfigLevel, Oid, opts};
use lockstep_core::tree::BlobId;
use lockstep_protocol::Revision;

use crate::net::carrier;

/// Sets libgit2's process-wide options, at the first call only.
///
/// - Configuration of the system and of the user is not read: the settings say everything, and a
///   `url.*.insteadOf` of whoever runs the program must not send it elsewhere.
/// - The owner of a repository is not compared with our own user. That check keeps people from running the
///   *hooks and configured commands* of a repository that somebody else put in their way; we run neither, and a
///   repository on the same machine nearly always belongs to the user of a git server.
/// - Servers are reached by a transport of ours.
pub fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for level in [
            ConfigLevel::System,
            ConfigLevel::Global,
            ConfigLevel::XDG,
            ConfigLevel::ProgramData,
        ] {
            // SAFETY: `Once` lets one thread in, and every use of libgit2 in this crate comes after it.
            said(unsafe { opts::set_search_path(level, "") });
        }
        // SAFETY: as above.
        unsafe {
            said(opts::set_verify_owner_validation(false));
            said(carrier::register());
        }
    });
}

fn said(outcome: Result<(), git2::Error>) {
    if let Err(error) = outcome {
        tracing::warn!(why = error.message(), "an option of libgit2 could not be set");
    }
}

/// The revision that an object id names.
pub(crate) fn revision(oid: Oid) -> Revision {
    Revision::new(&oid.to_string()).expect("libgit2 writes object ids as lowercase hexadecimal")
}

/// The object id that a revision names; none for the ids of SHA-256 repositories, which this build does not read.
pub(crate) fn oid(revision: &Revision) -> Option<Oid> {
    (revision.as_str().len() == 40)
        .then(|| Oid::from_str(revision.as_str()).ok())
        .flatten()
}

/// The blob that an object id names.
pub(crate) fn blob_id(oid: Oid) -> BlobId {
    let mut id = [0; 20];
    id.copy_from_slice(&oid.as_bytes()[..20]);
    BlobId(id)
}

/// The object id of a blob.
pub(crate) fn blob_oid(id: BlobId) -> Oid {
    Oid::from_bytes(&id.0).expect("an object id has 20 bytes")
}
