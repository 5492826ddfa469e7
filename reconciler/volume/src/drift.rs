//! Drift: what lies on the volume otherwise than it was written. Found here, and never mended here: healing
//! is a new build and a rollout, since a service may have loaded the bytes.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::tree::TreePath;
use lockstep_protocol::{Digest, RELEASE_FILE};

use crate::error::{ChangeError, FileError};
use crate::manifest::{Manifest, file_bits};
use crate::names::{ReleaseName, current_target, entry_target, switch_target};
use crate::scan::{self, Seen};
use crate::supply::unchanged;
use crate::volume::Volume;
use crate::{look, ops};

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// `current` is gone, or points elsewhere.
    Current {
        /// Where it points; none when it is gone or no link.
        found: Option<PathBuf>,
    },
    /// The link of the live switch is gone, or points elsewhere.
    Switch {
        /// Where it points; none when it is gone or no link.
        found: Option<PathBuf>,
    },
    /// The link of a top-level entry is gone, or something else is in its place. The next switch mends it.
    Link {
        /// The entry.
        entry: String,
        /// Where it points; none when it is gone or no link.
        found: Option<PathBuf>,
    },
    /// A top-level entry that is not ours. It is left alone.
    Foreign {
        /// The entry.
        entry: String,
    },
    /// A file or folder of the live release.
    File {
        /// Below the release's top.
        path: PathBuf,
        /// What is wrong with it.
        change: FileChange,
    },
    /// The live release does not hold what its document says, and there is no manifest to tell in which file.
    Contents {
        /// The release.
        release: ReleaseName,
    },
}

/// What is wrong with a file of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileChange {
    /// Other contents, or no plain file any more.
    Modified,
    /// Gone.
    Missing,
    /// Not part of the release.
    Extra,
    /// Right contents with other permissions.
    Mode,
}

impl Volume {
    /// Compares `current`, the links and the live release with what was written: files by inode, size and
    /// times, by reading where these differ.
    ///
    /// A release in which anything is found is not used again; [`Volume::build`] then builds the same revision
    /// anew, and a switch to that heals.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub fn check_drift(&mut self) -> Result<Vec<Drift>, ChangeError> {
        let mut found = self.check_links()?;
        let Some(live) = self.live.clone() else {
            return Ok(found);
        };
        let folder = self.at.release(&live.release);
        let Some(manifest) = self.manifest_of(&live.release)? else {
            found.push(Drift::Contents {
                release: live.release,
            });
            return Ok(found);
        };
        let files = files(&folder, manifest).map_err(ChangeError::sort)?;
        if !files.is_empty() {
            let tampered: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
            self.mark_damaged(&live.release, &tampered)?;
        }
        found.extend(
            files
                .into_iter()
                .map(|(path, change)| Drift::File { path, change }),
        );
        Ok(found)
    }

    /// Compares the top level alone, as when a watch on it fires.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub fn check_links(&mut self) -> Result<Vec<Drift>, ChangeError> {
        self.look_at_links().map_err(|error| self.judge(error))
    }

    fn look_at_links(&mut self) -> Result<Vec<Drift>, FileError> {
        let mut found = Vec::new();
        if !look::exists(&self.at.own())? {
            return Err(FileError::new("find", &self.at.own(), rustix::io::Errno::NOENT));
        }
        let current = look::link(&self.at.current())?;
        let wanted = match &self.live {
            Some(live) => Some(current_target(live.switch)),
            None => self.adopted_target(),
        };
        // A switch that is staged may have been made a moment ago, and not been completed here yet.
        let just_made = current.is_some() && current == self.staged_switch.map(current_target);
        let in_the_way = current.is_none() && look::exists(&self.at.current())?;
        if (current != wanted && !just_made) || in_the_way {
            found.push(Drift::Current { found: current });
        }
        if let Some(live) = &self.live {
            let switch = look::link(&self.at.switch(live.switch))?;
            if switch.as_deref() != Some(&switch_target(&live.release)) {
                found.push(Drift::Switch { found: switch });
            }
        }
        let ours: BTreeSet<Arc<str>> = self.links.keys().chain(&self.broken_links).cloned().collect();
        for entry in &ours {
            let path = self.at.entry(entry);
            let link = look::link(&path)?;
            if link.as_deref() != Some(&entry_target(entry)) {
                self.broken_links.insert(entry.clone());
                found.push(Drift::Link {
                    entry: entry.to_string(),
                    found: link,
                });
            }
        }
        for name in look::names(self.at.root())? {
            let name = name.to_string_lossy();
            let expected = matches!(&*name, "current" | ".lockstep" | "lost+found") || ours.contains(&*name);
            if !expected {
                found.push(Drift::Foreign {
                    entry: name.into_owned(),
                });
            }
        }
        Ok(found)
    }

    /// Marks a release as damaged, and each other one that shares a tampered file with it by a hard link. The
    /// spare may share it too: it is given up.
    fn mark_damaged(&mut self, release: &ReleaseName, paths: &[PathBuf]) -> Result<(), ChangeError> {
        if let Some(spare) = self.spare.take() {
            for path in [spare.folder, spare.manifest_file] {
                if let Err(error) = ops::remove_all(&path) {
                    tracing::debug!(%error, "a spare that is given up stays until the next tidying");
                }
            }
        }
        let folder = self.at.release(release);
        let inodes: BTreeSet<u64> = paths
            .iter()
            .filter_map(|path| look::meta(&folder.join(path)).ok().flatten())
            .map(|meta| meta.ino())
            .collect();
        let names: Vec<ReleaseName> = self.kept.keys().cloned().collect();
        for name in names {
            let shares = name == *release
                || self.manifest_of(&name)?.is_some_and(|manifest| {
                    let tree_paths = paths.iter().filter_map(|path| TreePath::new(path.to_str()?).ok());
                    let mut stamps = tree_paths.filter_map(|path| manifest.stamps.get(&path).copied());
                    stamps.any(|stamp| inodes.contains(&stamp.inode))
                });
            if let Some(kept) = self.kept.get_mut(&name) {
                kept.damaged |= shares;
            }
        }
        Ok(())
    }
}

