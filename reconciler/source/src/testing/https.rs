//! `git http-backend` behind real TLS: a small server, a thread a connection, with every fault that a test needs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use data_encoding::BASE64;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Certified, git};

/// What the server does instead of serving git.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// It serves git.
    #[default]
    None,
    /// It accepts, and never agrees on encryption.
    SilentBeforeTls,
    /// It reads the question, and never answers.
    SilentBeforeAnswer,
    /// It answers the listing, and then no question.
    SilentAfterListing,
    /// It sends one byte of its answer every so often, for ever.
    Dripping(Duration),
    /// It answers with a status.
    Status(u16),
    /// It shows a page.
    Page,
    /// It hands out files.
    Files,
    /// It sends somewhere else.
    Redirect(String),
    /// What lies below a folder is found elsewhere on this server.
    RedirectFrom {
        /// The folder.
        prefix: String,
        /// What stands in its place there.
        to: String,
    },
    /// The pack that it sends is damaged.
    DamagedPack,
    /// It closes in the middle of the pack.
    CutPack,
}

/// A request as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method and path with query.
    pub line: String,
    /// What it brought as credentials.
    pub authorization: Option<String>,
}

struct Shared {
    folder: PathBuf,
    config: Arc<ServerConfig>,
    fault: Fault,
    /// Whoever brings one of these is let in; nobody is asked when there is none.
    accepted: Vec<String>,
    challenge: &'static str,
    may_push: bool,
    seen: Vec<Seen>,
    open: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
    closing: bool,
}

/// Serves the repositories below a folder by `https://`, until it is dropped.
pub struct GitHttps {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    acceptor: Option<JoinHandle<()>>,
}

impl GitHttps {
    /// Starts one with a certificate, which is to be for `localhost`.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn serve(folder: &Path, certified: &Certified) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Mutex::new(Shared {
            folder: folder.to_owned(),
            config: config(certified),
            fault: Fault::None,
            accepted: Vec::new(),
            challenge: "Basic realm=\"git\"",
            may_push: true,
            seen: Vec::new(),
            open: Vec::new(),
            threads: Vec::new(),
            closing: false,
        }));
        let theirs = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut locked = locked(&theirs);
                if locked.closing {
                    return;
                }
                locked
                    .open
                    .push(client.try_clone().expect("a socket can be shared"));
                let shared = Arc::clone(&theirs);
                // A client that goes away, as one that does not trust us, is no failure of the server's.
                let thread = std::thread::spawn(move || drop(serve(client, &shared)));
                locked.threads.push(thread);
            }
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The URL of a repository below the folder.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("https://localhost:{}/{repository}", self.address.port())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shows another certificate from now on.
    pub fn certify(&self, certified: &Certified) {
        locked(&self.shared).config = config(certified);
    }

    /// Does something else than serving git from now on.
    pub fn fault(&self, fault: Fault) {
        locked(&self.shared).fault = fault;
    }

    /// Lets in these users with their passwords alone.
    pub fn accept(&self, users: &[(&str, &str)]) {
        let basic = |(user, password): &(&str, &str)| {
            format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
        };
        let mut shared = locked(&self.shared);
        shared.accepted = users.iter().map(basic).collect();
        shared.challenge = "Basic realm=\"git\"";
    }

    /// Lets in whoever bears this token alone.
    pub fn accept_bearer(&self, token: &str) {
        let mut shared = locked(&self.shared);
        shared.accepted = vec![format!("Bearer {token}")];
        shared.challenge = "Bearer realm=\"git\"";
    }

    /// Lets nobody push.
    pub fn refuse_pushes(&self) {
        locked(&self.shared).may_push = false;
    }

    /// The requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared).seen.clone()
    }
}

