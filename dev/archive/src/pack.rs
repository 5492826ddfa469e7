//! The archive itself: the same files give the same bytes. Paths are in order, everybody's owner is root, every time
//! is the commit's, and the compression is that of a crate that `Cargo.lock` pins.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use crate::contents::Files;

/// What was written.
pub(crate) struct Packed {
    /// Where.
    pub(crate) path: PathBuf,
    /// How much.
    pub(crate) bytes: usize,
    /// Its checksum, which also lies beside it as `sha256sum --check` reads it.
    pub(crate) sha256: String,
}

/// Writes `NAME.tar.gz` with all files below a folder of that name, and `NAME.tar.gz.sha256`.
pub(crate) fn pack(out: &Path, name: &str, epoch: u64, files: &Files) -> Result<Packed, String> {
    let bytes =
        archive(name, epoch, files).map_err(|error| format!("the archive cannot be made: {error}"))?;
    let sha256 = sha256(&bytes);
    let file = format!("{name}.tar.gz");
    let path = out.join(&file);
    let write = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    write(&path, &bytes)?;
    write(
        &out.join(format!("{file}.sha256")),
        format!("{sha256}  {file}\n").as_bytes(),
    )?;
    Ok(Packed {
        path,
        bytes: bytes.len(),
        sha256,
    })
}

fn archive(name: &str, epoch: u64, files: &Files) -> std::io::Result<Vec<u8>> {
    // Neither a file name nor a time in the head, and the system named unknown.
    let compressed = GzBuilder::new()
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(compressed);
    for (path, file) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.bytes.len() as u64);
        header.set_mode(if file.program { 0o755 } else { 0o644 });
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{name}/{path}"), file.bytes.as_slice())?;
    }
    let mut compressed = tar.into_inner()?;
    compressed.flush()?;
    compressed.finish()
}

/// A checksum as everybody writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::File;

    fn file(text: &str, program: bool) -> File {
        File {
            bytes: text.as_bytes().to_vec(),
            program,
        }
    }

    #[test]
    fn an_archive_depends_on_names_contents_modes_and_the_given_time_alone() {
        let forward = Files::from([
            ("a".to_owned(), file("1", false)),
            ("bin/b".to_owned(), file("2", true)),
        ]);
        let backward = Files::from([
            ("bin/b".to_owned(), file("2", true)),
            ("a".to_owned(), file("1", false)),
        ]);
        let bytes = archive("x", 7, &forward).unwrap();
        assert_eq!(bytes, archive("x", 7, &backward).unwrap());
        assert_ne!(bytes, archive("x", 8, &forward).unwrap());

        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let entries = tar.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            (
                entry.path().unwrap().display().to_string(),
                header.mode().unwrap(),
                header.mtime().unwrap(),
                header.uid().unwrap(),
            )
        });
        let expected = [
            ("x/a".to_owned(), 0o644, 7, 0),
            ("x/bin/b".to_owned(), 0o755, 7, 0),
        ];
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }
}