/// What in a release's folder is not as its manifest says. Stamps are renewed where a file was read and found
/// right.
pub(crate) fn files(folder: &Path, manifest: &mut Manifest) -> Result<Vec<(PathBuf, FileChange)>, FileError> {
    let mut found = Vec::new();
    let mut folders = BTreeSet::new();
    for (path, _) in manifest.tree.iter() {
        let mut above = Path::new(path.as_str());
        while let Some(parent) = above.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            if !folders.insert(parent.to_owned()) {
                break;
            }
            above = parent;
        }
    }
    let mut seen_files = 0;
    // A release that is gone as a whole misses every file.
    let seen = if look::exists(folder)? {
        scan::walk(folder)?
    } else {
        Vec::new()
    };
    for Seen { path, meta } in seen {
        if meta.is_dir() {
            if !folders.contains(&path) {
                found.push((path, FileChange::Extra));
            } else if scan::bits(&meta) != 0o555 {
                found.push((path, FileChange::Mode));
            }
            continue;
        }
        let known = path.to_str().and_then(|path| TreePath::new(path).ok());
        let known = known.and_then(|path| Some((*manifest.tree.get(&path)?, path)));
        let Some((file, tree_path)) = known else {
            found.push((path, FileChange::Extra));
            continue;
        };
        seen_files += 1;
        let at = folder.join(&path);
        if unchanged(manifest, &tree_path, &file, &at)? {
            continue;
        }
        let only_mode =
            meta.is_file() && scan::bits(&meta) != file_bits(file.mode) && scan::has_contents(&at, &file)?;
        found.push((
            path,
            if only_mode {
                FileChange::Mode
            } else {
                FileChange::Modified
            },
        ));
    }
    if seen_files < manifest.tree.len() {
        let missing = manifest.tree.iter().map(|(path, _)| Path::new(path.as_str()));
        for path in missing {
            if !look::exists(&folder.join(path))? {
                found.push((path.to_owned(), FileChange::Missing));
            }
        }
    }
    let document = look::file(&folder.join(RELEASE_FILE))?.map(|bytes| Digest::of_bytes(&bytes));
    if document != manifest.document {
        let change = if document.is_none() {
            FileChange::Missing
        } else {
            FileChange::Modified
        };
        found.push((PathBuf::from(RELEASE_FILE), change));
    }
    found.sort();
    Ok(found)
}
