//! Where the configuration lies, and what `current` points to at this moment.
//!
//! [`Place::look`] is cheap and opens nothing, so that looking never wakes a watcher of the folder.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use lockstep_protocol::{Offer, SwitchNumber, env};

use crate::{Refusal, Snapshot};

/// The document that is meant when nobody names another.
const DOCUMENT: &str = "config.toml";

/// What the environment (or the service's command line) says about where to find what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setting {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) document: Option<String>,
    pub(crate) status_file: Option<PathBuf>,
    pub(crate) offer_file: Option<PathBuf>,
    pub(crate) instance: Option<String>,
}

/// The environment does not say enough to take part, or contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// A status was asked for, but not of what.
    #[error("{status} is set but {config} is not: set it to the volume, or unset both to run without Lockstep", status = env::STATUS_FILE, config = env::CONFIG)]
    StatusWithoutVolume,
    /// A path that names no file.
    #[error(
        "{path:?} names no file: a path that ends in a UTF-8 name is expected, such as /etc/service/config.toml"
    )]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// A token that cannot be echoed in JSON.
    #[error("{instance} is {token:?}, but UTF-8 text is expected", instance = env::INSTANCE)]
    Token {
        /// The token.
        token: OsString,
    },
}

/// The variable that names one file, for services that also run without Lockstep.
pub(crate) const CONFIG_PATH: &str = "CONFIG_PATH";

impl Setting {
    /// Lays what the variables say over what is known already. Empty variables count as unset.
    pub(crate) fn read(&mut self, var: impl Fn(&str) -> Option<OsString>) -> Result<(), EnvError> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let file = var(CONFIG_PATH).map(PathBuf::from);
        let volume = var(env::CONFIG).map(PathBuf::from);
        if let Some(file) = &file {
            *self = Self::of_file(file)?;
        }
        if let Some(volume) = volume {
            let below = file.as_deref().and_then(|file| file.strip_prefix(&volume).ok());
            if let Some(document) = below.and_then(Path::to_str) {
                self.document = Some(document.to_owned());
            }
            self.folder = Some(volume);
            self.status_file = var(env::STATUS_FILE).map(PathBuf::from);
            self.offer_file = var(env::OFFER_FILE).map(PathBuf::from);
        } else if var(env::STATUS_FILE).is_some() {
            return Err(EnvError::StatusWithoutVolume);
        }
        if let Some(instance) = var(env::INSTANCE) {
            let token = instance
                .into_string()
                .map_err(|token| EnvError::Token { token })?;
            self.instance = Some(token);
        }
        Ok(())
    }

    /// One file and nothing else. Its folder is where everything is read.
    pub(crate) fn of_file(file: &Path) -> Result<Self, EnvError> {
        let (folder, document) = split(file).ok_or_else(|| EnvError::NoFile {
            path: file.to_owned(),
        })?;
        Ok(Self {
            folder: Some(folder.to_owned()),
            document: Some(document.to_owned()),
            ..Self::default()
        })
    }

    /// The place that this names; none when nobody named one.
    pub(crate) fn place(&self) -> Option<Place> {
        Some(Place {
            folder: self.folder.clone()?,
            document: self.document.clone().unwrap_or_else(|| DOCUMENT.to_owned()),
            supervised: self.status_file.is_some(),
        })
    }
}

/// The folder to load from: a volume, or a plain folder when nobody supervises.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    document: String,
    supervised: bool,
}

/// Takes a file's path apart into folder and name; none when it does not end in a UTF-8 name.
pub(crate) fn split(file: &Path) -> Option<(&Path, &str)> {
    let name = file.file_name()?.to_str()?;
    let folder = file.parent().filter(|parent| *parent != Path::new(""));
    Some((folder.unwrap_or(Path::new(".")), name))
}

/// What was there at one look. Two equal sightings mean that nothing moved in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// `current` was a link with this target. Numbers are never reused, so the target names one moment.
    Switch(PathBuf),
    /// There was no `current`: a plain folder, whose main document looked like this.
    Plain {
        /// The document's inode.
        inode: u64,
        /// Its size in bytes.
        size: u64,
        /// When it was last written: seconds and nanoseconds.
        modified: (i64, i64),
    },
    /// Neither was there, or it could not be seen.
    Nothing,
}

impl Sighting {
    /// The number of the switch, if that is what was seen.
    pub(crate) fn switch(&self) -> Option<SwitchNumber> {
        match self {
            Self::Switch(target) => target.file_name()?.to_str()?.parse().ok().map(SwitchNumber),
            Self::Plain { .. } | Self::Nothing => None,
        }
    }
}

