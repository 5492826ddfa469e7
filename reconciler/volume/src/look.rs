//! Looking without changing: each function names its path in its error and takes "is not there" as an answer.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::FileError;

/// Takes "not found", also below something that is no directory, as an answer.
fn found<T>(doing: &'static str, path: &Path, looked: Result<T, Error>) -> Result<Option<T>, FileError> {
    match looked {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(FileError::from_std(doing, path, &error)),
    }
}

/// What lies at a path itself, links not followed.
pub(crate) fn meta(path: &Path) -> Result<Option<Metadata>, FileError> {
    found("look at", path, std::fs::symlink_metadata(path))
}

/// Whether anything lies at a path.
pub(crate) fn exists(path: &Path) -> Result<bool, FileError> {
    meta(path).map(|meta| meta.is_some())
}

/// Where a symbolic link points; none when there is nothing or something else.
pub(crate) fn link(path: &Path) -> Result<Option<PathBuf>, FileError> {
    match std::fs::read_link(path) {
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(None),
        looked => found("read the link", path, looked),
    }
}

/// A file's contents.
pub(crate) fn file(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    found("read", path, std::fs::read(path))
}

/// The names in a directory, sorted.
pub(crate) fn names(path: &Path) -> Result<Vec<OsString>, FileError> {
    let list = || -> Result<Vec<OsString>, Error> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.file_name());
        }
        names.sort();
        Ok(names)
    };
    list().map_err(|error| FileError::from_std("list the folder", path, &error))
}
