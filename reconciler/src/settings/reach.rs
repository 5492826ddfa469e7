//! Where the reconciler of a settings file is reached: all that most commands need to know, and all that they ask of the
//! file. A mistake in it must not keep anybody from asking a reconciler that runs on what it read before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{Settings, SettingsError, absolute, read_text};

/// The file of the state folder that names the settings which its reconciler was started with.
pub const SETTINGS: &str = "settings.path";

/// Where the reconciler of a settings file is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The file.
    pub file: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// How long services may take to end, where the file can tell.
    pub stop_within: Option<Duration>,
    /// How long a rollout may take there and back, where the file can tell.
    pub rollout_within: Option<Duration>,
    /// Why the file cannot be used as it lies there, if it cannot.
    pub unusable: Option<String>,
}

impl Reach {
    /// Reads what can be read of a settings file.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged so that its state folder is not known.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let file = absolute(path)?;
        let text = read_text(&file)?;
        Ok(match Settings::resolve(&file, &text, false) {
            Ok(settings) => Self::of(&settings),
            // Where it is not certain which reconciler is meant, none is asked: it could be another one.
            Err(error) => match state_path(&text) {
                Some((state, certain)) if certain || runs_on(&beside(&file, &state), &file) => Self {
                    state: beside(&file, &state),
                    file,
                    stop_within: None,
                    rollout_within: None,
                    unusable: Some(error.to_string()),
                },
                Some(_) | None => return Err(error),
            },
        })
    }

    /// That of settings which can be used.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let within = settings.services.iter().map(super::Service::stop_within);
        Self {
            file: settings.file.clone(),
            state: settings.state.clone(),
            stop_within: Some(within.max().unwrap_or_default()),
            rollout_within: Some(rollout_within(settings)),
            unusable: None,
        }
    }
}

/// The longest that a rollout may take: its members are asked before the switch, told and then restarted after it, and
/// all that once more on the way back.
fn rollout_within(settings: &Settings) -> Duration {
    let longest = |of: fn(&super::Service) -> Duration| settings.services.iter().map(of).max();
    let verify = longest(|service| service.verify.within).unwrap_or_default();
    let stop = longest(super::Service::stop_within).unwrap_or_default();
    settings.rollout.bake + verify * 6 + stop * 2
}

fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).join(path)
}

/// Whether the last reconciler of a state folder was started with this file.
fn runs_on(state: &Path, file: &Path) -> bool {
    std::fs::read_to_string(state.join(SETTINGS)).is_ok_and(|named| {
        let named = std::fs::canonicalize(named.trim_end());
        named.is_ok_and(|named| std::fs::canonicalize(file).is_ok_and(|file| file == named))
    })
}

/// `state.path` of a text that need not be TOML everywhere, and whether it is certain: in a damaged text it may be hidden
/// or cut off.
fn state_path(text: &str) -> Option<(String, bool)> {
    let (table, mistakes) = DeTable::parse_recoverable(text);
    let path = match table.get_ref().get("state").map(|state| state.get_ref()) {
        Some(DeValue::Table(state)) => match state.get("path").map(|path| path.get_ref()) {
            Some(DeValue::String(path)) if !path.is_empty() => path.clone().into_owned(),
            Some(_) => return None,
            None => super::written::STATE.to_owned(),
        },
        Some(_) => return None,
        None => super::written::STATE.to_owned(),
    };
    Some((path, mistakes.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::{Reach, state_path};

    #[test]
    fn the_state_folder_is_found_in_a_file_with_any_mistake() {
        let broken = [
            "[source\nurl = 'x'\n[state]\npath = 'here'\n",
            "[source]\nurl = \n\n[state]\npath = 'here'\n",
            "[source]\nurl = 'never closed\n[volume]\npath = 3\n[state]\npath = 'here'\n",
            "[state]\npath = 'here'\nfoo = = 1\n",
            "[state]\npath = 'here'\n[[service]]\nname = \"a\nreads = [\"b\"\n",
        ];
        let uncertain = |path: &str| Some((path.to_owned(), false));
        for text in broken {
            assert_eq!(state_path(text), uncertain("here"), "{text}");
        }
        for text in ["", "[volume]\npath = 3\n", "[state]\n", "[[service]]\nname = 3\n"] {
            assert_eq!(state_path(text), Some(("./state".to_owned(), true)), "{text}");
        }
        for text in [
            "[source]\nurl = \"\"\"x\"\n[state]\npath = 'here'\n",
            "[source]\nurl = x y\n",
        ] {
            assert_eq!(state_path(text), uncertain("./state"), "{text}");
        }
        for text in ["[state]\npath = 3\n", "state = 3\n"] {
            assert_eq!(state_path(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_and_the_rest_is_known() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("lockstep.toml");
        std::fs::write(&file, "[state]\npath = 'there'\n[volume]\nkeep = 1\n").expect("it can be written");
        let reach = Reach::read(&file).expect("it can be read");
        assert_eq!(reach.state, folder.path().join("there"));
        assert!(
            reach
                .unusable
                .expect("it has mistakes")
                .contains("cannot be understood")
        );
        assert_eq!(reach.stop_within, None);
    }
}
