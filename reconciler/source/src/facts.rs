//! What the system says of a file besides its contents. The mirror is read wherever people edit, so this is the one
//! place that asks which system it is.

use std::fs::Metadata;

/// What tells that a file was replaced or changed. Only good for comparing.
pub(crate) type Changed = (u64, u64, (i64, i64));

/// What tells a folder from another one at the same path.
pub(crate) type Identity = (u64, u64);

#[cfg(unix)]
mod system {
    use std::os::unix::fs::MetadataExt as _;

    use super::{Changed, Identity, Metadata};

    /// With the time of a change of owner or mode: `chmod 600` mends a key that was too open.
    pub(crate) fn changed(meta: &Metadata) -> Changed {
        (meta.ino(), meta.size(), (meta.ctime(), meta.ctime_nsec()))
    }

    pub(crate) fn identity(meta: &Metadata) -> Identity {
        (meta.dev(), meta.ino())
    }

    /// The mode of our own file that others may read or write. One of somebody else's, as a volume of secrets has
    /// them, cannot be made tighter by us.
    pub(crate) fn too_open(meta: &Metadata) -> Option<u32> {
        let ours = meta.uid() == rustix::process::geteuid().as_raw();
        (ours && meta.mode() & 0o077 != 0).then(|| meta.mode() & 0o7777)
    }
}

/// Where there are no inodes and no modes: by the times. Nothing is fetched there but what lies on the machine.
#[cfg(not(unix))]
mod system {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::{Changed, Identity, Metadata};

    fn nanoseconds(time: std::io::Result<SystemTime>) -> u64 {
        let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn changed(meta: &Metadata) -> Changed {
        (nanoseconds(meta.modified()), meta.len(), (0, 0))
    }

    pub(crate) fn identity(meta: &Metadata) -> Identity {
        (nanoseconds(meta.created()), 0)
    }

    pub(crate) fn too_open(_: &Metadata) -> Option<u32> {
        None
    }
}

pub(crate) use system::{changed, identity, too_open};
