//! Walking the published folder of a revision beside that of an older one, folder by folder.
//!
//! A folder whose git id is the same in both is not entered: that is what makes the cost follow the change.
//! Within a folder that differs all names are looked at, because a collision is between two names of which
//! only one may be new. Names and modes are judged here; sizes and contents are not.

use std::collections::HashMap;

use git2::{ErrorClass, Oid, Repository, Tree as GitTree};
use lockstep_core::tree::TreePath;
use lockstep_protocol::FileMode;

use crate::refusal::{Reason, Refusal, lossless};

/// The longest name that file systems take.
const NAME_BYTES: usize = 255;
/// The longest path that leaves room for the volume's own folders within Linux's 4096.
const PATH_BYTES: usize = 3072;
/// Top-level names that the volume needs for itself.
const RESERVED: [&str; 2] = ["current", "lost+found"];

/// A file that the newer revision has and the older one has not, or not like this.
pub(crate) struct Changed {
    pub(crate) path: TreePath,
    pub(crate) mode: FileMode,
    pub(crate) oid: Oid,
}

/// What a walk found.
#[derive(Default)]
pub(crate) struct Walked {
    pub(crate) changed: Vec<Changed>,
    /// Paths of files that only the older revision has.
    pub(crate) removed: Vec<TreePath>,
    pub(crate) refusals: Vec<Refusal>,
}

/// Walks the published folder `new`, beside `old` if there is one.
pub(crate) struct Walk<'a> {
    repo: &'a Repository,
    /// The published folder within the repository, for messages.
    published: &'a str,
    /// How many files, and how many folders, may be published.
    limit: u64,
    found: Walked,
    files: u64,
    folders: u64,
    pending: Vec<Pending>,
}

