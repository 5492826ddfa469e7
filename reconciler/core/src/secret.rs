//! Secrets that lie in a config repository: who finds them, and who keeps their values to himself.
//!
//! Everybody who reads the repository, the volume, or a report reads them as well, so a revision with one is refused,
//! and its value is shown nowhere: not by its own diagnostic, and not by others that quote what they speak of.
//!
//! A change brings its own files and patterns, so what looking takes is bounded: the text is looked at in pieces, only
//! for those known forms of which a piece has a hint, and never for more than [`MOST`] of one form in a file.

mod builtin;
mod hide;
mod scan;
mod telling;

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};
use regex::bytes::{Regex, RegexBuilder};
use sha2::{Digest, Sha256};

pub(crate) use hide::{Places, Words, kept};
pub use hide::{hidden, shown};
pub(crate) use scan::to_scan;
pub use scan::{Scanned, scan};

use builtin::{KNOWN, Known, PRIVATE_KEY, TELLING, URL_PASSWORD};

/// How many of one form are told of a file.
const MOST: usize = 100;
/// A text is looked at in pieces of this size, so that what a pattern may go through again is bounded.
const PIECE: usize = 64 << 10;
/// How long a secret is at most; so much of a piece is looked at again with the next one.
const LONGEST: usize = 8 << 10;
/// How large an expression of the policy may become.
const LARGEST_PATTERN: usize = 256 << 10;
/// How long a private key is at most.
const LONGEST_KEY: usize = 32 << 10;

/// A form that the policy names, beyond the known ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Its name, by which people speak of it.
    pub name: String,
    /// Its form, as the crate `regex` reads it; where there is a group, the group is the secret.
    pub regex: String,
}

/// Something in a file that looks like a secret. Its value is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of its form.
    pub pattern: Arc<str>,
    /// What it is, as a phrase.
    pub what: Arc<str>,
    /// Where it lies.
    pub span: Range<usize>,
    /// The name of the key that holds it, if one does.
    pub key: Option<String>,
    /// So much of it as may be shown.
    pub head: String,
    /// By which a policy allows this one value.
    pub fingerprint: String,
}

/// Looks for secrets of all known forms, and of those that policies name.
pub struct Scanner {
    own: Vec<(Arc<str>, Arc<str>, Regex)>,
}

struct Builtin {
    forms: Vec<Regex>,
    hints: AhoCorasick,
    /// By hint: the form; none for a word of a telling name.
    of: Vec<Option<usize>>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let form = |known: &Known| Regex::new(known.form).expect("a known form is a regular expression");
    let hinted = KNOWN.iter().enumerate();
    let (hints, of): (Vec<&str>, Vec<Option<usize>>) = hinted
        .flat_map(|(form, known)| known.hints.iter().map(move |hint| (*hint, Some(form))))
        .chain(telling::WORDS.iter().map(|word| (*word, None)))
        .unzip();
    let hints = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .build(hints)
        .expect("the hints are few");
    Builtin {
        forms: KNOWN.iter().map(form).collect(),
        hints,
        of,
    }
});

/// A place that a form matched, before it is told.
struct Match {
    /// Where it stands among all forms: the earlier one is told.
    rank: usize,
    whole: Range<usize>,
    secret: Range<usize>,
}

impl Pattern {
    /// The expression, within its bounds.
    ///
    /// # Errors
    /// Why it cannot be used, as a phrase.
    pub fn compile(&self) -> Result<Regex, String> {
        let regex = RegexBuilder::new(&self.regex)
            .size_limit(LARGEST_PATTERN)
            .dfa_size_limit(1 << 20)
            .nest_limit(50)
            .build();
        let regex = regex.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "it takes too much memory: repeat less, or smaller classes".to_owned()
            }
            // The expression itself is shown where it stands.
            error => {
                let said = error.to_string();
                let last = said.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        })?;
        if regex.is_match(b"") {
            return Err("it matches where there is nothing".to_owned());
        }
        Ok(regex)
    }

    /// Whether a known form has this name.
    #[must_use]
    pub fn is_known(name: &str) -> bool {
        name == TELLING || KNOWN.iter().any(|known| known.name == name)
    }
}

impl Scanner {
    /// Looks for the known forms and for these. One that cannot be used is told where its policy is read.
    #[must_use]
    pub fn new<'p>(own: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let mut patterns: Vec<&Pattern> = Vec::new();
        for pattern in own {
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        let usable = patterns.into_iter().filter_map(|pattern| {
            let what = format!("what the pattern `{}` is for", pattern.name);
            Some((
                Arc::from(pattern.name.as_str()),
                Arc::from(what),
                pattern.compile().ok()?,
            ))
        });
        Self {
            own: usable.collect(),
        }
    }

    /// What looks like a secret in a file, in its order.
    #[must_use]
    pub fn look(&self, bytes: &[u8]) -> Vec<Found> {
        let mut matches = self.matches(bytes);
        // Of several that lie over one another one is told.
        matches.sort_by_key(|it| (it.rank, it.whole.start));
        let mut told: Vec<Match> = Vec::new();
        for one in matches {
            let over = |other: &Match| one.whole.start < other.whole.end && other.whole.start < one.whole.end;
            if !told.iter().any(over) {
                told.push(one);
            }
        }
        told.sort_by_key(|it| it.whole.start);
        told.into_iter().map(|one| self.found(bytes, one)).collect()
    }

