//! git's protocol in HTTP: a listing is a GET, each question a POST whose answer is read as a stream.
//!
//! A redirection is followed only where it stays on the same server and the listing alone is asked for; whatever
//! else is said where git's own content type is missing is not given to libgit2.

use std::collections::VecDeque;

use data_encoding::BASE64;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::dial::Dial;
use super::refused::Refused;
use super::secret::{Named, Secret};
use super::tls::Trust;
use crate::SourceError;
use crate::spec::shown_url;

/// How often a listing may be found elsewhere on the same server.
const REDIRECTIONS: usize = 3;
/// The most that one question may take: what is here already, or the pack of a way back.
const LARGEST_QUESTION: usize = 256 << 20;

/// How a secret is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Showing {
    Basic,
    Bearer,
}

/// One exchange of questions and answers with a server.
pub(crate) struct Exchange {
    trust: Trust,
    sender: SendRequest<Full<Bytes>>,
    /// The repository's path, as a redirection may have corrected it.
    base: String,
    authorization: Option<HeaderValue>,
    state: State,
}

enum State {
    /// A question is being written. Of the answer before something may be left.
    Asking(Vec<u8>, Option<Incoming>),
    /// An answer is being read.
    Answer(Incoming, VecDeque<u8>),
}

impl Exchange {
    /// Reaches the server and asks for the listing, with the credentials that it takes.
    pub(crate) async fn begin(dial: &Dial) -> Result<Self, SourceError> {
        let file = in_file(dial);
        let (secrets, file) = match file {
            None => (Vec::new(), None),
            Some(file) => (dial.last_good.to_try(file.clone())?, file.ok()),
        };
        let trust = Trust::read(dial)?;
        let sender = connect(dial, &trust).await?;
        let mut exchange = Self {
            trust,
            sender,
            base: dial.address.path.trim_end_matches('/').to_owned(),
            authorization: None,
            state: State::Asking(Vec::new(), None),
        };
        if secrets.is_empty() {
            let answer = exchange.list(dial).await?;
            exchange.take_listing(dial, answer)?;
            return Ok(exchange);
        }
        for secret in &secrets {
            if let Some(answer) = exchange.list_as(dial, secret).await? {
                exchange.take_listing(dial, answer)?;
                dial.last_good.worked(secret, file.as_ref());
                return Ok(exchange);
            }
        }
        let url = dial.url.clone();
        let shown = shown(dial);
        Err(Refused::CredentialsRefused { url, shown }.into())
    }

