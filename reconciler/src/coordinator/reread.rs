//! The settings are read again while the program runs.
//!
//! A start takes everything up as it is and touches nobody, so new settings are taken by beginning anew with them, in
//! the same process, once no rollout is under way. What cannot be used changes nothing, and says so.

use lockstep_core::rollout::Phase;

use super::{Coordinator, End};
use crate::events::Event as Record;
use crate::settings::Settings;

/// The alarm that settings which were read again cannot be used.
pub(super) const ALARM: &str = "settings";

impl Coordinator {
    /// Reads the settings file again.
    pub(super) fn read_settings(&mut self) {
        self.reread = false;
        let file = self.settings.file.clone();
        // Whoever only observes leaves what is stuck as it is, and shows nothing of it.
        let stuck = self
            .active
            .as_ref()
            .is_some_and(|active| matches!(active.rollout.phase, Phase::Stuck { .. }));
        let usable = read_again(&self.settings).and_then(|new| match stuck && new.rollout.observe {
            true => Err(
                "rollout.observe: a rollout is stuck, and observing would leave it so; it has to end first \
                         (`lockstep status` names who is silent)"
                    .to_owned(),
            ),
            false => Ok(new),
        });
        match usable {
            Ok(new) => {
                tracing::info!(file = %file.display(), "the settings were read again");
                self.alarms.remove(ALARM);
                self.settings_next = Some(Box::new(new));
                self.take_settings();
            }
            Err(reason) => {
                // What was read before is not what lies there now.
                self.settings_next = None;
                let message = refusal(&reason);
                self.events.append([Record {
                    message: message.clone(),
                    ..Record::new("Alarm")
                }]);
                self.alarms.insert(ALARM, message);
            }
        }
    }

    /// Begins anew with the settings that were read, unless a rollout is under way.
    pub(super) fn take_settings(&mut self) -> bool {
        // Stuck has no end of its own, and new settings may be the way out; a start takes it up again.
        let under_way = self
            .active
            .as_ref()
            .is_some_and(|active| !matches!(active.rollout.phase, Phase::Stuck { .. }));
        // A commit that is being made is told to whoever asked for it.
        let busy = under_way || self.recovering.is_some() || self.source.is_committing();
        if busy || self.down.is_some() {
            return false;
        }
        let Some(new) = self.settings_next.take() else {
            return false;
        };
        self.end = Some(End::Anew(new));
        true
    }
}

/// What is said of settings that are not taken.
pub fn refusal(reason: &str) -> String {
    format!("the settings were read again and cannot be used, the old ones stay: {reason}")
}

/// Reads the file again that these settings came from.
///
/// # Errors
/// Why what lies there now cannot take their place.
pub fn read_again(old: &Settings) -> Result<Settings, String> {
    let new = Settings::read_to_run(&old.file).map_err(|error| error.to_string())?;
    may_replace(old, &new).map(|()| new)
}

/// What a running reconciler cannot change: its guard and its services live with these folders.
fn may_replace(old: &Settings, new: &Settings) -> Result<(), String> {
    let moved = [
        ("[state] path", &old.state, &new.state),
        ("[volume] path", &old.volume.path, &new.volume.path),
    ];
    match moved.into_iter().find(|(_, old, new)| old != new) {
        Some((key, old, new)) => Err(format!(
            "{key} cannot change from {} to {} while services run: `lockstep down` first, then `lockstep run`",
            old.display(),
            new.display()
        )),
        None => Ok(()),
    }
}
