//! What changing a key takes: a reload, which is the rule, or a restart.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::document::{KeyPath, Part, split_dots};

/// Which of the services that read a key must restart when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// Each of them.
    All,
    /// These, if they read it.
    Services(BTreeSet<String>),
}

impl Restart {
    /// Whether a service is among them.
    #[must_use]
    pub fn concerns(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Services(services) => services.contains(service),
        }
    }

    /// `"restart"` or `{ "restart": [...] }`, as `x-lockstep-effect` says it; nothing else.
    pub(super) fn from_schema(value: &Value) -> Option<Self> {
        match value {
            Value::String(word) => (word == "restart").then_some(Self::All),
            Value::Object(one) if one.len() == 1 => Self::from_policy(one.get("restart")?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// `true` or a list of services, as `[[effect]]` says it; nothing else.
    pub(super) fn from_policy(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(true) => Some(Self::All),
            Value::Array(services) => {
                let services: Option<_> = services
                    .iter()
                    .map(|name| name.as_str().map(str::to_owned))
                    .collect();
                services.map(Self::Services)
            }
            Value::Null | Value::Bool(false) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
        }
    }
}

/// Keys as the policy names them: `ibkr.host`, `strategy.*.min_rsi`. What lies below a named key is meant too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Any,
}

impl KeyPattern {
    /// Takes dotted keys in which `*` stands for any one key or list entry.
    ///
    /// # Errors
    /// With a phrase that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let steps = split_dots(text).into_iter().map(|piece| {
            if piece.trim() == "*" {
                return Ok(Step::Any);
            }
            let path: KeyPath = piece.parse().map_err(|error| format!("{error}"))?;
            if let [Part::Key(key)] = path.parts() {
                Ok(Step::Key(key.clone()))
            } else {
                Err(format!("{text:?} is not a key path: a list entry is written `*`"))
            }
        });
        Ok(Self(steps.collect::<Result<_, _>>()?))
    }

    /// Whether a key is one of those named, or lies below one.
    #[must_use]
    pub fn covers(&self, path: &KeyPath) -> bool {
        path.parts().len() >= self.0.len()
            && self
                .0
                .iter()
                .zip(path.parts())
                .all(|(step, part)| match (step, part) {
                    (Step::Any, _) => true,
                    (Step::Key(wanted), Part::Key(key)) => wanted == key,
                    (Step::Key(_), Part::Index(_)) => false,
                })
    }

    /// Whether a key is covered, or is a table or list that holds a covered one.
    #[must_use]
    pub fn meets(&self, path: &KeyPath) -> bool {
        let depth = path.parts().len();
        self.covers(path) || (depth < self.0.len() && Self(self.0[..depth].to_vec()).covers(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> KeyPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_covers_what_lies_below_it() {
        let pattern = KeyPattern::parse("ibkr").unwrap();
        assert!(pattern.covers(&path("ibkr")) && pattern.covers(&path("ibkr.host")));
        assert!(!pattern.covers(&path("ibkrs")));
        let any = KeyPattern::parse("strategy.*.min_rsi").unwrap();
        assert!(any.covers(&path("strategy.high_base.min_rsi")));
        assert!(!any.covers(&path("strategy.high_base")));
        assert!(any.meets(&path("strategy.high_base")) && !any.meets(&path("trading")));
    }

    #[test]
    fn a_pattern_that_is_no_key_path_is_refused() {
        assert!(KeyPattern::parse("a..b").is_err());
        assert!(KeyPattern::parse("").is_err());
        assert!(KeyPattern::parse("a[0]").is_err());
    }

    #[test]
    fn only_the_two_forms_of_an_effect_are_known() {
        assert_eq!(Restart::from_schema(&json!("restart")), Some(Restart::All));
        let orchestrator = Restart::from_schema(&json!({"restart": ["orchestrator"]})).unwrap();
        assert!(orchestrator.concerns("orchestrator") && !orchestrator.concerns("scanner"));
        for wrong in [
            json!("reload"),
            json!({}),
            json!({"restart": [1]}),
            json!(true),
            json!(null),
        ] {
            assert_eq!(Restart::from_schema(&wrong), None, "{wrong}");
        }
    }
}
