//! Wake-ups from a repository on this machine: its refs changed, so look now instead of at the next interval.
//!
//! A wake-up carries no data and proves nothing; whoever is woken looks at the repository again. They may be
//! lost (a full queue, a network file system, no watches left), so this is never the only trigger, and a
//! repository that cannot be watched is no error. Reading the repository must not wake anybody: that would go
//! round for ever.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use git2::{Repository, RepositoryOpenFlags};
use notify::event::EventKind;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::spec::Transport;
use crate::{SourceError, SourceSpec, facts, libgit};

/// How often it is checked that what is watched is still what lies at its path: a folder that was deleted and
/// remade has the same name, and the watch is on the old one.
const CHECK: Duration = Duration::from_secs(1);

/// Watches a local repository until it is dropped.
pub struct Watcher {
    messages: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Seen(notify::Result<Event>),
    Stop,
}

impl Watcher {
    /// Watches a spec's repository and calls `on_wake` when its refs may have changed, or when it appeared. None
    /// when the repository is not on this machine.
    ///
    /// `on_wake` runs on a thread of the watcher's and must not block.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn start(
        spec: &SourceSpec,
        on_wake: impl Fn() + Send + 'static,
    ) -> Result<Option<Self>, SourceError> {
        libgit::set_up();
        let Transport::Local(path) = Transport::of(&spec.url)? else {
            return Ok(None);
        };
        let (messages, inbox) = mpsc::channel();
        let seen = messages.clone();
        let handler = move |event: notify::Result<Event>| {
            // Kept from the thread altogether: what it does upon an event is itself reading.
            if event.as_ref().is_ok_and(is_reading) {
                return;
            }
            // The receiver is gone only while the watcher is being dropped.
            let _ = seen.send(Message::Seen(event));
        };
        let watcher = match notify::recommended_watcher(handler) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the repository cannot be watched: it is looked at in intervals only");
                return Ok(None);
            }
        };
        let mut watches = Watches {
            git: path.clone(),
            repository: path,
            watcher,
            armed: HashMap::new(),
        };
        // Armed before this returns: the caller's first look comes after it, so nothing falls between.
        watches.arm();
        let thread = std::thread::Builder::new()
            .name("source-watcher".to_owned())
            .spawn(move || run(watches, &inbox, &on_wake));
        match thread {
            Ok(thread) => Ok(Some(Self {
                messages,
                thread: Some(thread),
            })),
            Err(error) => {
                tracing::warn!(%error, "no thread for watching the repository: it is looked at in intervals only");
                Ok(None)
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // A thread that is gone already needs no message.
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut watches: Watches, inbox: &Receiver<Message>, on_wake: &impl Fn()) {
    loop {
        let mut wake = false;
        match inbox.recv_timeout(CHECK) {
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Message::Seen(event)) => wake = watches.concerns(&event),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // A push is many events: what came meanwhile is the same wake-up.
        loop {
            match inbox.try_recv() {
                Ok(Message::Stop) => return,
                Ok(Message::Seen(event)) => wake |= watches.concerns(&event),
                Err(_) => break,
            }
        }
        // Arming comes before the wake-up: what changes after the look that follows is seen by a watch.
        wake |= watches.arm();
        if wake {
            on_wake();
        }
    }
}

/// What is watched at the moment.
struct Watches {
    repository: PathBuf,
    /// Where its refs are, as it was found when it was armed.
    git: PathBuf,
    watcher: RecommendedWatcher,
    /// Each watched folder, with the device and inode that it had.
    armed: HashMap<PathBuf, (u64, u64)>,
}

impl Watches {
    /// Watches whatever exists now and is not watched yet. Returns whether a folder of the repository is new.
    fn arm(&mut self) -> bool {
        if identity(&self.git).is_none_or(|id| self.armed.get(&self.git) != Some(&id)) {
            self.git = self.find_git_dir();
        }
        let mut new = false;
        for (folder, mode) in targets(&self.repository, &self.git) {
            let id = identity(&folder);
            if self.armed.get(&folder).copied() == id {
                continue;
            }
            if self.armed.remove(&folder).is_some() {
                // The kernel may have dropped the watch along with the folder.
                let _ = self.watcher.unwatch(&folder);
            }
            let Some(id) = id else { continue };
            match self.watcher.watch(&folder, mode) {
                Ok(()) => {
                    new |= folder.starts_with(&self.git);
                    self.armed.insert(folder, id);
                }
                Err(error) => {
                    tracing::debug!(%error, folder = %folder.display(), "not watched; it is tried again");
                }
            }
        }
        new
    }

    /// Where the refs are: of a work tree not in the folder itself, of a linked one not even below it.
    fn find_git_dir(&self) -> PathBuf {
        let nowhere: [&Path; 0] = [];
        match Repository::open_ext(&self.repository, RepositoryOpenFlags::NO_SEARCH, nowhere) {
            Ok(repo) => repo.commondir().to_owned(),
            // A kind that libgit2 cannot open, or none yet.
            Err(_) => {
                let inner = self.repository.join(".git");
                if inner.is_dir() {
                    inner
                } else {
                    self.repository.clone()
                }
            }
        }
    }

    fn concerns(&self, event: &notify::Result<Event>) -> bool {
        match event {
            Ok(event) => concerns(event, &self.repository, &self.git),
            // Something was lost: look.
            Err(_) => true,
        }
    }
}

/// The folders whose events say that refs changed or that the repository came or went.
fn targets(repository: &Path, git: &Path) -> Vec<(PathBuf, RecursiveMode)> {
    let mut targets = vec![
        (git.to_owned(), RecursiveMode::NonRecursive),
        (git.join("refs"), RecursiveMode::NonRecursive),
        (git.join("refs/heads"), RecursiveMode::Recursive),
        (git.join("reftable"), RecursiveMode::NonRecursive),
    ];
    for parent in [repository.parent(), git.parent()].into_iter().flatten() {
        if !targets.iter().any(|(target, _)| target == parent) {
            targets.push((parent.to_owned(), RecursiveMode::NonRecursive));
        }
    }
    targets
}

/// What tells a folder from one that was made anew at its path.
fn identity(folder: &Path) -> Option<facts::Identity> {
    fs::metadata(folder).ok().map(|meta| facts::identity(&meta))
}

/// Whether an event is what a look at the repository causes itself: opening, reading, closing.
fn is_reading(event: &Event) -> bool {
    matches!(event.kind, EventKind::Access(_))
}

/// Whether an event may mean that refs changed.
fn concerns(event: &Event, repository: &Path, git: &Path) -> bool {
    event.need_rescan()
        || event.paths.iter().any(|path| {
            path.starts_with(git.join("refs"))
                || path.starts_with(git.join("reftable"))
                || [&git.join("HEAD"), &git.join("packed-refs"), git, repository].contains(&path.as_path())
        })
}

#[cfg(test)]
mod tests {
    use notify::event::{AccessKind, AccessMode, CreateKind};

    use super::*;

    #[test]
    fn only_changes_of_refs_and_of_the_repository_itself_wake() {
        let (repository, git) = (Path::new("/srv/work"), Path::new("/srv/work/.git"));
        let created = |path: &str| Event::new(EventKind::Create(CreateKind::File)).add_path(path.into());
        for path in [
            "refs/heads/main",
            "refs/heads/a/b",
            "HEAD",
            "packed-refs",
            "reftable/x.ref",
            "",
        ] {
            assert!(
                concerns(&created(&format!("/srv/work/.git/{path}")), repository, git),
                "{path}"
            );
        }
        for path in [
            "/srv/work/config.toml",
            "/srv/work/.git/index",
            "/srv/work/.git/objects/pack/x",
            "/srv/other",
        ] {
            assert!(!concerns(&created(path), repository, git), "{path}");
        }
        assert!(concerns(&created("/srv/work"), repository, git));
    }

    #[test]
    fn reading_wakes_nobody() {
        let kinds = [
            AccessKind::Open(AccessMode::Any),
            AccessKind::Close(AccessMode::Read),
            AccessKind::Read,
        ];
        for kind in kinds {
            let event = Event::new(EventKind::Access(kind)).add_path("/srv/x.git/refs/heads/main".into());
            assert!(is_reading(&event));
        }
    }
}