    /// The listing as the server gives it to the holder of a secret, or nothing when it does not take that.
    async fn list_as(
        &mut self,
        dial: &Dial,
        secret: &Secret,
    ) -> Result<Option<Response<Incoming>>, SourceError> {
        let token = dial.access.token_file.is_some();
        let name = dial.user().unwrap_or("x-access-token");
        self.authorization = Some(header(dial, Showing::Basic, name, secret)?);
        let answer = self.list(dial).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(Some(answer));
        }
        // Some servers know tokens by themselves only.
        let again = token && only_bearer(answer.headers());
        self.finish(answer.into_body()).await;
        if !again {
            return Ok(None);
        }
        self.authorization = Some(header(dial, Showing::Bearer, name, secret)?);
        let answer = self.list(dial).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(Some(answer));
        }
        self.finish(answer.into_body()).await;
        Ok(None)
    }

    /// Asks for the listing, wherever on this server it is.
    async fn list(&mut self, dial: &Dial) -> Result<Response<Incoming>, SourceError> {
        let program = dial.service.program();
        for _ in 0..=REDIRECTIONS {
            let target = format!("{}/info/refs?service={program}", self.base);
            let answer = self.send(dial, Method::GET, &target, Bytes::new()).await?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            self.base = moved(dial, answer.headers(), &target)?;
            self.finish(answer.into_body()).await;
        }
        Err(Refused::Redirected {
            url: dial.url.clone(),
            to: "one place after another".to_owned(),
        }
        .into())
    }

    fn take_listing(&mut self, dial: &Dial, answer: Response<Incoming>) -> Result<(), SourceError> {
        let expected = format!("application/x-{}-advertisement", dial.service.program());
        self.take(dial, answer, &expected)
    }

    /// Takes an answer, if it is one of git's.
    fn take(&mut self, dial: &Dial, answer: Response<Incoming>, expected: &str) -> Result<(), SourceError> {
        judge(dial, &answer, expected)?;
        self.state = State::Answer(answer.into_body(), VecDeque::new());
        Ok(())
    }

    /// The next question begins.
    pub(crate) fn ask(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Asking(Vec::new(), None)) {
            State::Answer(body, _) => State::Asking(Vec::new(), Some(body)),
            asking @ State::Asking(..) => asking,
        };
    }

    pub(crate) fn write(&mut self, dial: &Dial, bytes: &[u8]) -> Result<(), SourceError> {
        let State::Asking(question, _) = &mut self.state else {
            return Err(dial.unreachable(&std::io::Error::other(
                "a question came in the midst of an answer",
            )));
        };
        if question.len() + bytes.len() > LARGEST_QUESTION {
            return Err(dial.unreachable(&std::io::Error::other("the question is too long")));
        }
        question.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) async fn read(&mut self, dial: &Dial, buffer: &mut [u8]) -> Result<usize, SourceError> {
        if let State::Asking(question, before) = &mut self.state {
            let question = Bytes::from(std::mem::take(question));
            if let Some(body) = before.take() {
                self.finish(body).await;
            }
            let program = dial.service.program();
            let target = format!("{}/{program}", self.base);
            let answer = self.send(dial, Method::POST, &target, question).await?;
            if answer.status().is_redirection() {
                moved(dial, answer.headers(), &target)?;
            }
            self.take(dial, answer, &format!("application/x-{program}-result"))?;
        }
        let State::Answer(body, left) = &mut self.state else {
            unreachable!("a question that was sent has an answer");
        };
        while left.is_empty() {
            match body.frame().await {
                None => return Ok(0),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        left.extend(data);
                    }
                }
                Some(Err(e)) => return Err(broken(dial, &e)),
            }
        }
        let (front, _) = left.as_slices();
        let read = front.len().min(buffer.len());
        buffer[..read].copy_from_slice(&front[..read]);
        left.drain(..read);
        Ok(read)
    }

    /// Reads what is left of an answer, so that its connection can be used again; much is not worth that.
    async fn finish(&mut self, mut body: Incoming) {
        let mut left = 64 << 10;
        while let Some(Ok(frame)) = body.frame().await {
            left -= frame.data_ref().map_or(0, Bytes::len).min(left);
            if left == 0 {
                return;
            }
        }
    }

    async fn send(
        &mut self,
        dial: &Dial,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, SourceError> {
        if self.sender.is_closed() || self.sender.ready().await.is_err() {
            self.sender = connect(dial, &self.trust).await?;
        }
        let mut request = Request::builder()
            .method(&method)
            .uri(target)
            .header(header::HOST, dial.address.authority())
            // Some servers look for git's own name to tell programs from people.
            .header(
                header::USER_AGENT,
                concat!("git/2.0 (lockstep ", env!("CARGO_PKG_VERSION"), ")"),
            )
            .header(header::ACCEPT, "*/*");
        if method == Method::POST {
            let program = dial.service.program();
            request = request
                .header(header::CONTENT_TYPE, format!("application/x-{program}-request"))
                .header(header::ACCEPT, format!("application/x-{program}-result"));
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_| SourceError::InvalidUrl {
                url: dial.url.clone(),
                why: "its path cannot be asked for by HTTP",
            })?;
        let doing = match dial.service {
            super::Service::Fetch if method == Method::GET => "listing its branches",
            super::Service::Fetch => "fetching",
            super::Service::Push => "pushing",
        };
        dial.step(doing, dial.bounds.silence, async {
            match self.sender.send_request(request.clone()).await {
                // The server had closed the connection: nothing of the question was sent.
                Err(e) if e.is_canceled() => {
                    self.sender = connect(dial, &self.trust).await?;
                    self.sender.send_request(request).await
                }
                answer => answer,
            }
            .map_err(|e| broken(dial, &e))
        })
        .await
    }
}

