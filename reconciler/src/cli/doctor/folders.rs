//! Volume and state: whether their file systems do what a switch needs, and how much room is left.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockstep_volume::{OpenError, Volume};
use rustix::fs::{Mode, OFlags, open, statvfs};

use super::Finding;
use crate::agent::Folders;
use crate::settings::Settings;

/// Less than this is little room for releases and their successors.
const LITTLE: u64 = 256 << 20;
/// A flush that takes longer makes every commit slow.
const SLOW_FLUSH: Duration = Duration::from_millis(100);

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (what, folder) in [("volume", &settings.volume.path), ("state", &settings.state)] {
        findings.push(writing(what, folder));
        findings.extend(room(what, folder));
    }
    findings.extend(foreign(&settings.volume.path));
    findings.push(instances(&settings.state));
    findings
}

/// What somebody else has put on the volume before it was one. Who may write it was tried already, and the lock is the
/// running reconciler's.
fn foreign(volume: &Path) -> Option<Finding> {
    let refusal = Volume::refusal(volume)?;
    let next = match &refusal {
        OpenError::Foreign { .. } => {
            "`lockstep run` shows how they differ from what would be published, `lockstep run --adopt` keeps them aside"
        }
        OpenError::Strange { .. } => "choose another folder in the settings, or use the build that made it",
        OpenError::Locked { .. }
        | OpenError::NotAdoptable { .. }
        | OpenError::NotAFolder { .. }
        | OpenError::OtherOwner { .. }
        | OpenError::Change(_) => return None,
    };
    Some(Finding::problem("volume, files", refusal.to_string(), next))
}

/// The folder itself, or the nearest one above it: what does not exist yet is made there.
fn existing(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.is_dir())
}

/// Tries what a release and its switch need, in a folder that is gone afterwards.
fn writing(what: &str, folder: &Path) -> Finding {
    if folder.exists() && !folder.is_dir() {
        return Finding::problem(
            what,
            format!("{} is no folder", folder.display()),
            "move it away, or choose another folder in the settings",
        );
    }
    let Some(place) = existing(folder) else {
        return Finding::problem(
            what,
            format!("{} cannot be made", folder.display()),
            "choose a folder below one that exists",
        );
    };
    // Not on the volume's top level, which services see and a running reconciler watches; and where the next start
    // sweeps, should this program be killed.
    let inside = place.join(".lockstep/manifests");
    let place = if inside.is_dir() { &inside } else { place };
    match tried(place) {
        Ok(tried) if tried.flush > SLOW_FLUSH => Finding::warning(
            what,
            format!(
                "{}: a flush takes {} ms",
                folder.display(),
                tried.flush.as_millis()
            ),
            "each commit waits for several flushes: a local disk is faster than a network's",
        ),
        Ok(Tried { links: false, .. }) => Finding::warning(
            what,
            format!("{}: rename and flush work, hard links do not", folder.display()),
            "releases are copied instead of linked: with many files each commit costs more",
        ),
        Ok(tried) => Finding::ok(
            what,
            format!(
                "{}: rename, hard links and flush work ({} µs)",
                folder.display(),
                tried.flush.as_micros()
            ),
        ),
        Err((doing, path, error)) => Finding::problem(
            what,
            format!("{}: cannot {doing} {}: {error}", folder.display(), path.display()),
            "let this user write there, or choose another folder in the settings",
        ),
    }
}

struct Tried {
    links: bool,
    flush: Duration,
}

fn tried(place: &Path) -> Result<Tried, (&'static str, PathBuf, io::Error)> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| (doing, path, error)
    };
    let folder = tempfile::Builder::new()
        .prefix(".doctor-")
        .tempdir_in(place)
        .map_err(failed("make a folder in", place))?;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let began = Instant::now();
    let mut file = File::create(&one).map_err(failed("create", &one))?;
    file.write_all(b"lockstep").map_err(failed("write", &one))?;
    file.sync_all().map_err(failed("flush", &one))?;
    File::open(folder.path())
        .and_then(|folder| folder.sync_all())
        .map_err(failed("flush", folder.path()))?;
    let flush = began.elapsed();
    let links = fs::hard_link(&one, folder.path().join("three")).is_ok();
    std::os::unix::fs::symlink("one", &two).map_err(failed("make a link", &two))?;
    fs::rename(&one, &two).map_err(failed("rename over", &two))?;
    folder
        .close()
        .map_err(failed("remove what was tried in", place))?;
    Ok(Tried { links, flush })
}

fn room(what: &str, folder: &Path) -> Option<Finding> {
    let facts = statvfs(existing(folder)?).ok()?;
    let what = format!("{what}, room");
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    // A file system that does not count its inodes says 0 of 0.
    let no_inodes = facts.f_files > 0 && facts.f_favail < 10_000;
    let found = format!("{} MiB free", free >> 20);
    Some(if free < LITTLE || no_inodes {
        let found = if no_inodes {
            format!("{found}, {} files more", facts.f_favail)
        } else {
            found
        };
        Finding::warning(
            what,
            found,
            "make room: a release that does not fit is not published, and what happened is not remembered",
        )
    } else {
        Finding::ok(what, found)
    })
}

/// Where status files and offers go.
fn instances(state: &Path) -> Finding {
    let what = "instances' folder";
    let base = Folders::place(state);
    let place = existing(&base).unwrap_or(Path::new("/"));
    let writable = open(place, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .and_then(|_| rustix::fs::access(place, rustix::fs::Access::WRITE_OK));
    match writable {
        Ok(()) if base.starts_with(state) => Finding::warning(
            what,
            format!("{}: /run/lockstep cannot be written", base.display()),
            "status files are written to the state's disk: let this user write /run/lockstep (RuntimeDirectory=lockstep \
             in a unit)",
        ),
        Ok(()) => Finding::ok(what, base.display().to_string()),
        Err(error) => Finding::problem(
            what,
            format!("{} cannot be written: {error}", place.display()),
            "let this user write there",
        ),
    }
}
