//! Emergency keys: what may change although a window is closed.

use serde_json::Value;

use crate::plan::{KeyChange, Plan};
use crate::reads::{Reads, ReadsError};

/// A key that may change, and to what.
#[derive(Debug, Clone)]
pub struct Emergency {
    key: Reads,
    to: Option<Vec<Value>>,
}

/// Why a key is none.
#[derive(Debug, thiserror::Error)]
pub enum EmergencyError {
    /// It is no path with a key.
    #[error("{0}")]
    Pattern(#[from] ReadsError),
    /// It names a file alone.
    #[error("{0:?} names no key; write for example \"config.toml#trading.mode\"")]
    NoKey(String),
    /// No value would be let through.
    #[error("`to` is empty: leave it out where every value counts")]
    NoValue,
}

impl Emergency {
    /// Takes a key as in `config.toml#trading.mode`, and the values that it may be set to; none: every value.
    ///
    /// # Errors
    /// When it is no key of a document, or there is a list of values and it is empty.
    pub fn new(key: &str, to: Option<Vec<Value>>) -> Result<Self, EmergencyError> {
        if key.split_once('#').is_none_or(|(_, key)| key.is_empty()) {
            return Err(EmergencyError::NoKey(key.to_owned()));
        }
        if to.as_ref().is_some_and(Vec::is_empty) {
            return Err(EmergencyError::NoValue);
        }
        Ok(Self {
            key: Reads::parse(&[key.to_owned()])?,
            to,
        })
    }

    fn covers(&self, change: &KeyChange) -> bool {
        let values = self.to.as_ref();
        self.key.holds(&change.path, &change.key)
            && values.is_none_or(|values| {
                let new = change.new.as_ref();
                new.is_some_and(|new| values.iter().any(|value| same(value, new)))
            })
    }
}

/// Whether a plan changes such keys, and nothing else that is published.
pub(super) fn covered(keys: &[Emergency], plan: &Plan) -> bool {
    plan.files.is_empty()
        && !plan.changes.is_empty()
        && plan
            .changes
            .iter()
            .all(|change| keys.iter().any(|key| key.covers(change)))
}

/// 1 and 1.0 are the same value.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        (_, _) => one == other,
    }
}
