//! The stable links at the volume's top level, one for each top-level entry of the release:
//! `config.toml -> current/config.toml`, so that readers need no knowledge of switches.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use rustix::io::Errno;

use crate::error::{ChangeError, FileError};
use crate::manifest::Entries;
use crate::names::entry_target;
use crate::volume::Volume;
use crate::{look, ops};

/// Of two sets of entries, those that only the newer has.
fn only_in(newer: &Entries, older: &Entries) -> Vec<Arc<str>> {
    let added = older.diff(newer).filter_map(|item| match item {
        DiffItem::Add(entry, _) => Some(entry.clone()),
        DiffItem::Update { .. } | DiffItem::Remove(..) => None,
    });
    added.collect()
}

impl Volume {
    /// The top-level entries of what is live: when nothing is, what was taken over, or none; unknown where something
    /// else lies in the way.
    pub(crate) fn live_entries(&mut self) -> Result<Option<Entries>, ChangeError> {
        match self.live.clone() {
            Some(live) => Ok(self
                .manifest_of(&live.release)?
                .map(|manifest| manifest.entries.clone())),
            None => {
                let current = self.at.current();
                if self.adopting.is_some()
                    && look::link(&current).map_err(ChangeError::sort)? == self.adopted_target()
                {
                    return self.adopted_entries().map(Some).map_err(ChangeError::sort);
                }
                let nothing = !look::exists(&current).map_err(ChangeError::sort)?;
                Ok(nothing.then(Entries::new))
            }
        }
    }

    /// Makes the links that are wanted and not there. Returns the entries whose place something else has.
    pub(crate) fn make_links(&mut self, wanted: &Entries) -> Result<Vec<Arc<str>>, FileError> {
        let mut blocked = Vec::new();
        for entry in only_in(wanted, &self.links) {
            let (staged, to) = (self.staging("link"), self.at.entry(&entry));
            ops::symlink(&entry_target(&entry), &staged)?;
            match ops::rename_link_new(&staged, &to) {
                Err(error) if error.errno == Errno::EXIST => {
                    ops::unlink(&staged)?;
                    if look::link(&to)? != Some(entry_target(&entry)) {
                        blocked.push(entry);
                        continue;
                    }
                }
                done => done?,
            }
            self.links.insert(entry, 0);
        }
        Ok(blocked)
    }

    /// Puts our links back where somebody put something else: by one rename over it, or for a directory after
    /// moving that aside. Returns the entries mended.
    pub(crate) fn mend_links(&mut self) -> Result<BTreeSet<Arc<str>>, FileError> {
        let broken = self.broken_links.clone();
        for entry in &broken {
            let to = self.at.entry(entry);
            if look::meta(&to)?.is_some_and(|meta| meta.is_dir()) {
                self.set_aside(&to)?;
            }
            self.renew_link(entry)?;
            self.links.insert(entry.clone(), 0);
            self.broken_links.remove(entry);
        }
        Ok(broken)
    }

    /// Renames a new link over an entry's old one: a watcher of the folder sees an event with that name.
    pub(crate) fn renew_link(&mut self, entry: &str) -> Result<(), FileError> {
        let staged = self.staging("link");
        ops::symlink(&entry_target(entry), &staged)?;
        ops::rename(&staged, &self.at.entry(entry))
    }

    /// Removes the links of ours that are not wanted.
    pub(crate) fn remove_links(&mut self, wanted: &Entries) -> Result<(), FileError> {
        for entry in only_in(&self.links.clone(), wanted) {
            let path = self.at.entry(&entry);
            if look::link(&path)? == Some(entry_target(&entry)) {
                self.remove(&path)?;
            }
            self.links.remove(&entry);
        }
        Ok(())
    }

    /// Removes a file or link from the volume: one rename into our folder, which fails once we are fenced,
    /// and then an unlink.
    pub(crate) fn remove(&mut self, path: &Path) -> Result<(), FileError> {
        let aside = self.set_aside(path)?;
        ops::unlink(&aside)
    }
}
