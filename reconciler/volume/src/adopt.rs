//! Taking a folder over in which files lie that are not ours: they are kept aside, and readers of their paths find
//! them until the first switch.
//!
//! What lies at the top level moves into `.lockstep/adopted-<n>`, and `current` leads there until the first release
//! is switched to: `config.toml -> current/config.toml` is then the old file, and after the one rename of that switch
//! the new one. Taking a first release back leads `current` there again.
//!
//! The order, in which each step leaves something that a later start goes on from:
//!
//! 1. The folder is staged with a link `current/NAME` for each NAME that is to move: this is the list of what was
//!    asked for. The mark `.lockstep/adopting`, a link to it, is renamed into place, then the folder. *Until here
//!    nothing is taken over; from here on every start goes on with it, asked or not.*
//! 2. `current` is made to lead there. Nobody reads it yet.
//! 3. Each entry is exchanged with its link, in one step: at no moment is there nothing under its name, and the file
//!    itself is kept, with whoever has it open. Where the file system cannot exchange, a file is moved by two renames,
//!    and a folder is refused.
//! 4. After the first release has settled the mark is removed. *From here on the folder is nothing but kept.*
//!
//! It never copies, never deletes and never opens what it moves. The exchange goes through a link in the folder of
//! our term, as every change does: once fenced, its path does not resolve any more.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::error::{ChangeError, FileError};
use crate::manifest::Entries;
use crate::names::{Layout, adopted_name, parse_adopted};
use crate::volume::Volume;
use crate::{look, ops};

/// As many reasons against a take-over are listed.
const REASONS: usize = 20;

/// Files that were taken over, or are about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Where they are kept.
    pub folder: PathBuf,
    /// Their names at the top level, sorted.
    pub entries: Vec<String>,
}

/// What was to be taken over when the volume was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Adoption {
    /// Nothing: the folder was empty, or a volume already.
    NotNeeded,
    /// These entries of the top level, none of them looked into.
    Wanted(Vec<OsString>),
    /// One that was begun before.
    Begun,
}

/// What cannot be done with a folder where names cannot be exchanged, as it follows "cannot".
const WITHOUT: &str =
    "keep aside, on a file system that cannot exchange two names, the folder (move it away by hand)";

