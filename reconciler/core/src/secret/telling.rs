//! Keys whose names tell that their values are secret, and values that look as if they were drawn by lot.
//!
//! Assignments are read from the text, whatever its language: `key = value`, `key: value`, `"key": "value"`.

use std::ops::Range;

/// What the names of such keys have in them, as they are written.
pub(super) const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "privatekey",
    "private_key",
    "private-key",
    "credential",
    "authkey",
    "auth_key",
    "auth-key",
    "signingkey",
    "signing_key",
    "signing-key",
    "encryptionkey",
    "encryption_key",
    "encryption-key",
];

/// Names that end so speak about a secret, and do not hold it.
const ABOUT: &[&str] = &[
    "file",
    "path",
    "name",
    "names",
    "id",
    "ids",
    "url",
    "uri",
    "env",
    "var",
    "ref",
    "ttl",
    "length",
    "len",
    "size",
    "count",
    "limit",
    "type",
    "header",
    "expiry",
    "expires",
    "expiration",
    "age",
    "field",
    "prefix",
    "suffix",
    "interval",
    "timeout",
    "algorithm",
    "alg",
    "arn",
    "version",
    "policy",
    "provider",
    "store",
    "manager",
    "issuer",
    "audience",
    "endpoint",
    "enabled",
    "required",
    "label",
    "kind",
    "mode",
    "format",
    "hash",
    "digest",
    "sha256",
    "checksum",
    "fingerprint",
    "scope",
    "symbol",
];

/// How long a key's name is at most.
const LONGEST_NAME: usize = 80;
/// How much of a value is looked at.
const LONGEST_VALUE: usize = 8 << 10;

/// Whether the value of a key of this name is to be kept to oneself.
pub(super) fn is_telling(name: &str) -> bool {
    if name.len() > LONGEST_NAME {
        return false;
    }
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let named = WORDS
        .iter()
        .any(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()) && plain.contains(word));
    named && !plain.contains("public") && !ABOUT.iter().any(|end| plain.ends_with(end))
}

/// Whether it is a password's name: those are shorter than what machines make.
pub(super) fn is_password(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["passw", "passphrase", "pwd"]
        .iter()
        .any(|word| lower.contains(word))
}

/// A key with a telling name, and its values; each value without its quotes.
pub(super) struct Assignment {
    pub(super) name: Range<usize>,
    pub(super) values: Vec<Range<usize>>,
    /// Up to where it was read: what stands before that is not read again.
    pub(super) end: usize,
}

/// The assignment around a telling word that stands at `word`; none where nothing is assigned.
pub(super) fn assignment(text: &[u8], word: Range<usize>) -> Option<Assignment> {
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let before = text[..word.start].iter().rev().take(LONGEST_NAME);
    let start = word.start - before.take_while(|byte| of_name(byte)).count();
    let after = text[word.end..].iter().take(LONGEST_NAME);
    let end = word.end + after.take_while(|byte| of_name(byte)).count();
    // Of a dotted key the last part is its name.
    let own = text[start..end].iter().rposition(|byte| *byte == b'.');
    let start = own.map_or(start, |dot| start + dot + 1);
    if !is_telling(std::str::from_utf8(&text[start..end]).ok()?) {
        return None;
    }
    let spaces = |at: usize| {
        at + text[at..]
            .iter()
            .take(LONGEST_NAME)
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count()
    };
    let mut at = end;
    if matches!(text.get(at), Some(b'"' | b'\'')) {
        at += 1;
    }
    at = spaces(at);
    at += match &text[at..] {
        [b'=', b'>', ..] | [b':', b'=', ..] => 2,
        // Comparisons assign nothing.
        [b'=', b'=', ..] => return None,
        [b'=' | b':', ..] => 1,
        _ => return None,
    };
    at = spaces(at);
    let (values, read) = values(text, at);
    Some(Assignment {
        name: start..end,
        values,
        end: read,
    })
}

