//! `[secrets]`: what else is a secret here, and what only looks like one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Reading;
use crate::diagnostic::Code;
use crate::document::KeyPath;
use crate::secret::Pattern;

/// What a policy says of secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Forms beyond the known ones.
    pub patterns: Vec<Pattern>,
    /// Fingerprints of values that are none.
    pub allow: BTreeSet<String>,
}

impl Secrets {
    /// Whether it refuses what another one let pass.
    #[must_use]
    pub fn asks_more_than(&self, other: &Self) -> bool {
        let new = |pattern| !other.patterns.contains(pattern);
        self.patterns.iter().any(new) || !other.allow.is_subset(&self.allow)
    }
}

impl Reading<'_> {
    pub(super) fn secrets(&mut self) -> Secrets {
        let table = KeyPath::root().key("secrets");
        let list = table.key("patterns");
        let mut patterns: Vec<Pattern> = Vec::new();
        for at in (0..self.entries(&list)).map(|at| list.index(at)) {
            let (name_key, regex_key) = (at.key("name"), at.key("regex"));
            let (Some((name, _)), Some((regex, _))) = (self.text(&name_key), self.text(&regex_key)) else {
                continue;
            };
            if Pattern::is_known(&name) || patterns.iter().any(|known| known.name == name) {
                let message = format!("there is a pattern `{name}` already");
                self.refuse(
                    Code::PatternInvalid,
                    &name_key,
                    message,
                    "give it a name of its own",
                );
                continue;
            }
            let pattern = Pattern { name, regex };
            match pattern.compile() {
                Ok(_) => patterns.push(pattern),
                Err(why) => {
                    let message = format!("pattern `{}` cannot be used: {why}", pattern.name);
                    let help = "it is a regular expression without look-around and back-references; where it has a \
                                group, the first one is the secret";
                    self.refuse(Code::PatternInvalid, &regex_key, message, help);
                }
            }
        }
        let allow = self.document.get(&table.key("allow")).and_then(Value::as_array);
        let allow = allow.into_iter().flatten().filter_map(Value::as_str);
        Secrets {
            patterns,
            allow: allow.map(str::to_owned).collect(),
        }
    }
}
