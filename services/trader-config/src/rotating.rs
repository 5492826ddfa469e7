//! A file of lines with bounds: how large it gets, and how many full ones are kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is set aside when it is full: `log` becomes `log.1`, `log.1` becomes `log.2`, and so on.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
    backups: u32,
}

impl Rotating {
    /// Opens the file to append to it.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub fn open(path: PathBuf, max_size_mb: u32, backups: u32) -> io::Result<Self> {
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            size,
            limit: u64::from(max_size_mb) * 1_000_000,
            backups,
        })
    }

    /// Appends a line, whole: if it does not fit any more, it is the first of a new file.
    ///
    /// # Errors
    /// When it cannot be written, or the full file cannot be set aside.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(length) > self.limit {
            self.set_aside()?;
        }
        self.size = self.size.saturating_add(length);
        self.file.write_all(line)
    }

    fn set_aside(&mut self) -> io::Result<()> {
        if self.backups == 0 {
            std::fs::remove_file(&self.path)?;
        }
        for number in (0..self.backups).rev() {
            // A gap in the row is no reason to stop: what is there moves up.
            let _ = std::fs::rename(self.backup(number), self.backup(number + 1));
        }
        self.file = append(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    /// The file itself, and those that were set aside, the newest first.
    fn backup(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_set_aside_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Rotating::open(path.clone(), 1, 2).unwrap();
        let read = |number: u32| std::fs::read(log_name(&path, number)).map(|text| text[0]).ok();
        for letter in b'a'..=b'd' {
            log.write(&vec![letter; 900_000]).unwrap();
        }
        assert_eq!(
            [read(0), read(1), read(2), read(3)],
            [Some(b'd'), Some(b'c'), Some(b'b'), None]
        );
        drop(log);
        // It goes on where it ended.
        let mut log = Rotating::open(path.clone(), 1, 0).unwrap();
        log.write(&[b'e'; 200_000]).unwrap();
        assert_eq!(read(0), Some(b'e'));
        assert_eq!(read(1), Some(b'c'));
    }

    fn log_name(path: &Path, number: u32) -> PathBuf {
        if number == 0 {
            path.to_owned()
        } else {
            path.with_extension(number.to_string())
        }
    }
}
