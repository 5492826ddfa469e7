//! Putting hooks beside what is there, and taking them away again.
//!
//! The hook that was there is moved aside by one rename and comes back by one rename: its bytes are never touched.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::super::{Failure, SettingsFile, output};
use super::place::Place;
use super::script::{is_ours, script};
use super::{Install, Kind, Uninstall, Which};

/// What is at a hook's place.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    Another,
}

pub(super) fn install(install: Install, settings: &SettingsFile) -> Result<(), Failure> {
    let place = Place::of(&install.dir)?;
    let kinds = chosen(&install.which, &place)?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::refused(format!("the path of this program is not known: {error}")))?;
    let spec = settings.find()?.map(|settings| settings.source.spec);
    let branch = install
        .branch
        .or_else(|| spec.as_ref().map(|spec| spec.branch.clone()));
    let path = install.path.or_else(|| spec.map(|spec| spec.path));
    let mut arguments = Vec::new();
    for (name, value) in [("--branch", branch), ("--path", path)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            arguments.extend([name.to_owned(), value]);
        }
    }
    let unclear = kinds.iter().find(|kind| {
        found(&place.file(**kind)).is_ok_and(|found| found == Found::Another) && exists(&place.before(**kind))
    });
    if let Some(kind) = unclear {
        let (file, before) = (place.file(*kind), place.before(*kind));
        return Err(Failure::refused(format!(
            "{} is not Lockstep's any more, and {} is still there from before: keep one of the two under the first name, \
             remove the other, and try again",
            file.display(),
            before.display()
        )));
    }
    std::fs::create_dir_all(&place.folder).map_err(|error| failed("made", &place.folder, &error))?;
    for kind in kinds {
        let file = place.file(kind);
        let was = found(&file)?;
        if was == Found::Another {
            let before = place.before(kind);
            std::fs::rename(&file, &before).map_err(|error| failed("moved aside", &file, &error))?;
        }
        if let Err(error) = put(&file, &script(kind, &program, &arguments)) {
            // Nothing is better than half of it.
            if was == Found::Another {
                let _ = std::fs::rename(place.before(kind), &file);
            }
            return Err(failed("written", &file, &error));
        }
        let beside = match was {
            Found::Nothing => "installed".to_owned(),
            Found::Ours => "is up to date".to_owned(),
            Found::Another => format!(
                "installed; the hook that was there is kept as {} and asked first",
                place.before(kind).display()
            ),
        };
        output::line(format_args!("{}: {beside}", file.display()))?;
    }
    if place.is_tracked() {
        output::note(format_args!(
            "lockstep: {} lies in the work tree, by core.hooksPath: what was put there names this machine's program, so do \
             not commit it",
            place.folder.display()
        ));
    }
    Ok(())
}

pub(super) fn uninstall(uninstall: &Uninstall) -> Result<(), Failure> {
    let place = Place::of(&uninstall.dir)?;
    let named = uninstall.which.named();
    let kinds = if named.is_empty() {
        Kind::ALL.to_vec()
    } else {
        named
    };
    let mut removed = false;
    for kind in kinds {
        let (file, before) = (place.file(kind), place.before(kind));
        match found(&file)? {
            Found::Ours => {}
            Found::Nothing if exists(&before) => {}
            Found::Nothing => continue,
            Found::Another => {
                if exists(&before) {
                    return Err(Failure::refused(format!(
                        "{} is not Lockstep's any more, and {} is still there from before: keep one of the two under the \
                         first name and remove the other",
                        file.display(),
                        before.display()
                    )));
                }
                continue;
            }
        }
        removed = true;
        if exists(&before) {
            std::fs::rename(&before, &file).map_err(|error| failed("put back", &before, &error))?;
            output::line(format_args!("{}: the hook from before is back", file.display()))?;
        } else {
            std::fs::remove_file(&file).map_err(|error| failed("removed", &file, &error))?;
            output::line(format_args!("{}: removed", file.display()))?;
        }
    }
    if !removed {
        output::line(format_args!(
            "there is no hook of Lockstep in {}",
            place.folder.display()
        ))?;
    }
    Ok(())
}

/// The hooks that were asked for, or that fit the repository.
fn chosen(which: &Which, place: &Place) -> Result<Vec<Kind>, Failure> {
    let named = which.named();
    match (named.as_slice(), place.bare) {
        ([], true) => Ok(vec![Kind::Receive]),
        ([], false) => Ok(vec![Kind::Commit, Kind::Push]),
        (kinds, true) if kinds != [Kind::Receive] => Err(Failure::misuse(
            "this is a bare repository, in which nobody commits: only --pre-receive has a use here",
        )),
        _ => Ok(named),
    }
}

fn found(file: &Path) -> Result<Found, Failure> {
    match std::fs::read(file) {
        Ok(contents) if is_ours(&contents) => Ok(Found::Ours),
        Ok(_) => Ok(Found::Another),
        // A link that leads nowhere is somebody's as well.
        Err(error) if error.kind() == ErrorKind::NotFound && exists(file) => Ok(Found::Another),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(failed("read", file, &error)),
    }
}

fn exists(file: &Path) -> bool {
    file.symlink_metadata().is_ok()
}

/// Puts a program there whole: git may run it at any moment.
fn put(file: &Path, contents: &str) -> std::io::Result<()> {
    let folder: PathBuf = file.parent().unwrap_or(Path::new(".")).to_owned();
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(contents.as_bytes())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        beside
            .as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o755))?;
    }
    beside.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn failed(doing: &str, file: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format!("{} cannot be {doing}: {error}", file.display()))
}
