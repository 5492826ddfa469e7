//! The services' output: a file that has grown is moved aside and begins anew.
//!
//! A service holds its output file open for as long as it lives, and there is no pipe in between that could break. So the file is
//! copied and then cut to nothing: whoever appends to it goes on at its beginning. What is written in the moment between
//! the last look and the cut is lost.
//!
//! Never while a rollout is under way: nothing is to be slow then because of a disk.

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};

use super::task::{Agent, Finished};
use crate::settings::Limits;

/// As much is copied between two looks whether to go on.
const CHUNK: usize = 64 * 1024;
/// After so many looks at which there was more to copy, it is cut all the same.
const LOOKS: usize = 8;

/// A file that is appended to by somebody who does not know of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// How large it and its predecessors may be.
    pub limits: Limits,
}

/// What became of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// It was small enough, or is not there.
    Small,
    /// It was moved aside.
    Yes,
    /// Somebody wanted quiet: it is tried again later.
    Disturbed,
}

impl Agent {
    /// Moves aside what has grown too large, one after the other, unless that is under way or a rollout is.
    pub(super) fn rotate_outputs(&mut self) {
        if self.rolling || self.rotating.is_some() {
            return;
        }
        let grown: Vec<_> = self
            .spec
            .outputs
            .iter()
            .filter(|output| is_grown(output))
            .cloned()
            .collect();
        if grown.is_empty() {
            return;
        }
        let quiet = Arc::new(AtomicBool::new(false));
        self.rotating = Some(Arc::clone(&quiet));
        self.work.spawn_blocking(move || {
            for output in &grown {
                match rotate(output, &quiet) {
                    Ok(Rotated::Small | Rotated::Yes) => {}
                    Ok(Rotated::Disturbed) => break,
                    // A full disk, most often: what is there stays.
                    Err(error) => {
                        tracing::warn!(file = %output.path.display(), %error, "an output file cannot be moved aside");
                    }
                }
            }
            Finished::Rotated
        });
    }

    /// A rollout begins, or the end: whatever is under way stops where it is.
    pub(super) fn leave_outputs_alone(&mut self) {
        if let Some(quiet) = &self.rotating {
            quiet.store(true, Ordering::Relaxed);
        }
    }
}

fn is_grown(output: &Output) -> bool {
    output
        .path
        .symlink_metadata()
        .is_ok_and(|facts| facts.is_file() && facts.len() > output.limits.max_size)
}

