//! The source as a folder on this machine: opened anew at each look, so that a repository that was deleted and
//! remade is seen as it is now. Nothing is ever written there.

use std::path::Path;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository, RepositoryOpenFlags};

use crate::copy::{CopyFailure, Copying, copy_history};
use crate::fetch::Listing;
use crate::{Mirror, SourceError, libgit};

/// Opens the source. `url` is for messages.
pub(crate) fn open(path: &Path, url: &str) -> Result<Repository, SourceError> {
    let not_one = |why: &str| SourceError::NotARepository {
        url: url.to_owned(),
        why: why.to_owned(),
    };
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => return Err(not_one("it is a file")),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(not_one("nothing is there")),
        Err(e) => {
            return Err(SourceError::Unreachable {
                url: url.to_owned(),
                why: e.to_string(),
            });
        }
    }
    let nowhere: [&Path; 0] = [];
    // NO_SEARCH: a folder inside another repository must not be taken for that repository.
    let repo = Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, nowhere).map_err(|e| {
        if e.code() == ErrorCode::NotFound {
            not_one("it is a folder, but not that of a repository")
        } else {
            unsupported(url, &e)
        }
    })?;
    if repo.is_shallow() {
        return Err(SourceError::UnsupportedRepository {
            url: url.to_owned(),
            why: "it is a shallow clone, which lacks history. Run `git fetch --unshallow` there".to_owned(),
        });
    }
    Ok(repo)
}

fn unsupported(url: &str, error: &git2::Error) -> SourceError {
    if error.class() == ErrorClass::Os {
        return SourceError::Unreachable {
            url: url.to_owned(),
            why: error.message().to_owned(),
        };
    }
    let why = format!(
        "{}. This build reads repositories of object format sha1 whose refs are files; `git refs migrate \
         --ref-format=files` converts refs, and `git daemon` serves any kind of refs",
        error.message()
    );
    SourceError::UnsupportedRepository {
        url: url.to_owned(),
        why,
    }
}

/// Looks up the branch; lists all only when it is not there.
pub(crate) fn list(source: &Repository, mirror: &Mirror) -> Result<Listing, SourceError> {
    let damaged = |e: git2::Error| corrupt(mirror, &e);
    match source.find_reference(&mirror.branch_ref()) {
        Ok(reference) => {
            let commit = reference.peel(ObjectType::Commit).map_err(damaged)?;
            Ok(Listing {
                head: Some(commit.id()),
                branches: Vec::new(),
            })
        }
        Err(e) if e.code() == ErrorCode::NotFound => {
            let refs = source.references_glob("refs/heads/*").map_err(damaged)?;
            let name = |r: git2::Reference<'_>| Some(r.name().ok()?.strip_prefix("refs/heads/")?.to_owned());
            let mut branches: Vec<_> = refs.flatten().filter_map(name).collect();
            branches.sort_unstable();
            Ok(Listing { head: None, branches })
        }
        Err(e) => Err(damaged(e)),
    }
}

/// Copies the branch's history.
pub(crate) fn fetch(source: &Repository, mirror: &Mirror) -> Result<Oid, SourceError> {
    let head = mirror.head_in(list(source, mirror)?)?;
    if mirror.is_here(head)? {
        return Ok(head);
    }
    let bounds = &mirror.spec.bounds;
    let url = || mirror.url.clone();
    match copy_history(
        &Copying {
            from: source,
            to: &mirror.repo,
            bounds,
            counts: &mirror.counts,
        },
        head,
    ) {
        Ok(()) => Ok(head),
        Err(CopyFailure::Reading(e)) => Err(corrupt(mirror, &e)),
        Err(CopyFailure::Writing(e)) => Err(mirror.broken("writing what was fetched", &e)),
        Err(CopyFailure::WritingFile(e)) => Err(SourceError::MirrorIo {
            dir: mirror.dir.clone(),
            doing: "writing what was fetched",
            why: e.to_string(),
        }),
        Err(CopyFailure::TimedOut(after)) => Err(SourceError::TimedOut {
            url: url(),
            doing: "fetching",
            after,
        }),
        Err(CopyFailure::TooLarge) => Err(SourceError::TooLarge {
            url: url(),
            revision: libgit::revision(head).to_string(),
            limit: bounds.fetch_bytes,
        }),
    }
}

fn corrupt(mirror: &Mirror, error: &git2::Error) -> SourceError {
    SourceError::RemoteCorrupt {
        url: mirror.url.clone(),
        why: error.message().to_owned(),
    }
}