/// The name of the key whose value begins at, or shortly before, a place of the same line.
pub(super) fn holder(text: &[u8], value: usize) -> Option<String> {
    let line = &text[value.saturating_sub(3 * LONGEST_NAME)..value];
    let line = &line[line
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1)..];
    let sign = line.iter().rposition(|byte| matches!(byte, b'=' | b':'))?;
    // `https://…` and the like are values themselves.
    let sign = match line.get(sign + 1) {
        Some(b'/') => line[..sign]
            .iter()
            .rposition(|byte| matches!(byte, b'=' | b':'))?,
        _ => sign,
    };
    let before = line[..sign].trim_ascii_end();
    let before = before.strip_suffix(b":").unwrap_or(before);
    let before = before
        .strip_suffix(b"\"")
        .or(before.strip_suffix(b"'"))
        .unwrap_or(before);
    let of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let length = before.iter().rev().take(LONGEST_NAME).take_while(of_name).count();
    let name = std::str::from_utf8(&before[before.len() - length..]).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The values that begin at a place, and where they end.
fn values(text: &[u8], at: usize) -> (Vec<Range<usize>>, usize) {
    let limit = text.len().min(at.saturating_add(LONGEST_VALUE));
    match text.get(at) {
        None => (Vec::new(), at),
        Some(b'[') => {
            let mut found = Vec::new();
            let mut at = at + 1;
            while at < limit && text[at] != b']' {
                if matches!(text[at], b'"' | b'\'') {
                    let value = quoted(text, at, limit);
                    at = value.end + 1;
                    found.push(value);
                } else {
                    at += 1;
                }
            }
            (found, at.min(limit))
        }
        Some(b'"' | b'\'') => {
            let value = quoted(text, at, limit);
            let end = value.end;
            (Vec::from_iter(Some(value)), end)
        }
        // A table, a block or a name for something else: what is in it is read by its own names.
        Some(b'{' | b'|' | b'>' | b'&' | b'$') => (Vec::new(), at),
        Some(_) => {
            let line = text[at..limit]
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'));
            let line = &text[at..line.map_or(limit, |end| at + end)];
            let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']');
            let word = &line[..line.iter().position(ends).unwrap_or(line.len())];
            let plain = std::str::from_utf8(word).unwrap_or_default();
            if matches!(plain, "" | "true" | "false" | "null" | "~") || plain.parse::<f64>().is_ok() {
                return (Vec::new(), at + word.len());
            }
            let comment = line
                .windows(2)
                .position(|two| matches!(two, [b' ' | b'\t', b'#']));
            let end = at + line[..comment.unwrap_or(line.len())].trim_ascii_end().len();
            (Vec::from_iter(Some(at..end)), end)
        }
    }
}

/// What stands between quotes, which may be three.
fn quoted(text: &[u8], at: usize, limit: usize) -> Range<usize> {
    let quote = text[at];
    if text[at..limit].starts_with(&[quote; 3]) {
        let from = at + 3;
        let end = text[from..limit].windows(3).position(|three| three == [quote; 3]);
        return from..end.map_or(limit, |end| from + end);
    }
    let from = at + 1;
    let mut end = from;
    while end < limit && text[end] != quote && text[end] != b'\n' {
        end += if quote == b'"' && text[end] == b'\\' { 2 } else { 1 };
    }
    from..end.min(limit)
}

/// Whether a value looks drawn by lot rather than written by somebody.
pub(super) fn is_random(value: &str, password: bool) -> bool {
    let (shortest, least) = if password { (8, 2.5) } else { (16, 3.0) };
    let length = value.chars().count();
    length >= shortest && !is_placeholder(value) && !is_wordy(value) && entropy(value) >= least
}

/// Whether it stands for a value that is somewhere else, or for none.
pub(super) fn is_placeholder(value: &str) -> bool {
    let upper = value.to_ascii_uppercase();
    let elsewhere = ["${", "{{", "$(", "%(", "ENC["]
        .iter()
        .any(|sign| upper.contains(sign));
    let stands_in = ["EXAMPLE", "CHANGEME", "CHANGE_ME", "PLACEHOLDER", "REDACTED"]
        .iter()
        .any(|word| upper.contains(word));
    let plain = ["PASSWORD", "PASS", "SECRET", "XXX", "***", "..."];
    elsewhere
        || stands_in
        || plain.contains(&upper.as_str())
        || (value.starts_with('<') && value.ends_with('>'))
}

