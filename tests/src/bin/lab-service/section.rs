//! The service's table in the document.

use serde::Deserialize;

/// What the service reads. An unknown key is refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    /// What it works with.
    pub(crate) value: i64,
    /// Refuse this configuration.
    #[serde(default)]
    pub(crate) refuse: bool,
    /// Accept it when it is offered, and refuse it afterwards.
    #[serde(default)]
    pub(crate) refuse_late: bool,
    /// Take this long before it is applied, in milliseconds.
    #[serde(default)]
    pub(crate) delay: u64,
    /// End at the start with this configuration.
    #[serde(default)]
    pub(crate) crash: bool,
    /// Fail the probe.
    #[serde(default)]
    pub(crate) unhealthy: bool,
    /// Begin to fail the probe this long afterwards, in milliseconds.
    #[serde(default)]
    pub(crate) sicken: Option<u64>,
    /// Go on saying at /release what was there before.
    #[serde(default)]
    pub(crate) lag: bool,
    /// Misbehave when asked to reload.
    #[serde(default)]
    pub(crate) behave: Behave,
    /// Misbehave when an offer is put.
    #[serde(default)]
    pub(crate) vote: Vote,
}

/// How the status is misused (style `hand`; `exit` and `raise` in style `plain` as well).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Behave {
    #[default]
    Well,
    /// Do nothing at all.
    Silent,
    /// Do nothing the first time that this is asked.
    SilentOnce,
    /// Do nothing, now and ever after, until a new process takes over.
    Stubborn,
    /// End with a status of its own.
    Exit,
    /// Die of the signal.
    Raise,
    /// Acknowledge the switch before.
    OldSwitch,
    /// Acknowledge a switch that is still to come.
    NextSwitch,
    /// Acknowledge another digest.
    OtherDigest,
    /// Speak with another instance's token.
    OtherToken,
    /// Say that an earlier switch was refused.
    RefuseEarlier,
    /// Leave half a document.
    Half,
    /// Put a named pipe in the status file's place.
    Fifo,
    /// Put a symbolic link there.
    Link,
    /// Put a folder there.
    Folder,
    /// Put something endless there.
    Huge,
}

/// How an offer is answered (style `hand`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Vote {
    #[default]
    Yes,
    No,
    Never,
    /// For another rollout.
    Astray,
}

/// The table of a service in a document's text.
pub(crate) fn read(text: &str, name: &str) -> Result<Section, String> {
    let mut document: toml::Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let table = document
        .remove(name)
        .ok_or_else(|| format!("there is no table [{name}]"))?;
    table
        .try_into()
        .map_err(|error: toml::de::Error| format!("[{name}]: {}", error.message()))
}

impl Section {
    /// Why this configuration is refused, if it is.
    pub(crate) fn refusal(&self, from: Option<i64>) -> Option<String> {
        if self.refuse {
            return Some("`refuse` is set".to_owned());
        }
        from.filter(|from| self.value >= *from)
            .map(|from| format!("`value` is {}, and must be below {from}", self.value))
    }
}
