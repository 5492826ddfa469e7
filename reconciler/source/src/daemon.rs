//! The source behind `git://`: git's own protocol, without any authentication, by libgit2's transport.

use std::cell::Cell;
use std::time::Instant;

use git2::{AutotagOption, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, Remote, RemoteCallbacks};
use git2::{RemoteConnection, RemoteHead};

use crate::fetch::Listing;
use crate::{Mirror, SourceError, libgit};

/// Lists the refs: one connection, one answer.
pub(crate) fn list(mirror: &Mirror) -> Result<Listing, SourceError> {
    let started = Instant::now();
    let failed = |e: git2::Error| failure(mirror, "listing its branches", started, &e);
    let mut remote = remote(mirror)?;
    let connection = remote
        .connect_auth(Direction::Fetch, None, None)
        .map_err(failed)?;
    read_listing(&connection, mirror).map_err(failed)
}

/// Lists, and downloads over the same connection if the head is new.
pub(crate) fn fetch(mirror: &Mirror) -> Result<Oid, SourceError> {
    let started = Instant::now();
    let failed = |e: git2::Error| failure(mirror, "listing its branches", started, &e);
    let mut remote = remote(mirror)?;
    let mut connection = remote
        .connect_auth(Direction::Fetch, None, None)
        .map_err(failed)?;
    let head = mirror.head_in(read_listing(&connection, mirror).map_err(failed)?)?;
    if mirror.is_here(head)? {
        return Ok(head);
    }
    download(connection.remote(), mirror, head, started)?;
    Ok(head)
}

/// Why a transfer was given up by us.
#[derive(Clone, Copy)]
enum GivenUp {
    TooLarge,
    TimedOut,
}

fn download(
    remote: &mut Remote<'_>,
    mirror: &Mirror,
    head: Oid,
    started: Instant,
) -> Result<(), SourceError> {
    let bounds = mirror.spec.bounds;
    let given_up = Cell::new(None);
    let in_time = || {
        let past = started.elapsed() > bounds.fetch;
        if past {
            given_up.set(Some(GivenUp::TimedOut));
        }
        !past
    };
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(|progress| {
        if progress.received_bytes() as u64 > bounds.fetch_bytes {
            given_up.set(Some(GivenUp::TooLarge));
            return false;
        }
        in_time()
    });
    callbacks.sideband_progress(|_| in_time());
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    // Without a destination: the ref is moved when the commit was found readable.
    let outcome = remote.download(&[mirror.branch_ref()], Some(&mut options));
    drop(options);
    outcome.map_err(|e| match given_up.get() {
        Some(GivenUp::TooLarge) => SourceError::TooLarge {
            url: mirror.url.clone(),
            revision: libgit::revision(head).to_string(),
            limit: bounds.fetch_bytes,
        },
        Some(GivenUp::TimedOut) => timed_out(mirror, "fetching", started),
        None => failure(mirror, "fetching", started, &e),
    })
}

fn remote(mirror: &Mirror) -> Result<Remote<'_>, SourceError> {
    mirror
        .repo
        .remote_anonymous(&mirror.spec.url)
        .map_err(|_| SourceError::InvalidUrl {
            url: mirror.url.clone(),
            why: "git does not understand it",
        })
}

fn read_listing(connection: &RemoteConnection<'_, '_, '_>, mirror: &Mirror) -> Result<Listing, git2::Error> {
    let heads = connection.list()?;
    let wanted = mirror.branch_ref();
    let head = heads
        .iter()
        .find(|head| head.name() == wanted)
        .map(RemoteHead::oid);
    let branch = |head: &RemoteHead<'_>| Some(head.name().strip_prefix("refs/heads/")?.to_owned());
    let mut branches: Vec<_> = heads.iter().filter_map(branch).collect();
    branches.sort_unstable();
    Ok(Listing { head, branches })
}

fn timed_out(mirror: &Mirror, doing: &'static str, started: Instant) -> SourceError {
    SourceError::TimedOut {
        url: mirror.url.clone(),
        doing,
        after: started.elapsed(),
    }
}

/// Types a failure. The protocol has no error codes, only sentences for people, and libgit2 drops the code of
/// a read that timed out: the text is all there is.
fn failure(mirror: &Mirror, doing: &'static str, started: Instant, error: &git2::Error) -> SourceError {
    let text = error.message();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let (url, why) = (mirror.url.clone(), text.to_owned());
    if error.code() == ErrorCode::Timeout || says(&["timed out", "timeout"]) {
        return timed_out(mirror, doing, started);
    }
    if says(&[
        "not exported",
        "no such repository",
        "does not appear to be a git repository",
    ]) {
        return SourceError::NotARepository { url, why };
    }
    match error.class() {
        // What was sent does not fit together with what is here. A mirror that has something suspects itself,
        // since only it can be remade; one that has nothing knows that it was the other side.
        ErrorClass::Indexer | ErrorClass::Zlib | ErrorClass::Object | ErrorClass::Odb => {
            if matches!(mirror.head(), Ok(None)) {
                SourceError::RemoteCorrupt { url, why }
            } else {
                mirror.damaged(error)
            }
        }
        ErrorClass::Os if doing == "fetching" && !says(&["socket", "connect"]) => SourceError::MirrorIo {
            dir: mirror.dir.clone(),
            doing: "writing what was fetched",
            why,
        },
        _ => SourceError::Unreachable { url, why },
    }
}