/// A folder that is still to be looked at.
struct Pending {
    /// Its path below the published folder, with a slash at its end; "" is the published folder itself.
    prefix: String,
    new: Option<Oid>,
    old: Option<Oid>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File(FileMode),
    Symlink,
    Submodule,
    Device,
    Unknown(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    oid: Oid,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(repo: &'a Repository, published: &'a str, limit: u64) -> Self {
        Self {
            repo,
            published,
            limit,
            found: Walked::default(),
            files: 0,
            folders: 0,
            pending: Vec::new(),
        }
    }

    /// Looks at everything that differs. An error is an object that cannot be read.
    pub(crate) fn run(mut self, new: Oid, old: Option<Oid>) -> Result<Walked, git2::Error> {
        self.pending.push(Pending {
            prefix: String::new(),
            new: Some(new),
            old,
        });
        while let Some(folder) = self.pending.pop() {
            self.folder(&folder)?;
            // Git names endless trees in a few bytes. Somewhat too much is walked to its end, so that everything
            // wrong with it can be said at once; far too much is not.
            let enough = self.limit.saturating_mul(4).saturating_add(1000);
            if self.files > enough {
                self.refuse_all(Reason::TooManyFiles { limit: self.limit });
                break;
            }
            if self.folders > enough {
                self.refuse_all(Reason::TooManyFolders { limit: self.limit });
                break;
            }
        }
        Ok(self.found)
    }

    fn folder(&mut self, folder: &Pending) -> Result<(), git2::Error> {
        if folder.new == folder.old {
            return Ok(());
        }
        let top = folder.prefix.is_empty();
        if folder.new.is_some() && !top {
            self.folders += 1;
        }
        let Some(new) = self.read(&folder.prefix, folder.new)? else {
            return Ok(());
        };
        let Some(old) = self.read(&folder.prefix, folder.old)? else {
            return Ok(());
        };
        if !top && new.as_ref().is_some_and(GitTree::is_empty) {
            self.refuse(folder.prefix.trim_end_matches('/'), Reason::EmptyFolder);
        }
        let (new, old) = (entries(new.as_ref(), top), entries(old.as_ref(), top));
        let mut before: HashMap<&[u8], Entry> = old.iter().map(|(name, entry)| (&name[..], *entry)).collect();
        let mut spellings = HashMap::new();
        for (name, entry) in &new {
            let Some(name) = self.judge(&folder.prefix, name, *entry, &mut spellings) else {
                continue;
            };
            let was = before.remove(name.as_bytes());
            if was != Some(*entry) {
                self.differs(&folder.prefix, name, was, Some(*entry));
            }
        }
        for (name, entry) in before {
            // A tree that was published has no name but UTF-8 ones.
            if let Ok(name) = std::str::from_utf8(name) {
                self.differs(&folder.prefix, name, Some(entry), None);
            }
        }
        Ok(())
    }

    /// Reads a folder; one that git itself cannot parse is refused, since its bytes are as they were committed.
    fn read(&mut self, prefix: &str, oid: Option<Oid>) -> Result<Option<Option<GitTree<'a>>>, git2::Error> {
        let Some(oid) = oid else { return Ok(Some(None)) };
        match self.repo.find_tree(oid) {
            Ok(tree) => Ok(Some(Some(tree))),
            Err(e) if e.class() == ErrorClass::Tree => {
                self.refuse(prefix.trim_end_matches('/'), Reason::Malformed);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// One name whose entry differs between the two.
    fn differs(&mut self, prefix: &str, name: &str, was: Option<Entry>, is: Option<Entry>) {
        let path = format!("{prefix}{name}");
        let folder = |entry: Option<Entry>| entry.filter(|e| e.kind == Kind::Folder).map(|e| e.oid);
        let file = |entry: Option<Entry>| entry.is_some_and(|e| matches!(e.kind, Kind::File(_)));
        if let Some(Entry {
            kind: Kind::File(mode),
            oid,
        }) = is
        {
            self.files += 1;
            match TreePath::new(&path) {
                Ok(path) => self.found.changed.push(Changed { path, mode, oid }),
                Err(_) => self.refuse(&path, Reason::UnsafeName),
            }
        } else if file(was)
            && let Ok(path) = TreePath::new(&path)
        {
            self.found.removed.push(path);
        }
        if folder(was).is_some() || folder(is).is_some() {
            self.pending.push(Pending {
                prefix: path + "/",
                new: folder(is),
                old: folder(was),
            });
        }
    }

    /// Judges one entry by its name and mode. Returns the name if it can be published.
    fn judge<'n>(
        &mut self,
        prefix: &str,
        name: &'n [u8],
        entry: Entry,
        spellings: &mut HashMap<String, &'n str>,
    ) -> Option<&'n str> {
        let before = self.found.refusals.len();
        match entry.kind {
            Kind::Folder | Kind::File(_) => {}
            Kind::Symlink => self.refuse_name(prefix, name, Reason::Symlink),
            Kind::Submodule => self.refuse_name(prefix, name, Reason::Submodule),
            Kind::Device => self.refuse_name(prefix, name, Reason::Device),
            Kind::Unknown(mode) => self.refuse_name(prefix, name, Reason::UnknownMode(mode)),
        }
        let Ok(text) = std::str::from_utf8(name) else {
            self.refuse_name(prefix, name, Reason::NotUtf8);
            return None;
        };
        let path = format!("{prefix}{text}");
        if matches!(text, "" | "." | "..") || text.contains(['/', '\0']) {
            self.refuse(&path, Reason::UnsafeName);
        } else if text.len() > NAME_BYTES {
            self.refuse(
                &path,
                Reason::TooLong {
                    bytes: text.len(),
                    limit: NAME_BYTES,
                },
            );
        } else if path.len() > PATH_BYTES {
            self.refuse(
                &path,
                Reason::TooLong {
                    bytes: path.len(),
                    limit: PATH_BYTES,
                },
            );
        }
        let lower = simple_lowercase(text);
        if prefix.is_empty()
            && let Some(name) = RESERVED.into_iter().find(|reserved| *reserved == lower)
        {
            self.refuse(&path, Reason::ReservedName { name });
        }
        match spellings.get(&lower) {
            Some(other) if *other == text => self.refuse(&path, Reason::Duplicate),
            Some(other) => {
                let with = self.shown(&format!("{prefix}{other}"));
                self.refuse(&path, Reason::CaseCollision { with });
            }
            None => {
                spellings.insert(lower, text);
            }
        }
        (self.found.refusals.len() == before).then_some(text)
    }

    fn refuse_name(&mut self, prefix: &str, name: &[u8], reason: Reason) {
        self.refuse(&format!("{prefix}{}", lossless(name)), reason);
    }

    fn refuse(&mut self, path: &str, reason: Reason) {
        // Refused entries count as well: they too may be endless.
        self.files += 1;
        let path = self.shown(path);
        self.found.refusals.push(Refusal { path, reason });
    }

    fn refuse_all(&mut self, reason: Reason) {
        self.found.refusals.push(Refusal {
            path: self.published.to_owned(),
            reason,
        });
    }

    /// A path as people find it: from the repository's root.
    fn shown(&self, path: &str) -> String {
        from_root(self.published, path)
    }
}

/// A published path as it is from the repository's root.
pub(crate) fn from_root(published: &str, path: &str) -> String {
    match (published, path) {
        (published, "") => published.to_owned(),
        ("", path) => path.to_owned(),
        (published, path) => format!("{published}/{path}"),
    }
}

/// The entries of a folder that are to be published: at the top not those that begin with a dot.
fn entries(tree: Option<&GitTree<'_>>, top: bool) -> Vec<(Vec<u8>, Entry)> {
    let all = tree.into_iter().flatten();
    all.filter(|entry| !(top && entry.name_bytes().starts_with(b".")))
        .map(|entry| {
            let kind = kind(entry.filemode_raw().cast_unsigned());
            (
                entry.name_bytes().to_vec(),
                Entry {
                    kind,
                    oid: entry.id(),
                },
            )
        })
        .collect()
}

fn kind(mode: u32) -> Kind {
    match mode {
        0o040_000 => Kind::Folder,
        // 664 was written by the first versions of git, and git reads it as 644.
        0o100_644 | 0o100_664 => Kind::File(FileMode::Regular),
        0o100_755 => Kind::File(FileMode::Executable),
        0o120_000 => Kind::Symlink,
        0o160_000 => Kind::Submodule,
        other => match other & 0o170_000 {
            0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => Kind::Device,
            _ => Kind::Unknown(other),
        },
    }
}

/// Unicode's simple lowercase: one character for one. The standard library's full mapping differs from it for
/// İ alone, whose first character is the simple one.
fn simple_lowercase(name: &str) -> String {
    name.chars().filter_map(|c| c.to_lowercase().next()).collect()
}
