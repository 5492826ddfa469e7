//! Whether the mirror's packs are as they were written.
//!
//! libgit2 checks each object that it reads against its id. What it gives out *without* reading the object, the
//! size in a header, is checked by nobody: only the hash at the end of the pack covers it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use sha1::{Digest as _, Sha1};

use crate::SourceError;

/// How many bytes of hash end a pack.
const TRAILER: usize = 20;

/// Reads every pack once, in small pieces, and compares it with the hash at its end.
pub(crate) fn verify(mirror: &Path) -> Result<(), SourceError> {
    let folder = mirror.join("objects/pack");
    let failed = |path: &Path, e: io::Error| SourceError::MirrorIo {
        dir: path.to_owned(),
        doing: "verifying its packs",
        why: e.to_string(),
    };
    for entry in fs::read_dir(&folder).map_err(|e| failed(&folder, e))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "pack")
            && !is_whole(&path).map_err(|e| failed(&path, e))?
        {
            let why = format!("{} does not match the hash at its end", path.display());
            return Err(SourceError::Corrupt {
                dir: mirror.to_owned(),
                why,
            });
        }
    }
    Ok(())
}

fn is_whole(pack: &Path) -> io::Result<bool> {
    let mut file = File::open(pack)?;
    let Some(length) = file.metadata()?.len().checked_sub(TRAILER as u64) else {
        return Ok(false);
    };
    let mut hash = Sha1::new();
    let mut left = length;
    let mut piece = vec![0; 64 * 1024];
    while left > 0 {
        let want = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut piece[..want])?;
        if read == 0 {
            return Ok(false);
        }
        hash.update(&piece[..read]);
        left -= read as u64;
    }
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer)?;
    Ok(hash.finalize()[..] == trailer)
}
