//! Putting the small things right that a killed process or a power cut leaves in the mirror's folder, each of
//! which would make every later fetch fail: lock files, unfinished packs, refs without contents.
//!
//! It goes by what git documents of these files, and never touches objects. A mirror belongs to one process: whoever
//! else has it open was killed, or hangs and was taken over from, and the locks that it held are nobody's any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::mirror::KEPT;

/// A pack this old that is still unfinished belongs to a process that died.
const STALE_PACK: Duration = Duration::from_secs(3600);

/// What is said of a file that is taken away.
const SWEPT: &str = "removed what a killed process had left in the mirror";

/// Mends what can be mended without looking at objects. What fails here is met again, with a message, by
/// whoever needs the file.
pub(crate) fn after_a_crash(dir: &Path) {
    for path in files(dir).filter(|path| is_lock(path)) {
        remove(&path, SWEPT);
    }
    // libgit2 writes a pack under a name without extension, and renames it when it is whole.
    for path in files(&dir.join("objects/pack")).filter(|path| path.extension().is_none()) {
        sweep(&path, STALE_PACK);
    }
    let head = dir.join("HEAD");
    if fs::read(&head).is_ok_and(|contents| !contents.starts_with(b"ref: refs/")) {
        remove(
            &head,
            "the mirror's HEAD had lost its contents: it is written again",
        );
    }
    let mut folders = vec![dir.join("refs")];
    while let Some(folder) = folders.pop() {
        folders.extend(entries(&folder).filter(|path| path.is_dir()));
        for path in files(&folder) {
            if is_lock(&path) {
                remove(&path, SWEPT);
            } else {
                mend_ref(dir, &path);
            }
        }
    }
}

/// A ref holds an id. One of a kept revision has it in its name as well; another is given up, and fetched again.
fn mend_ref(dir: &Path, path: &Path) {
    if fs::read(path).map_or(true, |contents| is_id(contents.trim_ascii())) {
        return;
    }
    let name = path
        .strip_prefix(dir)
        .ok()
        .and_then(Path::to_str)
        .unwrap_or_default();
    match name.strip_prefix(KEPT).filter(|id| is_id(id.as_bytes())) {
        Some(id) => match fs::write(path, format!("{id}\n")) {
            Ok(()) => {
                tracing::warn!(%name, "a kept revision's ref had lost its contents: it is written again");
            }
            Err(error) => tracing::warn!(%name, %error, "a kept revision's ref has lost its contents"),
        },
        None => remove(
            path,
            "a ref of the mirror had lost its contents: it is fetched again",
        ),
    }
}

fn is_id(contents: &[u8]) -> bool {
    contents.len() == 40 && contents.iter().all(u8::is_ascii_hexdigit)
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

fn sweep(path: &Path, age: Duration) {
    let written = fs::metadata(path).and_then(|meta| meta.modified());
    if written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|past| past > age)) {
        remove(path, SWEPT);
    }
}

fn remove(path: &Path, said: &str) {
    match fs::remove_file(path) {
        Ok(()) => tracing::warn!(path = %path.display(), "{said}"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "cannot be removed from the mirror"),
    }
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    entries(folder).filter(|path| path.is_file())
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}