async fn connect(dial: &Dial, trust: &Trust) -> Result<SendRequest<Full<Bytes>>, SourceError> {
    let stream = trust.connect(dial).await?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(dial, &e))?;
    // It ends with the runtime, which the line owns.
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether the answer is one of git's, and if not, what it is.
fn judge(dial: &Dial, answer: &Response<Incoming>, expected: &str) -> Result<(), SourceError> {
    let url = dial.url.clone();
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("").to_owned();
    let refused = match status {
        StatusCode::OK if kind == expected => return Ok(()),
        StatusCode::OK if kind.starts_with("text/html") => Refused::NotGit {
            url,
            why: "it is a web page (text/html)".to_owned(),
        },
        StatusCode::OK if kind.starts_with("text/plain") => Refused::NotGit {
            url,
            why: "it hands out files (text/plain), as git calls the dumb protocol, which has no limits to rely on. \
                  Serve it by git http-backend"
                .to_owned(),
        },
        StatusCode::OK => Refused::NotGit {
            url,
            why: format!("it answers with {kind:?} where {expected:?} is expected"),
        },
        StatusCode::UNAUTHORIZED if in_file(dial).is_some() => Refused::CredentialsRefused {
            url,
            shown: shown(dial),
        },
        StatusCode::UNAUTHORIZED => Refused::CredentialsMissing { url },
        StatusCode::FORBIDDEN => Refused::Forbidden {
            url,
            why: "it answers 403 Forbidden".to_owned(),
        },
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Err(SourceError::NotARepository {
                url,
                why: format!(
                    "the server answers {status}, as many do as well to those who may not know of it"
                ),
            });
        }
        _ => Refused::ServerFailed {
            url,
            why: format!("it answers {status}"),
        },
    };
    Err(refused.into())
}

/// Where on this server the listing is said to be.
fn moved(dial: &Dial, headers: &HeaderMap, target: &str) -> Result<String, SourceError> {
    let location = headers.get(header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok()).unwrap_or("");
    let elsewhere = || {
        let to = if location.is_empty() { "nowhere" } else { location };
        let to: String = shown_url(to)
            .split(['?', '#'])
            .next()
            .unwrap_or("")
            .chars()
            .take(200)
            .collect();
        SourceError::from(Refused::Redirected {
            url: dial.url.clone(),
            to,
        })
    };
    let own = |rest: &str| -> Option<String> {
        let slash = rest.find('/')?;
        let (authority, path) = rest.split_at(slash);
        let there = super::address::Address::parse(dial.address.scheme, &format!("{authority}/x")).ok()?;
        let here = &dial.address;
        let same = there.host == here.host && there.port == here.port && there.user.is_none();
        same.then(|| path.to_owned())
    };
    let path = match location.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => own(rest),
        Some(_) => None,
        None if location.starts_with('/') && !location.starts_with("//") => Some(location.to_owned()),
        None => None,
    };
    // As git has it: only what ends like the question is the same question elsewhere.
    let question = target
        .rsplit_once("/info/refs")
        .map(|(_, query)| format!("/info/refs{query}"));
    let base = path
        .zip(question)
        .and_then(|(path, question)| Some(path.strip_suffix(&question)?.to_owned()));
    base.filter(|base| !base.chars().any(char::is_control))
        .ok_or_else(elsewhere)
}

/// The secret of the file that the settings name, if they name one.
fn in_file(dial: &Dial) -> Option<Result<Secret, Refused>> {
    let access = &dial.access;
    let file =
        |key, path: &Option<std::path::PathBuf>| path.as_deref().map(|path| Named { key, path }.line());
    file("token_file", &access.token_file).or_else(|| file("password_file", &access.password_file))
}

fn shown(dial: &Dial) -> String {
    let access = &dial.access;
    match (&access.token_file, &access.password_file) {
        (Some(path), _) => format!("the token in {}", path.display()),
        (None, Some(path)) => format!(
            "user {:?} with the password in {}",
            dial.user().unwrap_or(""),
            path.display()
        ),
        (None, None) => "nothing".to_owned(),
    }
}

fn header(dial: &Dial, showing: Showing, user: &str, secret: &Secret) -> Result<HeaderValue, SourceError> {
    let text = match showing {
        Showing::Basic => format!(
            "Basic {}",
            BASE64.encode(format!("{user}:{}", secret.expose()).as_bytes())
        ),
        Showing::Bearer => format!("Bearer {}", secret.expose()),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| Refused::CredentialsRefused {
        url: dial.url.clone(),
        shown: shown(dial),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a server that refused says that it knows tokens by themselves alone.
fn only_bearer(headers: &HeaderMap) -> bool {
    let mut schemes = headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(|value| value.split(' ').next().unwrap_or("").to_ascii_lowercase());
    let mut any = false;
    schemes.all(|scheme| {
        any = true;
        scheme == "bearer"
    }) && any
}

fn broken(dial: &Dial, error: &hyper::Error) -> SourceError {
    let mut why = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        why = format!("{why}: {source}");
    }
    SourceError::Unreachable {
        url: dial.url.clone(),
        why,
    }
}