impl Place {
    /// Looks where `current` points to.
    pub(crate) fn look(&self) -> Sighting {
        if let Ok(target) = std::fs::read_link(self.folder.join("current")) {
            let seen = Sighting::Switch(target);
            // A volume that is just being taken over still shows the files of before, under their own paths.
            if self.supervised || seen.switch().is_some() || !self.is_being_taken_over() {
                return seen;
            }
        }
        // A supervised service never takes a folder without `current` for its configuration.
        if self.supervised {
            return Sighting::Nothing;
        }
        match std::fs::metadata(self.folder.join(&self.document)) {
            Ok(seen) => Sighting::Plain {
                inode: seen.ino(),
                size: seen.size(),
                modified: (seen.mtime(), seen.mtime_nsec()),
            },
            Err(_) => Sighting::Nothing,
        }
    }

    fn is_being_taken_over(&self) -> bool {
        let mark = self.folder.join(".lockstep/adopting");
        std::fs::symlink_metadata(mark).is_ok_and(|mark| mark.is_symlink())
    }

    /// Opens what was seen.
    pub(crate) fn open(&self, seen: &Sighting) -> Result<Snapshot, Refusal> {
        match seen {
            Sighting::Switch(target) => {
                let Some(switch) = seen.switch() else {
                    let (folder, target) = (self.folder.display(), target.display());
                    return Err(Refusal::new(format!(
                        "{folder}/current points to {target}, but .lockstep/switches/<number> is expected: is {folder} a volume of Lockstep?"
                    )));
                };
                Snapshot::release_in(&self.folder.join(target), &self.document, Some(switch))
            }
            Sighting::Plain { .. } => Snapshot::plain(&self.folder, &self.document),
            Sighting::Nothing => Err(self.nothing()),
        }
    }

    /// Opens a release that is offered, which nothing points to yet.
    pub(crate) fn open_offered(&self, offer: &Offer) -> Result<Snapshot, Refusal> {
        let directory = Path::new(&offer.directory);
        if !directory
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            let text = format!(
                "the offer names the directory {:?}, which leads out of the volume",
                offer.directory
            );
            return Err(Refusal::new(text));
        }
        let snapshot = Snapshot::release_in(&self.folder.join(directory), &self.document, None)?;
        match snapshot.digest() {
            Some(found) if found == offer.digest => Ok(snapshot),
            Some(_) | None => {
                let text = format!("{} is not the release offered, {}", offer.directory, offer.digest);
                Err(Refusal::new(text))
            }
        }
    }

    fn nothing(&self) -> Refusal {
        let folder = self.folder.display();
        if self.supervised {
            let text = match std::fs::read_link(self.folder.join("current")) {
                Err(error) => format!(
                    "{folder}/current cannot be read: {error}; {} must name a volume on which something was published",
                    env::CONFIG
                ),
                Ok(_) => format!("{folder}/current was not there a moment ago"),
            };
            return Refusal::new(text);
        }
        let text = match std::fs::metadata(self.folder.join(&self.document)) {
            Err(error) => format!("cannot be read in {folder}: {error}"),
            Ok(_) => format!("was not in {folder} a moment ago"),
        };
        Refusal::new(text).in_file(&self.document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Setting, EnvError> {
        let mut setting = Setting::default();
        let var = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        setting.read(var).map(|()| setting)
    }

    #[test]
    fn a_document_below_the_volume_keeps_its_path() {
        let setting = read(&[
            ("LOCKSTEP_CONFIG", "/config"),
            ("CONFIG_PATH", "/config/live/a.toml"),
        ])
        .unwrap();
        assert_eq!(setting.folder.unwrap(), Path::new("/config"));
        assert_eq!(setting.document.unwrap(), "live/a.toml");
    }

    #[test]
    fn a_file_alone_is_enough() {
        let place = read(&[("CONFIG_PATH", "here.toml")]).unwrap().place().unwrap();
        assert_eq!(
            (place.folder.as_path(), place.document.as_str()),
            (Path::new("."), "here.toml")
        );
        assert!(!place.supervised);
    }

    #[test]
    fn a_status_file_without_a_volume_is_refused_and_an_empty_variable_counts_as_unset() {
        let error = read(&[("LOCKSTEP_STATUS_FILE", "/run/s"), ("LOCKSTEP_CONFIG", "")]).unwrap_err();
        assert!(error.to_string().contains("LOCKSTEP_CONFIG is not"), "{error}");
    }

    #[test]
    fn no_variable_at_all_names_no_place() {
        assert!(read(&[]).unwrap().place().is_none());
    }
}