    fn found(&self, bytes: &[u8], one: Match) -> Found {
        let (pattern, what) = match (KNOWN.get(one.rank), one.rank.checked_sub(KNOWN.len())) {
            (Some(known), _) => (known.name.into(), known.what.into()),
            (None, Some(own)) if own < self.own.len() => {
                let (name, what, _) = &self.own[own];
                (Arc::clone(name), Arc::clone(what))
            }
            (None, _) => (TELLING.into(), "what looks like a secret".into()),
        };
        let value = &bytes[one.secret.clone()];
        Found {
            fingerprint: fingerprint(&pattern, value),
            head: head(&String::from_utf8_lossy(value)),
            key: telling::holder(bytes, one.whole.start).or_else(|| telling::holder(bytes, one.secret.start)),
            span: whole_letters(bytes, one.secret),
            pattern,
            what,
        }
    }

    fn matches(&self, bytes: &[u8]) -> Vec<Match> {
        let mut found = Vec::new();
        let forms = KNOWN.len() + self.own.len();
        let mut counts = vec![0_usize; forms + 1];
        // Where each form goes on looking.
        let mut next = vec![0_usize; forms + 1];
        let mut from = 0;
        loop {
            let to = bytes.len().min(from + PIECE);
            // What begins in the last of a piece is the next one's, which sees all of it.
            let own = if to == bytes.len() { to } else { to - LONGEST };
            let (hinted, words) = hints(bytes, from..to);
            let known = hinted.into_iter().map(|form| (form, &BUILTIN.forms[form]));
            let asked = self.own.iter().enumerate();
            let asked = asked.map(|(at, (_, _, regex))| (KNOWN.len() + at, regex));
            for (rank, regex) in known.chain(asked) {
                let mut at = next[rank].max(from);
                while at < own && counts[rank] < MOST {
                    let Some(groups) = regex.captures_at(&bytes[..to], at) else {
                        break;
                    };
                    let Some(whole) = groups
                        .get(0)
                        .map(|whole| whole.range())
                        .filter(|it| it.start < own)
                    else {
                        break;
                    };
                    let secret = groups.get(1).map_or(whole.clone(), |group| group.range());
                    at = whole.end.max(whole.start + 1);
                    next[rank] = at;
                    if secret.is_empty() || is_no_secret(rank, &bytes[secret.clone()]) {
                        continue;
                    }
                    counts[rank] += 1;
                    let secret = whole_key(rank, bytes, secret);
                    found.push(Match {
                        rank,
                        whole: whole.start..whole.end.max(secret.end),
                        secret,
                    });
                }
            }
            for word in words {
                if word.start < next[forms] || word.start >= own || counts[forms] >= MOST {
                    continue;
                }
                let Some(assignment) = telling::assignment(bytes, word) else {
                    continue;
                };
                next[forms] = assignment.end;
                let name = String::from_utf8_lossy(&bytes[assignment.name]);
                for value in assignment.values {
                    let text = String::from_utf8_lossy(&bytes[value.clone()]);
                    if telling::is_random(&text, telling::is_password(&name)) {
                        counts[forms] += 1;
                        found.push(Match {
                            rank: forms,
                            whole: value.clone(),
                            secret: value,
                        });
                    }
                }
            }
            if to == bytes.len() {
                return found;
            }
            from = own;
        }
    }
}

/// Which known forms a piece has a hint of, and where words of telling names stand.
fn hints(bytes: &[u8], piece: Range<usize>) -> (Vec<usize>, Vec<Range<usize>>) {
    let mut forms = [false; KNOWN.len()];
    let mut words = Vec::new();
    for hit in BUILTIN.hints.find_overlapping_iter(&bytes[piece.clone()]) {
        match BUILTIN.of[hit.pattern().as_usize()] {
            Some(form) => forms[form] = true,
            None => words.push(piece.start + hit.start()..piece.start + hit.end()),
        }
    }
    let forms = (0..KNOWN.len()).filter(|form| forms[*form]).collect();
    (forms, words)
}

/// Whether it only has the form: an example of a manual, or something that is put in later.
fn is_no_secret(rank: usize, value: &[u8]) -> bool {
    let Some(known) = KNOWN.get(rank) else {
        return false;
    };
    let text = String::from_utf8_lossy(value);
    match known.name {
        URL_PASSWORD => telling::is_placeholder(&text) || text.starts_with('$'),
        _ => text.contains("EXAMPLE"),
    }
}

/// Of a private key only the head has a form: the rest goes to its foot.
fn whole_key(rank: usize, bytes: &[u8], head: Range<usize>) -> Range<usize> {
    if KNOWN.get(rank).is_none_or(|known| known.name != PRIVATE_KEY) {
        return head;
    }
    let rest = &bytes[head.end..bytes.len().min(head.end + LONGEST_KEY)];
    let foot = rest.windows(9).position(|nine| nine == b"-----END ");
    head.start..head.end + foot.unwrap_or(rest.len())
}

/// A place that begins and ends between letters, where the bytes around it are a text.
fn whole_letters(bytes: &[u8], mut span: Range<usize>) -> Range<usize> {
    let within = |at: usize| bytes.get(at).is_some_and(|byte| (0x80..0xc0).contains(byte));
    for _ in 0..3 {
        if within(span.start) && span.start > 0 {
            span.start -= 1;
        }
        if within(span.end) {
            span.end += 1;
        }
    }
    span
}

/// By which a policy allows one value.
fn fingerprint(pattern: &str, value: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(pattern.as_bytes());
    hash.update([0]);
    hash.update(value);
    let hash = hash.finalize();
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So much of a value as may be shown: nothing of a short one.
fn head(value: &str) -> String {
    const SHOWN: usize = 4;
    const SHORT: usize = 16;
    let shown = value
        .chars()
        .take(SHOWN)
        .filter(|letter| letter.is_ascii_graphic() && *letter != '`');
    match value.chars().count() {
        0..SHORT => "****".to_owned(),
        _ => shown.chain("****".chars()).collect(),
    }
}
