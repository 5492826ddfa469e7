//! Opening a volume: its layout is made if the folder is empty, its lock taken, its numbers found.
//!
//! Nothing that another coordinator relies on is changed here; that begins with [`Unfenced::fence`].

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_protocol::SwitchNumber;

use crate::adopt::{self, Adoption};
use crate::error::{ChangeError, FileError};
use crate::lock::{self, Attempt, Lock};
use crate::names::{Layout, Term, TermFolder, parse_adopted, parse_current_target, parse_switch};
use crate::{journal, look, ops};

/// How to open a volume.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// How many releases to keep, the current one included.
    pub keep: usize,
    /// Go on although another process holds the lock; the term fences it.
    pub take_over: bool,
    /// Keep aside what lies in a folder that is no volume yet, instead of refusing it.
    pub adopt: bool,
    /// The highest term known elsewhere: in the state folder, the guard's record.
    pub term_at_least: Term,
    /// The highest switch known elsewhere: in the state folder, the guard's record, instances' status.
    pub switch_at_least: SwitchNumber,
    /// How long a release is kept after it was current, for readers who report nothing.
    pub linger: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            keep: 10,
            take_over: false,
            adopt: false,
            term_at_least: Term(0),
            switch_at_least: SwitchNumber(0),
            linger: Duration::from_secs(60),
        }
    }
}

/// Why a volume cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "the volume {} is in use by {}. End that reconciler first, or start this one with --take-over if it hangs",
        volume.display(), holder(*pid)
    )]
    Locked {
        /// The volume.
        volume: PathBuf,
        /// The process that holds the lock, if the lock file tells.
        pid: Option<u32>,
    },
    /// The folder holds files that are not ours.
    #[error(
        "the volume {} holds files that are not Lockstep's: {}. Move them away (into the config repo, if they are \
         config), choose an empty folder as [volume] path, or start with --adopt, which keeps them aside",
        volume.display(), entries.join(", ")
    )]
    Foreign {
        /// The volume.
        volume: PathBuf,
        /// The top-level entries that are not ours.
        entries: Vec<String>,
    },
    /// The folder is somebody else's own: a checkout, or a volume with a layout that this build does not know.
    #[error(
        "the volume {} holds {} in its folder .lockstep, which no volume of this build does. It is a checkout of a \
         config repo, or the volume of a newer Lockstep: choose another folder as [volume] path, or use that build",
        volume.display(), entries.join(", ")
    )]
    Strange {
        /// The volume.
        volume: PathBuf,
        /// The names that are not known.
        entries: Vec<String>,
    },
    /// What lies there cannot be kept aside.
    #[error(
        "the volume {} cannot be taken over: {}. Mend that and start again; nothing was changed",
        volume.display(), reasons.join("; ")
    )]
    NotAdoptable {
        /// The volume.
        volume: PathBuf,
        /// Each with its path.
        reasons: Vec<String>,
    },
    /// The path is no folder.
    #[error("the volume {} is not a folder. Choose a folder as [volume] path", volume.display())]
    NotAFolder {
        /// The path.
        volume: PathBuf,
    },
    /// Another user has written it.
    #[error(
        "the volume {} belongs to the user {owner}, and this process runs as {us}. Run the reconciler as that user, \
         or give it the volume with `chown -R {us} {}`", volume.display(), volume.display()
    )]
    OtherOwner {
        /// The volume.
        volume: PathBuf,
        /// The user id that owns our folder on it.
        owner: u32,
        /// Our user id.
        us: u32,
    },
    /// A call failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("the process {pid}"),
    )
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        Self::Change(ChangeError::sort(error))
    }
}

/// A volume that is opened, and not yet ours to change: the next step is to fence every other coordinator.
#[derive(Debug)]
#[must_use = "nothing on the volume can be changed before `fence`"]
pub struct Unfenced {
    pub(crate) at: Layout,
    pub(crate) options: OpenOptions,
    pub(crate) lock: Option<Lock>,
    pub(crate) adoption: Adoption,
    pub(crate) highest_term: Term,
    pub(crate) used_switch: SwitchNumber,
    pub(crate) highest_switch: SwitchNumber,
}

impl Unfenced {
    /// The highest term on the volume, fenced ones included, or what the options say if that is higher.
    #[must_use]
    pub fn highest_term(&self) -> Term {
        self.highest_term
    }

    /// Whether what lies there is taken over by the next step, or that goes on.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.adoption != Adoption::NotNeeded
    }

    /// The highest switch number that the volume knows of, or what the options say if that is higher.
    #[must_use]
    pub fn highest_switch(&self) -> SwitchNumber {
        self.highest_switch
    }
}

/// Opens the volume at a path, which may be a link to it.
///
/// # Errors
/// See [`OpenError`]; each names the next step.
pub(crate) fn open(path: &Path, options: OpenOptions) -> Result<Unfenced, OpenError> {
    let created = std::fs::create_dir_all(path);
    let root = match std::fs::canonicalize(path) {
        Ok(root) => root,
        Err(error) => {
            created.map_err(|error| FileError::from_std("make the volume", path, &error))?;
            return Err(FileError::from_std("find the volume", path, &error).into());
        }
    };
    if !root.is_dir() {
        return Err(OpenError::NotAFolder { volume: root });
    }
    let at = Layout::new(root);
    let adoption = refuse_foreign(&at, options.adopt)?;
    make_layout(&at)?;
    let lock = match lock::try_lock(&at.lock())? {
        Attempt::Locked(lock) => Some(lock),
        Attempt::Held(_) if options.take_over => None,
        Attempt::Held(pid) => {
            return Err(OpenError::Locked {
                volume: at.root().to_owned(),
                pid,
            });
        }
    };
    let highest_term = terms(&at)?
        .iter()
        .map(|folder| folder.term())
        .max()
        .unwrap_or_default();
    let highest_term = highest_term.max(options.term_at_least);
    let used_switch = used_switch(&at)?.max(options.switch_at_least);
    let highest_switch = promised_switch(&at)?.max(used_switch);
    Ok(Unfenced {
        at,
        options,
        lock,
        adoption,
        highest_term,
        used_switch,
        highest_switch,
    })
}

