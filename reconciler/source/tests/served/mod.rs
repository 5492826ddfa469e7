//! A repository behind git's own HTTP backend and real TLS, followed by a mirror.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstep_protocol::Revision;
use lockstep_source::testing::{Authority, GitHttps, Origin};
use lockstep_source::{Access, Bounds, Head, Mirror, Next, SourceSpec};
use tempfile::TempDir;

/// A repository behind a server that a CA vouches for, and a mirror that trusts that CA.
pub(crate) struct Served {
    pub(crate) mirror: Mirror,
    pub(crate) server: GitHttps,
    pub(crate) authority: Authority,
    pub(crate) origin: Origin,
    pub(crate) first: Revision,
    pub(crate) folder: TempDir,
}

pub(crate) fn served() -> Served {
    served_with(|_, access| access)
}

/// The same, with more in its access. Files go into the folder.
pub(crate) fn served_with(access: impl FnOnce(&Path, Access) -> Access) -> Served {
    let folder = TempDir::new().unwrap();
    let origin = Origin::new();
    let first = origin.publish_file("config/config.toml", "a = 1\n");
    let authority = Authority::new();
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let server = GitHttps::serve(
        origin.bare().parent().unwrap(),
        &authority.certify(&["localhost"]),
    );
    let trusting = Access {
        ca_file: Some(folder.path().join("ca.pem")),
        ..Access::default()
    };
    let spec = SourceSpec {
        access: access(folder.path(), trusting),
        // Short where something hangs; a busy machine needs some time for everything else.
        bounds: Bounds::with_steps_of(Duration::from_secs(3)),
        ..SourceSpec::new(server.url("origin.git"), "main").publishing("config")
    };
    let mirror = Mirror::open(folder.path().join("mirror.git"), spec).unwrap();
    Served {
        mirror,
        server,
        authority,
        origin,
        first,
        folder,
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn secret(folder: &Path, name: &str, contents: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

impl Served {
    /// Looks in vain, and gives the code and the message.
    #[track_caller]
    pub(crate) fn refused(&self) -> (&'static str, String) {
        let error = self.mirror.list_head().unwrap_err();
        assert_eq!(error.next(), Next::Retry, "{error}");
        (error.code(), error.to_string())
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, code: &str, words: &[&str]) {
        let (given, message) = self.refused();
        assert_eq!(given, code, "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in: {message}");
        }
    }

    #[track_caller]
    pub(crate) fn assert_mended(&self) {
        assert_eq!(
            self.mirror.list_head().unwrap(),
            Head::Revision(self.first.clone())
        );
    }
}