/// Moves a file's contents aside, if they are too many.
fn rotate(output: &Output, quiet: &AtomicBool) -> io::Result<Rotated> {
    if !is_grown(output) {
        return Ok(Rotated::Small);
    }
    // It may have been replaced since the look.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&output.path)?;
    if !file.metadata()?.is_file() {
        return Ok(Rotated::Small);
    }
    let aside = numbered(&output.path, "new");
    // A left-over of one that was killed.
    let _ = remove_file(&aside);
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.as_raw_mode())
        .open(&aside)?;
    let mut copied = 0;
    for _ in 0..LOOKS {
        let size = file.metadata()?.len();
        if size == copied {
            break;
        }
        if let Err(error) = append(&file, &mut copied, size, &mut copy, quiet) {
            remove_file(&aside)?;
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(Rotated::Disturbed),
                _ => Err(error),
            };
        }
    }
    // Killed from here on, what is in the file may be found twice, and nothing is lost.
    for number in (1..output.limits.keep).rev() {
        let (from, to) = (number.to_string(), (number + 1).to_string());
        match rename(numbered(&output.path, &from), numbered(&output.path, &to)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    rename(&aside, numbered(&output.path, "1"))?;
    // The last lines, and the cut right behind them.
    let size = file.metadata()?.len();
    match append(&file, &mut copied, size, &mut copy, &AtomicBool::new(false)) {
        Ok(()) => file.set_len(0)?,
        Err(error) => return Err(error),
    }
    Ok(Rotated::Yes)
}

/// Copies what lies between; interrupted when quiet is wanted.
fn append(file: &File, copied: &mut u64, to: u64, copy: &mut File, quiet: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while *copied < to {
        if quiet.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let wanted = usize::try_from(to - *copied).unwrap_or(CHUNK).min(CHUNK);
        let read = file.read_at(&mut buffer[..wanted], *copied)?;
        if read == 0 {
            break;
        }
        copy.write_all(&buffer[..read])?;
        *copied += u64::try_from(read).unwrap_or_default();
    }
    Ok(())
}

/// The file's name with something behind it.
fn numbered(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs::{read_dir, read_to_string, write};

    use super::*;

    fn output(folder: &Path, max_size: u64, keep: u32) -> Output {
        Output {
            path: folder.join("a.log"),
            limits: Limits { max_size, keep },
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_has_grown_is_moved_aside_and_its_writer_goes_on_at_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let output = output(folder.path(), 10, 2);
        let quiet = AtomicBool::new(false);
        assert_eq!(rotate(&output, &quiet).unwrap(), Rotated::Small);
        let mut writer = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&output.path)
            .unwrap();
        writer.write_all(b"0123456789").unwrap();
        assert_eq!(
            rotate(&output, &quiet).unwrap(),
            Rotated::Small,
            "not above it yet"
        );
        for round in 0..4 {
            writer
                .write_all(format!("{round}").repeat(200_000).as_bytes())
                .unwrap();
            assert_eq!(rotate(&output, &quiet).unwrap(), Rotated::Yes);
            assert_eq!(read_to_string(&output.path).unwrap(), "");
            writer.write_all(b"next").unwrap();
            assert_eq!(read_to_string(&output.path).unwrap(), "next", "no hole before it");
        }
        assert_eq!(names(folder.path()), ["a.log", "a.log.1", "a.log.2"]);
        let newest = read_to_string(numbered(&output.path, "1")).unwrap();
        assert_eq!(newest, format!("next{}", "3".repeat(200_000)));
        let older = read_to_string(numbered(&output.path, "2")).unwrap();
        assert_eq!(older, format!("next{}", "2".repeat(200_000)));
    }

    #[test]
    fn one_is_kept_where_one_is_to_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let output = output(folder.path(), 1, 1);
        for text in ["first", "second"] {
            write(&output.path, text).unwrap();
            assert_eq!(rotate(&output, &AtomicBool::new(false)).unwrap(), Rotated::Yes);
        }
        assert_eq!(names(folder.path()), ["a.log", "a.log.1"]);
        assert_eq!(read_to_string(numbered(&output.path, "1")).unwrap(), "second");
    }

    #[test]
    fn whoever_wants_quiet_has_it_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let output = output(folder.path(), 1, 3);
        write(&output.path, "text").unwrap();
        assert_eq!(
            rotate(&output, &AtomicBool::new(true)).unwrap(),
            Rotated::Disturbed
        );
        assert_eq!(names(folder.path()), ["a.log"]);
        assert_eq!(read_to_string(&output.path).unwrap(), "text");
    }

    #[test]
    fn what_a_killed_one_left_is_swept_and_what_is_no_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let output = output(folder.path(), 1, 3);
        write(numbered(&output.path, "new"), "half").unwrap();
        write(&output.path, "text").unwrap();
        assert_eq!(rotate(&output, &AtomicBool::new(false)).unwrap(), Rotated::Yes);
        assert_eq!(names(folder.path()), ["a.log", "a.log.1"]);
        remove_file(&output.path).unwrap();
        std::os::unix::fs::symlink("a.log.1", &output.path).unwrap();
        assert_eq!(rotate(&output, &AtomicBool::new(false)).unwrap(), Rotated::Small);
        assert_eq!(read_to_string(numbered(&output.path, "1")).unwrap(), "text");
    }
}