fn cannot_exchange(error: &FileError) -> bool {
    matches!(error.errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// The name of the folder that the mark of a take-over under way leads to, if that has begun.
fn begun(at: &Layout) -> Result<Option<OsString>, FileError> {
    let leads_to = look::link(&at.adopting())?.map(PathBuf::into_os_string);
    let Some(name) = leads_to.filter(|name| parse_adopted(name).is_some()) else {
        return Ok(None);
    };
    Ok(look::exists(&at.own().join(&name))?.then_some(name))
}

/// Looks at what lies at the top level of a folder that never had a release.
pub(crate) fn consider(at: &Layout, foreign: &[OsString]) -> Result<Adoption, FileError> {
    Ok(match (begun(at)?, foreign) {
        (Some(_), _) => Adoption::Begun,
        (None, []) => Adoption::NotNeeded,
        (None, foreign) => Adoption::Wanted(foreign.to_vec()),
    })
}

/// Why entries cannot be taken over, each with its path; empty when they can. Nothing is followed or opened.
pub(crate) fn reasons_against(at: &Layout, entries: &[OsString]) -> Result<Vec<String>, FileError> {
    let us = rustix::process::geteuid().as_raw();
    let mut reasons = Vec::new();
    let mut paths: Vec<PathBuf> = entries.iter().rev().map(PathBuf::from).collect();
    while let Some(path) = paths.pop() {
        if reasons.len() == REASONS {
            reasons.push("more".to_owned());
            break;
        }
        let full = at.root().join(&path);
        let Some(meta) = look::meta(&full)? else { continue };
        let kind = meta.file_type();
        let why = if path.to_str().is_none() {
            Some("has a name that is not UTF-8".to_owned())
        } else if path == Path::new("current") {
            Some("has the name of the link that Lockstep makes".to_owned())
        } else if kind.is_socket() || kind.is_fifo() {
            Some("is a socket or a pipe: a program waits at it".to_owned())
        } else if kind.is_block_device() || kind.is_char_device() {
            Some("is a device".to_owned())
        } else if is_mount_point(&full, &meta, at)? {
            Some("is a mount point: unmount it first".to_owned())
        } else if meta.uid() != us {
            Some(format!(
                "belongs to the user {}, and this process runs as {us}",
                meta.uid()
            ))
        } else if kind.is_dir() && !may_write(&full) {
            Some("is a folder that this process may not write, so that it cannot move it".to_owned())
        } else {
            None
        };
        match why {
            Some(why) => reasons.push(format!("{} {why}", path.display())),
            None if kind.is_dir() => {
                let names = look::names(&full)?;
                paths.extend(names.iter().rev().map(|name| path.join(name)));
            }
            None => {}
        }
    }
    Ok(reasons)
}

/// Also of a file that is mounted over another, and of a folder of the same file system.
fn is_mount_point(path: &Path, meta: &std::fs::Metadata, at: &Layout) -> Result<bool, FileError> {
    let told = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    if let Ok(told) = told
        && told.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    Ok(look::meta(at.root())?.is_some_and(|root| root.dev() != meta.dev()))
}

fn may_write(folder: &Path) -> bool {
    let all = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::accessat(CWD, folder, all, AtFlags::EACCESS).is_ok()
}

impl Volume {
    /// Takes over what was wanted, or goes on with what was begun.
    pub(crate) fn adopt(&mut self, wanted: &Adoption) -> Result<(), FileError> {
        match wanted {
            Adoption::Wanted(entries) if begun(&self.at)?.is_none() => self.begin_to_adopt(entries)?,
            Adoption::NotNeeded | Adoption::Begun | Adoption::Wanted(_) => {}
        }
        let Some(name) = begun(&self.at)? else {
            // A mark alone: whoever made it died before its folder was there.
            if look::link(&self.at.adopting())?.is_some() {
                self.remove(&self.at.adopting())?;
            }
            return Ok(());
        };
        let folder = self.at.own().join(&name);
        self.adopting = Some(name.clone());
        if !look::exists(&self.at.current())? {
            self.lead_to_adopted()?;
        }
        let through = self.staging("kept");
        ops::symlink(&Path::new("..").join(&name), &through)?;
        for entry in look::names(&folder)? {
            self.exchange(&folder, &through, &entry)?;
        }
        ops::sync_dir(&folder)?;
        ops::sync_dir(self.at.root())?;
        ops::unlink(&through)
    }

    /// The first step: after it every start goes on.
    fn begin_to_adopt(&mut self, entries: &[OsString]) -> Result<(), FileError> {
        let numbers = look::names(&self.at.own())?;
        let highest = numbers.iter().filter_map(|name| parse_adopted(name)).max();
        let name = adopted_name(highest.unwrap_or(0) + 1);
        let (staged, mark) = (self.staging("adopted"), self.staging("adopting"));
        ops::mkdir(&staged, 0o755)?;
        for entry in entries {
            ops::symlink(&Path::new("current").join(entry), &staged.join(entry))?;
        }
        ops::sync_dir(&staged)?;
        ops::symlink(Path::new(&name), &mark)?;
        self.refuse_folders_without_exchange(entries, &mark)?;
        ops::rename(&mark, &self.at.adopting())?;
        ops::rename(&staged, &self.at.own().join(&name))?;
        ops::sync_dir(&self.at.own())
    }

    /// A folder cannot be renamed over a link, so without an exchange a crash between two renames would lose the list.
    fn refuse_folders_without_exchange(
        &mut self,
        entries: &[OsString],
        link: &Path,
    ) -> Result<(), FileError> {
        for entry in entries {
            let path = self.at.root().join(entry);
            if !look::meta(&path)?.is_some_and(|meta| meta.is_dir()) {
                continue;
            }
            let other = self.staging("link");
            ops::symlink(Path::new("."), &other)?;
            match ops::exchange(&other, link) {
                Ok(()) => return ops::rename(&other, link),
                Err(error) if cannot_exchange(&error) => {
                    return Err(FileError::new(WITHOUT, &path, error.errno));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes `current` lead to what was kept.
    fn lead_to_adopted(&mut self) -> Result<(), FileError> {
        let Some(target) = self.adopted_target() else {
            return Ok(());
        };
        let staged = self.staging("current");
        ops::symlink(&target, &staged)?;
        ops::rename(&staged, &self.at.current())?;
        ops::sync_dir(self.at.root())
    }

    /// Exchanges one entry with its link, as far as that is not done.
    fn exchange(&mut self, folder: &Path, through: &Path, entry: &OsStr) -> Result<(), FileError> {
        let (kept, top) = (folder.join(entry), self.at.root().join(entry));
        let link = Path::new("current").join(entry);
        let still_to_do = look::link(&kept)?.as_ref() == Some(&link);
        let place = look::meta(&top)?;
        if !still_to_do {
            // Without an exchange: its second rename.
            if place.is_none() && look::link(&self.at.current())? == self.adopted_target() {
                let staged = self.staging("link");
                ops::symlink(&link, &staged)?;
                ops::rename_link_new(&staged, &top)?;
            }
            return Ok(());
        }
        if place.is_none() || look::link(&top)?.as_ref() == Some(&link) {
            // Somebody took it away meanwhile.
            return self.remove(&kept);
        }
        match ops::exchange(&through.join(entry), &top) {
            Err(error) if cannot_exchange(&error) && place.is_some_and(|place| !place.is_dir()) => {
                let staged = self.staging("link");
                ops::symlink(&link, &staged)?;
                ops::rename(&top, &through.join(entry))?;
                ops::rename_link_new(&staged, &top)
            }
            done => done,
        }
    }

    /// Where `current` leads while a take-over is under way and no release is live.
    pub(crate) fn adopted_target(&self) -> Option<PathBuf> {
        let name = self.adopting.as_ref()?;
        Some(Path::new(".lockstep").join(name))
    }

    /// What is taken over, while that is under way.
    pub(crate) fn adopted(&self) -> Result<Option<Adopted>, FileError> {
        let Some(name) = &self.adopting else {
            return Ok(None);
        };
        let folder = self.at.own().join(name);
        let entries = look::names(&folder)?;
        Ok(Some(Adopted {
            entries: entries
                .iter()
                .map(|entry| entry.to_string_lossy().into_owned())
                .collect(),
            folder,
        }))
    }

    /// The top-level entries that readers find while no release is live.
    pub(crate) fn adopted_entries(&self) -> Result<Entries, FileError> {
        let adopted = self.adopted()?;
        let names = adopted.into_iter().flat_map(|adopted| adopted.entries);
        Ok(names.map(|name| (Arc::from(name), 0_u64)).collect())
    }

    /// Leads readers back to what was taken over, when a first release is taken back. False when there is nothing.
    pub(crate) fn back_to_adopted(&mut self) -> Result<bool, FileError> {
        if self.adopting.is_none() {
            return Ok(false);
        }
        let wanted = self.adopted_entries()?;
        self.make_links(&wanted)?;
        self.lead_to_adopted()?;
        Ok(true)
    }

    /// Ends a take-over, once a release is live and the rollout that brought it has its outcome.
    pub(crate) fn settle_adoption(&mut self) -> Result<(), ChangeError> {
        if self.adopting.is_some() && self.live.is_some() && self.journal.has_outcome() {
            let mark = self.at.adopting();
            look::exists(&mark)
                .and_then(|there| if there { self.remove(&mark) } else { Ok(()) })
                .and_then(|()| ops::sync_dir(&self.at.own()))
                .map_err(|error| self.judge(error))?;
            self.adopting = None;
        }
        Ok(())
    }
}
