//! The source behind a server: git's protocol by libgit2, over a line of ours.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use git2::{AutotagOption, Direction, ErrorClass, FetchOptions, Oid, PushOptions, Remote, RemoteCallbacks};
use git2::{RemoteConnection, RemoteHead};

use crate::fetch::Listing;
use crate::net::Service;
use crate::net::carrier::{self, Shared};
use crate::net::line::Line;
use crate::net::refused::Refused;
use crate::{Mirror, SourceError, libgit};

/// The most that is shown of what the other end says.
const LONGEST_SAYING: usize = 300;

/// Lists the refs: one connection, one answer.
pub(crate) fn list(mirror: &Mirror) -> Result<Listing, SourceError> {
    let line = dial(mirror, Service::Fetch, mirror.spec.bounds.listing)?;
    let failed = |e: git2::Error| failure(mirror, &line, &e);
    let mut remote = remote(mirror)?;
    let connection = remote
        .connect_auth(Direction::Fetch, None, None)
        .map_err(failed)?;
    read_listing(&connection, mirror).map_err(failed)
}

/// Lists, and downloads over the same connection if the head is new.
pub(crate) fn fetch(mirror: &Mirror) -> Result<Oid, SourceError> {
    let line = dial(mirror, Service::Fetch, mirror.spec.bounds.fetch)?;
    let failed = |e: git2::Error| failure(mirror, &line, &e);
    let mut remote = remote(mirror)?;
    let mut connection = remote
        .connect_auth(Direction::Fetch, None, None)
        .map_err(failed)?;
    let head = mirror.head_in(read_listing(&connection, mirror).map_err(failed)?)?;
    if mirror.is_here(head)? {
        return Ok(head);
    }
    carrier::locked(&line).begin("fetching", mirror.spec.bounds.fetch_bytes);
    download(connection.remote(), mirror, head, &line)?;
    Ok(head)
}

/// How a push ended.
pub(crate) enum Pushed {
    Done,
    /// The other side said no, with these words.
    Rejected(String),
    /// It broke off when the other side may have had all of it.
    Unknown(String),
}

/// Pushes a ref of the mirror to the branch, without force.
pub(crate) fn push(mirror: &Mirror, ours: &str) -> Result<Pushed, SourceError> {
    match pushed(mirror, ours) {
        Err(SourceError::Server(refused)) => match *refused {
            Refused::Forbidden { why, .. } => Ok(Pushed::Rejected(why)),
            other => Err(other.into()),
        },
        outcome => outcome,
    }
}

fn pushed(mirror: &Mirror, ours: &str) -> Result<Pushed, SourceError> {
    let line = dial(mirror, Service::Push, mirror.spec.bounds.fetch)?;
    let mut remote = remote(mirror)?;
    let begins = || carrier::locked(&line).begin("pushing", 0);
    push_to(&mut remote, &format!("{ours}:{}", mirror.branch_ref()), begins).or_else(|e| {
        let began = carrier::locked(&line).doing() == "pushing";
        match failure(mirror, &line, &e) {
            error @ (SourceError::TimedOut { .. } | SourceError::Unreachable { .. }) if began => {
                Ok(Pushed::Unknown(error.to_string()))
            }
            other => Err(other),
        }
    })
}

/// The push itself, over whatever the remote is connected by.
pub(crate) fn push_to(
    remote: &mut Remote<'_>,
    spec: &str,
    mut begins: impl FnMut(),
) -> Result<Pushed, git2::Error> {
    let mut rejected = None;
    {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.push_update_reference(|_, status| {
            rejected = status.map(str::to_owned);
            Ok(())
        });
        callbacks.push_negotiation(|_| {
            begins();
            Ok(())
        });
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks);
        remote.push(&[spec], Some(&mut options))?;
    }
    Ok(rejected.map_or(Pushed::Done, Pushed::Rejected))
}

/// Why a transfer was given up by us.
#[derive(Clone, Copy)]
enum GivenUp {
    TooLarge,
    TimedOut,
}

