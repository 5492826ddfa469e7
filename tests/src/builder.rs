//! Setting up a lab.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use lockstep_source::testing::{GitDaemon, Origin};

use crate::events::Follower;
use crate::keeper::Keeper;
use crate::lab::Lab;
use crate::{Service, programs};

/// How the reconciler reaches the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// By its path.
    Path,
    /// By a `file://` URL.
    File,
    /// By a `git daemon`.
    Daemon,
}

/// What a lab is to be.
#[derive(Debug)]
pub struct Builder {
    services: Vec<Service>,
    files: Vec<(String, Vec<u8>)>,
    remote: Remote,
    source: String,
    volume: String,
    rest: String,
    path: String,
    published: bool,
    started: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            files: Vec::new(),
            remote: Remote::Path,
            source: String::new(),
            volume: "path = \"volume\"\n".to_owned(),
            rest: String::new(),
            path: "config".to_owned(),
            published: true,
            started: true,
        }
    }
}

impl Builder {
    /// One more service; its table `[name]` in `config/config.toml` begins with `value = 1`.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// A file of the first commit, besides `config/config.toml`; or instead of it, under that name.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), contents.as_ref().to_owned()));
        self
    }

    /// How the repository is reached.
    #[must_use]
    pub fn remote(self, remote: Remote) -> Self {
        Self { remote, ..self }
    }

    /// More lines for `[source]`.
    #[must_use]
    pub fn source(mut self, lines: &str) -> Self {
        self.source.push_str(lines);
        self.source.push('\n');
        self
    }

    /// The lines of `[volume]` instead of the usual ones.
    #[must_use]
    pub fn volume(self, lines: &str) -> Self {
        Self {
            volume: format!("{lines}\n"),
            ..self
        }
    }

    /// Whole tables of the settings. Without a `[rollout]` among them pauses may take as long as they ever may:
    /// the machine of a test is busy.
    #[must_use]
    pub fn settings(mut self, tables: &str) -> Self {
        self.rest.push_str(tables);
        self.rest.push('\n');
        self
    }

    /// The folder of the repository that is published, instead of `config`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self
        }
    }

    /// Without a first commit, and so without a start.
    #[must_use]
    pub fn unpublished(self) -> Self {
        Self {
            published: false,
            started: false,
            ..self
        }
    }

    /// With a first commit, and no reconciler yet.
    #[must_use]
    pub fn unstarted(self) -> Self {
        Self {
            started: false,
            ..self
        }
    }

    /// Sets everything up: the first commit is published, the reconciler runs, and the commit settled.
    ///
    /// # Panics
    /// When that does not work.
    #[must_use]
    pub fn start(self) -> Lab {
        let folder = tempfile::Builder::new()
            .prefix("lab-")
            .tempdir()
            .expect("a temporary folder can be made");
        // A service that runs as another user has to reach its program.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("the folder is ours");
        let root: PathBuf = folder.path().canonicalize().expect("it was just made");
        let keeper = Keeper::of(&root);
        programs::install(&root.join("bin"));
        fs::create_dir(root.join("lab")).expect("the folder is new");
        let origin = Origin::at(&root);
        let daemon = (self.remote == Remote::Daemon).then(|| GitDaemon::serve(&root));
        let url = match (self.remote, &daemon) {
            (Remote::File, _) => format!("file://{}", origin.url()),
            (Remote::Daemon, Some(daemon)) => daemon.url("origin.git"),
            (Remote::Path | Remote::Daemon, _) => origin.url(),
        };
        let address = own_address();
        let rollout = if self.rest.contains("[rollout]") {
            ""
        } else {
            "[rollout]\npause_limit = \"2s\"\n"
        };
        let services: String = self.services.iter().map(Service::table).collect();
        let text = format!(
            "[source]\nurl = {url:?}\npath = {:?}\n{}\n[volume]\n{}\n[state]\npath = \"state\"\n\n{rollout}{}{services}",
            self.path,
            if self.source.contains("interval") {
                self.source.clone()
            } else {
                format!("interval = \"1s\"\n{}", self.source)
            },
            self.volume,
            self.rest,
        );
        let (bin, place) = (root.join("bin"), root.join("lab"));
        let fill = |text: &str| {
            text.replace("{bin}", &bin.to_string_lossy())
                .replace("{lab}", &place.to_string_lossy())
                .replace("{address}", &address.to_string())
        };
        fs::write(root.join("lockstep.toml"), fill(&text)).expect("the folder is ours");
        let sections: BTreeMap<_, _> = self
            .services
            .iter()
            .map(|service| (service.name().to_owned(), "value = 1".to_owned()))
            .collect();
        let lab = Lab {
            events: RefCell::new(Follower::new(root.join("state/events.jsonl"))),
            commands: RefCell::default(),
            sections: RefCell::new(sections),
            reconciler: RefCell::new(None),
            path: self.path,
            address,
            origin,
            _daemon: daemon,
            root,
            folder: Some(folder),
            _keeper: keeper,
        };
        if self.published {
            lab.write_sections();
            for (path, contents) in &self.files {
                let contents =
                    std::str::from_utf8(contents).map_or_else(|_| contents.clone(), |text| fill(text).into());
                lab.origin().write_file(path, contents);
            }
            let first = lab.origin().publish("The first configuration");
            if self.started {
                lab.start_reconciler();
                lab.wait_settled(&first);
            }
        }
        lab
    }
}

/// A loopback address that no other lab of this machine uses at this time: ports on it can be chosen freely.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = std::process::id().to_be_bytes();
    let second = u8::try_from(10 + number % 240).expect("it is below 250");
    Ipv4Addr::new(127, second, high, low.clamp(1, 254))
}
