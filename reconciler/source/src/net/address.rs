//! Where a server is, as a URL says it.

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// git's own protocol over TCP, without any authentication.
    Git,
    /// git's protocol in HTTP in TLS.
    Https,
    /// git's protocol as the input and output of a command at the other end.
    Ssh,
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Git => 9418,
            Self::Https => 443,
            Self::Ssh => 22,
        }
    }
}

/// A repository on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    /// The user that the URL names.
    pub(crate) user: Option<String>,
    /// A name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// From the first slash on, as it is written.
    pub(crate) path: String,
}

impl Address {
    /// Reads what comes after `scheme://`. An error is a phrase.
    pub(crate) fn parse(scheme: Scheme, rest: &str) -> Result<Self, &'static str> {
        let (authority, path) = match rest.find('/') {
            Some(slash) if slash + 1 < rest.len() => rest.split_at(slash),
            _ => return Err("it needs a host and a path"),
        };
        if path.contains(['?', '#']) {
            return Err("it has a query or a fragment, which name no repository");
        }
        let (user, server) = match authority.rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "it holds a password, which every list of processes and every copy of the settings would show; \
                 put it into a file and name that as source.password_file",
            );
        }
        if scheme == Scheme::Git && user.is_some() {
            return Err("git:// knows no users");
        }
        let (host, port) = split_port(server)?;
        if host.is_empty() || host.contains([' ', '[', ']', '@']) || host.starts_with('-') {
            return Err("it needs a host and a path");
        }
        Ok(Self {
            scheme,
            user: user.filter(|user| !user.is_empty()).map(percent_decoded),
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(scheme.port()),
            path: path.to_owned(),
        })
    }

    /// Host and port as they are written in a URL; the port only when it is not the usual one.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.port() {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

fn split_port(server: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or("a bracket is not closed in its host")?;
        (host, after.strip_prefix(':'))
    } else {
        match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        }
    };
    match port {
        None | Some("") => Ok((host, None)),
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => Err("its port is no number between 1 and 65535"),
            Ok(port) => Ok((host, Some(port))),
        },
    }
}

/// `%20` and the like as bytes, as git allows them in URLs.
pub(crate) fn percent_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = path.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(scheme: Scheme, rest: &str) -> (Option<String>, String, u16, String) {
        let address = Address::parse(scheme, rest).unwrap();
        (address.user, address.host, address.port, address.path)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let text = str::to_owned;
        assert_eq!(
            parse(Scheme::Ssh, "git@Example.org/team/a%20b.git"),
            (
                Some(text("git")),
                text("example.org"),
                22,
                text("/team/a%20b.git")
            )
        );
        assert_eq!(
            parse(Scheme::Https, "[::1]:8443/c.git"),
            (None, text("::1"), 8443, text("/c.git"))
        );
        assert_eq!(
            parse(Scheme::Git, "host:/c"),
            (None, text("host"), 9418, text("/c"))
        );
    }

    #[test]
    fn what_names_no_repository_is_refused() {
        for wrong in [
            "",
            "host",
            "host/",
            "/path",
            "host:0/c",
            "host:x/c",
            "[::1/c",
            "-oProxy/c",
            "h/c?x=1",
        ] {
            assert!(Address::parse(Scheme::Ssh, wrong).is_err(), "{wrong:?}");
        }
        let error = Address::parse(Scheme::Https, "me:secret@host/c").unwrap_err();
        assert!(error.contains("source.password_file"), "{error}");
    }

    #[test]
    fn the_usual_port_is_not_shown() {
        let shown = |rest| Address::parse(Scheme::Https, rest).unwrap().authority();
        assert_eq!(shown("host:443/c"), "host");
        assert_eq!(shown("[::1]:444/c"), "[::1]:444");
    }
}
