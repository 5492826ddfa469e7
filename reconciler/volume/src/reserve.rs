//! A little space held back for the way back: a disk that became full during a rollout must not keep the
//! previous release from being restored, which needs no more than a few links.

use crate::error::FileError;
use crate::volume::Volume;
use crate::{look, ops};

/// How many files hold space back: each frees an inode too.
const FILES: usize = 4;
/// How much each holds.
const BYTES: usize = 16 * 1024;

impl Volume {
    /// Makes the files that are not there.
    pub(crate) fn fill_reserve(&self) -> Result<(), FileError> {
        for number in 1..=FILES {
            let path = self.at.term(self.term).join(format!("reserve-{number}"));
            if !look::exists(&path)? {
                // Their bytes must really be allocated, which zeros may not be everywhere.
                ops::write_new(&path, &[0x4c; BYTES], 0o600)?;
            }
        }
        Ok(())
    }

    /// Gives the space back to the file system. Returns whether there was any.
    pub(crate) fn spend_reserve(&self) -> bool {
        let mut spent = false;
        for number in 1..=FILES {
            spent |= ops::unlink(&self.at.term(self.term).join(format!("reserve-{number}"))).is_ok();
        }
        if spent {
            tracing::warn!(volume = %self.at.root().display(), "the volume is full: the space held back is used");
        }
        spent
    }
}