impl Drop for GitHttps {
    fn drop(&mut self) {
        locked(&self.shared).closing = true;
        // Wakes the acceptor, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let threads = {
            let mut shared = locked(&self.shared);
            for stream in shared.open.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            std::mem::take(&mut shared.threads)
        };
        for thread in threads {
            let _ = thread.join();
        }
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn serve(client: TcpStream, shared: &Mutex<Shared>) -> io::Result<()> {
    let config = Arc::clone(&locked(shared).config);
    if locked(shared).fault == Fault::SilentBeforeTls {
        return until_it_goes(client);
    }
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, client));
    while let Some(request) = read(&mut stream)? {
        let (fault, folder, let_in, challenge, may_push) = {
            let mut shared = locked(shared);
            let authorization = request.header("authorization").map(str::to_owned);
            let let_in = shared.accepted.is_empty()
                || authorization
                    .as_ref()
                    .is_some_and(|brought| shared.accepted.contains(brought));
            shared.seen.push(Seen {
                line: request.line.clone(),
                authorization,
            });
            (
                shared.fault.clone(),
                shared.folder.clone(),
                let_in,
                shared.challenge,
                shared.may_push,
            )
        };
        let listing = request.line.starts_with("GET");
        let out = stream.get_mut();
        match fault {
            Fault::SilentBeforeAnswer => return until_it_goes(out.sock.try_clone()?),
            Fault::SilentAfterListing if !listing => return until_it_goes(out.sock.try_clone()?),
            Fault::Dripping(pause) => return drip(out, pause),
            Fault::Status(status) => answer(out, &format!("{status} Somehow"), &[], b"")?,
            Fault::Page => {
                answer(
                    out,
                    "200 OK",
                    &[("Content-Type", "text/html; charset=utf-8")],
                    b"<html>Sign in</html>",
                )?;
            }
            Fault::Files => answer(
                out,
                "200 OK",
                &[("Content-Type", "text/plain")],
                b"abc\trefs/heads/main\n",
            )?,
            Fault::Redirect(to) => answer(out, "301 Moved", &[("Location", &to)], b"")?,
            Fault::RedirectFrom { prefix, to } if request.line.contains(&format!(" {prefix}/")) => {
                let target = request
                    .line
                    .split(' ')
                    .nth(1)
                    .unwrap_or("")
                    .replacen(&prefix, &to, 1);
                answer(out, "301 Moved", &[("Location", &target)], b"over there")?;
            }
            _ if !let_in => answer(
                out,
                "401 Unauthorized",
                &[("WWW-Authenticate", challenge)],
                b"who?",
            )?,
            _ if !may_push && request.line.contains("git-receive-pack") => {
                answer(out, "403 Forbidden", &[], b"")?;
            }
            Fault::None | Fault::RedirectFrom { .. } | Fault::SilentAfterListing | Fault::SilentBeforeTls => {
                let (status, headers, body) = backend(&folder, &request)?;
                answer(
                    out,
                    &status,
                    &headers.iter().map(|(a, b)| (&a[..], &b[..])).collect::<Vec<_>>(),
                    &body,
                )?;
            }
            fault @ (Fault::DamagedPack | Fault::CutPack) => {
                let (status, headers, mut body) = backend(&folder, &request)?;
                let headers: Vec<_> = headers.iter().map(|(a, b)| (&a[..], &b[..])).collect();
                match body.windows(4).position(|four| four == b"PACK") {
                    Some(pack) if fault == Fault::DamagedPack => {
                        body[pack + 20] ^= 0x55;
                        answer(out, &status, &headers, &body)?;
                    }
                    Some(pack) => {
                        head(out, &status, &headers, body.len())?;
                        out.write_all(&body[..pack + 20])?;
                        return out.flush();
                    }
                    None => answer(out, &status, &headers, &body)?,
                }
            }
        }
    }
    Ok(())
}

fn read(stream: &mut BufReader<Stream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut request = Request {
        line,
        headers,
        body: Vec::new(),
    };
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// What git's own program answers: status, headers, body.
type Answer = (String, Vec<(String, String)>, Vec<u8>);

/// Runs git's own program for a request, as a web server does.
fn backend(folder: &Path, request: &Request) -> io::Result<Answer> {
    let (method, target) = request.line.split_once(' ').unwrap_or(("GET", "/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = git(folder);
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", request.header("content-type").unwrap_or(""))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("REMOTE_USER", "somebody")
        .env("REMOTE_ADDR", "127.0.0.1")
        .envs([
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().expect("it is piped");
    let body = request.body.clone();
    let writer = std::thread::spawn(move || drop(input.write_all(&body)));
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .expect("it is piped")
        .read_to_end(&mut output)?;
    child.wait()?;
    let _ = writer.join();
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    let mut status = "200 OK".to_owned();
    let mut headers = Vec::new();
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Status" {
            value.clone_into(&mut status);
        } else {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok((status, headers, body))
}

fn answer(out: &mut Stream, status: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
    head(out, status, headers, body.len())?;
    out.write_all(body)?;
    out.flush()
}

fn head(out: &mut Stream, status: &str, headers: &[(&str, &str)], length: usize) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    out.write_all(format!("{text}\r\n").as_bytes())
}

/// Never ends by itself: a byte, a pause, a byte.
fn drip(out: &mut Stream, pause: Duration) -> io::Result<()> {
    let kind = "application/x-git-upload-pack-advertisement";
    head(out, "200 OK", &[("Content-Type", kind)], 1 << 30)?;
    out.write_all(b"001e# service=git-upload-pack\n0000ffff")?;
    loop {
        out.write_all(b"0")?;
        out.flush()?;
        // Not to wait for anything: slowness is what this is about.
        std::thread::sleep(pause);
    }
}

fn until_it_goes(mut client: TcpStream) -> io::Result<()> {
    client.read_to_end(&mut Vec::new()).map(drop)
}

fn config(certified: &Certified) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certified.certificate()], certified.key())
        });
    Arc::new(config.expect("a certificate that was just made fits its key"))
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