/// See [`crate::Volume::refusal`].
pub(crate) fn refusal(path: &Path) -> Option<OpenError> {
    let root = std::fs::canonicalize(path).ok()?;
    refuse_foreign(&Layout::new(root), false).err()
}

/// The folders of all terms.
pub(crate) fn terms(at: &Layout) -> Result<Vec<TermFolder>, FileError> {
    Ok(look::names(&at.own())?
        .iter()
        .filter_map(|name| TermFolder::parse(name))
        .collect())
}

/// The highest number that a switch has on the volume, `current` counted even when it dangles.
pub(crate) fn used_switch(at: &Layout) -> Result<SwitchNumber, FileError> {
    let links = look::names(&at.switches())?
        .iter()
        .filter_map(|name| parse_switch(name))
        .max();
    let current = look::link(&at.current())?.and_then(|target| parse_current_target(&target));
    Ok(links.max(current).unwrap_or(SwitchNumber(0)))
}

/// The highest number in the journals' intents: it may have been used on another volume.
pub(crate) fn promised_switch(at: &Layout) -> Result<SwitchNumber, FileError> {
    let mut highest = SwitchNumber(0);
    for folder in terms(at)? {
        let path = match folder {
            TermFolder::Open(term) => at.term(term),
            TermFolder::Fenced(term) => at.fenced(term),
        };
        // A journal that cannot be read is reported when it is fenced; here only numbers are looked for.
        let records = journal::read(&path).unwrap_or_default();
        highest = highest.max(journal::highest_switch(&records));
    }
    Ok(highest)
}

/// The names that may lie in our own folder.
fn is_ours(name: &OsString) -> bool {
    matches!(
        name.to_str(),
        Some("lock" | "switches" | "releases" | "manifests" | "adopting")
    ) || TermFolder::parse(name).is_some()
        || parse_adopted(name).is_some()
}

/// Refuses a folder that is used for something else, unless it is to be taken over. Once a release was there, strange
/// files are drift, to be reported and not to be refused: the services must still start.
fn refuse_foreign(at: &Layout, adopt: bool) -> Result<Adoption, OpenError> {
    let volume = || at.root().to_owned();
    let own = look::meta(&at.own())?;
    let mut entries = Vec::new();
    match &own {
        Some(meta) if meta.is_dir() => {
            // What begins with a dot is an editor's or a file system's; a layout that we do not know has other names.
            let strange = look::names(&at.own())?
                .into_iter()
                .filter(|name| !is_ours(name) && !name.as_encoded_bytes().starts_with(b"."));
            entries.extend(strange.map(|name| format!(".lockstep/{}", name.to_string_lossy())));
        }
        Some(_) => entries.push(".lockstep".to_owned()),
        None => {}
    }
    if !entries.is_empty() {
        return Err(OpenError::Strange {
            volume: volume(),
            entries,
        });
    }
    let us = rustix::process::geteuid().as_raw();
    if let Some(meta) = own.filter(|meta| meta.uid() != us) {
        return Err(OpenError::OtherOwner {
            volume: volume(),
            owner: meta.uid(),
            us,
        });
    }
    let adoption = if look::exists(&at.switches())? && !look::names(&at.switches())?.is_empty() {
        adopt::consider(at, &[])?
    } else {
        adopt::consider(at, &foreign(at)?)?
    };
    let Adoption::Wanted(wanted) = &adoption else {
        return Ok(adoption);
    };
    if !adopt {
        let names = wanted.iter().map(|name| name.to_string_lossy().into_owned());
        return Err(OpenError::Foreign {
            volume: volume(),
            entries: names.collect(),
        });
    }
    match adopt::reasons_against(at, wanted)? {
        reasons if reasons.is_empty() => Ok(adoption),
        reasons => Err(OpenError::NotAdoptable {
            volume: volume(),
            reasons,
        }),
    }
}

/// The top-level entries that are not ours.
fn foreign(at: &Layout) -> Result<Vec<OsString>, FileError> {
    let mut foreign = Vec::new();
    for name in look::names(at.root())? {
        let ours = match look::link(&at.root().join(&name))? {
            Some(target) if name == "current" => parse_current_target(&target).is_some(),
            Some(target) => target == Path::new("current").join(&name),
            None => name == "lost+found" || name == ".lockstep",
        };
        if !ours {
            foreign.push(name);
        }
    }
    Ok(foreign)
}

/// Makes the folders that are not there yet.
fn make_layout(at: &Layout) -> Result<(), FileError> {
    let folders = [
        (at.own(), 0o755),
        (at.switches(), 0o755),
        (at.releases(), 0o755),
        (at.manifests(), 0o700),
    ];
    let mut made = false;
    for (folder, bits) in folders {
        if !look::exists(&folder)? {
            match ops::mkdir(&folder, bits) {
                // Another coordinator is just making the same.
                Err(error) if error.errno == rustix::io::Errno::EXIST => {}
                done => done?,
            }
            made = true;
        }
    }
    if made {
        ops::sync_dir(&at.own())?;
        ops::sync_dir(at.root())?;
    }
    Ok(())
}