/// Whether it is made of words and small numbers, as names, paths and sentences are.
fn is_wordy(value: &str) -> bool {
    let mut pieces = value.split(|letter: char| !letter.is_alphanumeric());
    pieces.all(|piece| {
        let digits = piece.chars().all(|letter| letter.is_ascii_digit());
        let letters = piece.chars().all(char::is_alphabetic);
        match piece.chars().count() {
            0..=3 => true,
            4 if digits => true,
            count => letters && count <= 40 && words(piece),
        }
    })
}

/// Letters that are one word, or several in camel case.
fn words(piece: &str) -> bool {
    const LONGEST_WORD: usize = 15;
    let same = |of: fn(char) -> bool| piece.chars().all(of) && piece.chars().count() <= LONGEST_WORD;
    if same(char::is_lowercase) || same(char::is_uppercase) {
        return true;
    }
    let mut length = 0;
    let mut first = true;
    for letter in piece.chars() {
        if letter.is_uppercase() {
            if length < 2 && !first {
                return false;
            }
            length = 0;
        }
        first = false;
        length += 1;
        if length > LONGEST_WORD {
            return false;
        }
    }
    length >= 2
}

/// Shannon's, in bits a byte.
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let all = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hold_a_secret_are_told_from_names_that_speak_of_one() {
        for name in [
            "password",
            "db_password",
            "apiKey",
            "API-KEY",
            "aws_secret_access_key",
            "Token",
            "pwd",
        ] {
            assert!(is_telling(name), "{name}");
        }
        for name in [
            "password_file",
            "secret_name",
            "token_url",
            "access_key_id",
            "tokenTtl",
            "host",
            "public_key_token",
        ] {
            assert!(!is_telling(name), "{name}");
        }
    }

    #[test]
    fn what_was_drawn_by_lot_is_told_from_what_somebody_wrote() {
        for value in [
            "9f8a7c6b5d4e3f2a1b0c9d8e7f6a5b4c",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzKEYs",
            "550e8400-e29b-41d4-a716-446655440000",
            "dGhpcyBpcyBub3QgYSBzZWNyZXQ",
        ] {
            assert!(is_random(value, false), "{value}");
        }
        assert!(is_random("Tr0ub4dor&3x", true));
        for value in [
            "prod-db-credentials-v2",
            "/run/secrets/broker.key",
            "MyServiceTokenProvider",
            "${BROKER_TOKEN_0123456789abcdef}",
            "the broker's own name",
            "xxxxxxxxxxxxxxxxxxxxxxxx",
            "<your token goes here 1a2b3c4d>",
            "short",
        ] {
            assert!(!is_random(value, true), "{value}");
        }
    }

    #[test]
    fn assignments_are_read_whatever_the_language() {
        let values = |text: &str| -> Vec<String> {
            let at = text.find("token").unwrap();
            let found = assignment(text.as_bytes(), at..at + 5);
            let values = found.map(|found| found.values).unwrap_or_default();
            values.into_iter().map(|value| text[value].to_owned()).collect()
        };
        assert_eq!(values("a.token = \"x y\" # z"), ["x y"]);
        assert_eq!(values("\"token\": \"x\\\"y\", \"b\": 1"), ["x\\\"y"]);
        assert_eq!(values("export token=abc\nb"), ["abc"]);
        assert_eq!(values("  token: my phrase # not this"), ["my phrase"]);
        assert_eq!(values("token = '''\na\nb'''"), ["\na\nb"]);
        assert_eq!(values("tokens = [\"a\", 'b'] # c"), ["a", "b"]);
        assert!(values("token = 5").is_empty());
        assert!(values("{\"token\": {\"secret\": \"x\"}}").is_empty());
        assert!(values("{\"token\": 5, \"b\": \"c\"}").is_empty());
        assert!(values("token == \"x\"").is_empty());
        assert!(values("a token is told").is_empty());
        assert!(values("token = \"").concat().is_empty());
        assert!(values("token = [").is_empty());
    }
}