fn download(remote: &mut Remote<'_>, mirror: &Mirror, head: Oid, line: &Shared) -> Result<(), SourceError> {
    let bounds = mirror.spec.bounds;
    let began = std::time::Instant::now();
    let given_up = Cell::new(None);
    // The line has its own limits; these are for what libgit2 does with what has come.
    let in_time = || {
        let past = began.elapsed() > bounds.fetch;
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
        let (done, all) = (progress.received_objects(), progress.total_objects());
        mirror
            .counts
            .set(done as u64, all as u64, progress.received_bytes() as u64);
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
    let too_large = || SourceError::TooLarge {
        url: mirror.url.clone(),
        revision: libgit::revision(head).to_string(),
        limit: bounds.fetch_bytes,
    };
    outcome.map_err(|e| match given_up.get() {
        Some(GivenUp::TooLarge) => too_large(),
        Some(GivenUp::TimedOut) => carrier::locked(line).timed_out(),
        None => match failure(mirror, line, &e) {
            SourceError::TooLarge { .. } => too_large(),
            other => other,
        },
    })
}

/// Reaches the server, and lets libgit2's next connection on this thread go over that.
fn dial(mirror: &Mirror, service: Service, whole: Duration) -> Result<Shared, SourceError> {
    let line = Arc::new(Mutex::new(Line::dial(mirror, service, whole)?));
    carrier::offer(&line);
    Ok(line)
}

fn remote(mirror: &Mirror) -> Result<Remote<'_>, SourceError> {
    mirror
        .repo
        .remote_anonymous(carrier::URL)
        .map_err(|e| mirror.broken("naming the server in it", &e))
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

/// Types a failure: by what happened on the line, then by where libgit2 found it, and last by what the other end
/// said: git's protocol has no codes for errors, only sentences for people.
fn failure(mirror: &Mirror, line: &Shared, error: &git2::Error) -> SourceError {
    let mut line = carrier::locked(line);
    if let Some(failure) = line.failure() {
        return failure;
    }
    let (url, why) = (mirror.url.clone(), error.message().to_owned());
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
        ErrorClass::Os if line.doing() == "fetching" => SourceError::MirrorIo {
            dir: mirror.dir.clone(),
            doing: "writing what was fetched",
            why,
        },
        _ => by_its_words(url, line.said(), &why),
    }
}

/// Types what the other end said: its program beside the protocol, or else within it.
fn by_its_words(url: String, said: Option<String>, error: &str) -> SourceError {
    let beside = said.is_some();
    let text = said.unwrap_or_else(|| error.to_owned());
    let why: String = text
        .replace(char::is_control, " ")
        .chars()
        .take(LONGEST_SAYING)
        .collect();
    let lower = why.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if says(&[
        "not exported",
        "no such repository",
        "repository not found",
        "does not appear to be a git repository",
        "could not be found",
    ]) {
        SourceError::NotARepository { url, why }
    } else if says(&[
        "permission",
        "denied",
        "not allowed",
        "not enabled",
        "forbidden",
        "does not let",
        "read-only",
    ]) {
        Refused::Forbidden { url, why }.into()
    } else if beside {
        Refused::ServerFailed { url, why }.into()
    } else {
        SourceError::Unreachable { url, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_is_understood_and_cut_short() {
        let typed = |said: Option<&str>, error: &str| {
            let error = by_its_words("ssh://h/c".to_owned(), said.map(str::to_owned), error);
            (error.code(), error.to_string())
        };
        for (said, code) in [
            ("ERROR: Repository not found.", "NotARepository"),
            (
                "fatal: '/c' does not appear to be a git repository",
                "NotARepository",
            ),
            (
                "remote: The project you were looking for could not be found",
                "NotARepository",
            ),
            ("ERROR: Permission to a/b.git denied to deploy key", "Forbidden"),
            ("git-upload-pack: command not found", "ServerFailed"),
        ] {
            assert_eq!(typed(Some(said), "early EOF").0, code, "{said}");
        }
        assert_eq!(
            typed(None, "remote error: service not enabled: /c").0,
            "Forbidden"
        );
        assert_eq!(typed(None, "early EOF").0, "Unreachable");
        let (_, message) = typed(Some(&format!("\u{1b}[2J{}", "a".repeat(100_000))), "");
        assert!(message.len() < 1000 && !message.contains('\u{1b}'), "{message}");
    }
}
