//! Reloads over HTTP: a request each, which the service answers.
//!
//! They do not go through the guard, so a service that hangs in one holds up nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{ALLOW, LOCATION};
use hyper::http::{Method, StatusCode};
use lockstep_core::rollout::{Answer, Event, MemberId};
use lockstep_core::service::{self, HttpReload};
use lockstep_protocol::SwitchNumber;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::task::{Agent, Finished};
use super::{Report, Target, http};

/// How long a connection may take: whoever listens accepts at once.
const LISTENS_WITHIN: Duration = Duration::from_secs(1);
/// As much is read of an answer that is no yes, and this long.
const READ: usize = 4096;
const READ_WITHIN: Duration = Duration::from_secs(1);
/// As many characters of it are shown.
const SHOWN: usize = 300;

impl Agent {
    /// Asks a service to reload; with no switch, because it was owed. What it had not answered is given up.
    pub(super) fn request(&mut self, target: Target, switch: Option<SwitchNumber>) {
        let Some(request) = target.request().cloned() else {
            return;
        };
        let service = target.member.service.clone();
        let task = self.work.spawn(async move {
            let answer = ask(&request, target.within).await;
            Finished::Answered {
                target,
                switch,
                answer,
            }
        });
        if let Some(before) = self.requests.insert(service, task) {
            before.abort();
        }
    }

    /// Begins an examination by looking who listens where it is to be told.
    pub(super) fn see_who_listens(&mut self, targets: Vec<Target>) {
        let examination = self.examinations;
        self.work.spawn(async move {
            let mut looks = JoinSet::new();
            for target in &targets {
                if let Some(request) = target.request().cloned() {
                    let member = target.member.clone();
                    looks.spawn(async move { (member, listens(&request).await) });
                }
            }
            let looked = looks.join_all().await.into_iter();
            let unfit: BTreeMap<MemberId, String> = looked
                .filter_map(|(member, looked)| {
                    let why = looked.err()?;
                    Some((
                        member,
                        format!("{why}. Have it listen there before it is ready, or correct `reload`"),
                    ))
                })
                .collect();
            Finished::Listened {
                targets,
                unfit,
                examination,
            }
        });
    }
}

/// What an answer means to the coordinator.
pub(super) fn answered(target: Target, switch: Option<SwitchNumber>, answer: Answer) -> Report {
    let Target { member, instance, .. } = target;
    match switch {
        Some(switch) => Report::Event(Event::Answered {
            member,
            instance,
            switch,
            answer,
        }),
        None => {
            let unsent = match answer {
                Answer::Accepted => None,
                Answer::Refused(why) | Answer::Missing(why) => Some((member.clone(), why)),
            };
            Report::Reminded {
                whom: vec![(member, instance)],
                unsent: unsent.into_iter().collect(),
            }
        }
    }
}

/// Whether somebody listens where this request is to go. Nothing is sent.
///
/// # Errors
/// When nobody does.
pub async fn listens(request: &HttpReload) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!(
            "nobody listens at {}, where it is to be told by {request}: {error}",
            request.authority
        )
    };
    match timeout(LISTENS_WITHIN, TcpStream::connect(&request.authority)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&format_args!("no connection within {LISTENS_WITHIN:?}"))),
    }
}

/// Sends the request and waits for its answer.
async fn ask(request: &HttpReload, within: Duration) -> Answer {
    let method = match request.method {
        service::Method::Post => Method::POST,
        service::Method::Put => Method::PUT,
        service::Method::Get => Method::GET,
    };
    let asked = (method, request.authority.as_str(), request.path.as_str());
    let exchange = http::exchange(asked, "lockstep-reload", async |response| {
        if response.status().is_success() {
            Ok(None)
        } else {
            Ok(Some(said(response).await))
        }
    });
    match timeout(within, exchange).await {
        Ok(Ok(None)) => Answer::Accepted,
        Ok(Ok(Some(said))) => Answer::Refused(format!("{request}: {said}")),
        Ok(Err(why)) => Answer::Missing(why),
        Err(_) => Answer::Missing(format!("{request}: no answer within {within:?}")),
    }
}

/// An answer that is no yes, in one line of bounded length, with the next step where it is plain.
async fn said(response: Response<Incoming>) -> String {
    let status = response.status();
    let header = |name| {
        let value: &hyper::header::HeaderValue = response.headers().get(name)?;
        Some(shown(value.as_bytes()))
    };
    let mut text = format!("status {status}");
    if status.is_redirection() {
        let to = header(LOCATION).map_or_else(String::new, |to| format!(" to {to}"));
        text.push_str(&format!(
            ", a redirection{to}, which is not followed: write where it leads in `reload`"
        ));
    }
    if let (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)) = (status, header(ALLOW)) {
        text.push_str(&format!(", it allows {allowed}: correct `method` in `reload`"));
    }
    let body = shown(&beginning(response.into_body()).await);
    if !body.is_empty() {
        text.push_str(": ");
        text.push_str(&body);
    }
    text
}

/// As much of a body as comes soon and is worth reading.
async fn beginning(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    let more = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                read.extend_from_slice(&data[..data.len().min(READ - read.len())]);
            }
            if read.len() == READ {
                break;
            }
        }
    };
    // What came until then is shown.
    let _ = timeout(READ_WITHIN, more).await;
    read
}

/// Text from elsewhere for a message of ours: one line, nothing that moves a terminal's cursor, not long.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let line = words.join(" ");
    let mut shown: String = line.chars().take(SHOWN).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one request like this, and gives what it was asked.
    fn answers(text: &'static str) -> (HttpReload, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let request = HttpReload {
            method: service::Method::Put,
            authority: listener.local_addr().unwrap().to_string(),
            path: "/-/reload?now=1".to_owned(),
        };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut byte = [0];
            while !asked.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                asked.extend_from_slice(&byte);
            }
            stream.write_all(text.as_bytes()).unwrap();
            // Until the other side has what it wants.
            let _ = stream.read(&mut byte);
            String::from_utf8(asked).unwrap()
        });
        (request, server)
    }

    /// How this answer is taken, without the request at its beginning.
    async fn taken(text: &'static str) -> (Answer, String) {
        let (request, server) = answers(text);
        let answer = ask(&request, Duration::from_secs(20)).await;
        let asked = server.join().unwrap();
        let rest = |text: String| {
            text.strip_prefix(&format!("{request}: "))
                .unwrap_or_else(|| panic!("{text}"))
                .to_owned()
        };
        let answer = match answer {
            Answer::Accepted => Answer::Accepted,
            Answer::Refused(said) => Answer::Refused(rest(said)),
            Answer::Missing(why) => Answer::Missing(rest(why)),
        };
        (answer, asked)
    }

    fn refused(said: &str) -> Answer {
        Answer::Refused(said.to_owned())
    }

    #[tokio::test]
    async fn any_2xx_is_a_yes_and_its_body_is_not_waited_for() {
        let (answer, asked) = taken("HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n").await;
        assert_eq!(answer, Answer::Accepted);
        assert!(asked.starts_with("PUT /-/reload?now=1 HTTP/1.1\r\n"), "{asked}");
        // Some servers refuse a request of this kind whose length they do not know.
        assert!(asked.to_lowercase().contains("content-length: 0\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn any_other_answer_is_shown_in_one_line_of_bounded_length() {
        let (answer, _) = taken(
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 28\r\n\r\nfailed:\n\x1b[31m no such   rule\n",
        )
        .await;
        assert_eq!(
            answer,
            refused("status 500 Internal Server Error: failed: [31m no such rule")
        );
        // One that promises more than it sends is not waited for until the limit.
        let (answer, _) = taken("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nnot here").await;
        assert_eq!(answer, refused("status 403 Forbidden: not here"));
        let long: &'static str = Box::leak(
            format!(
                "HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n{}",
                "y".repeat(100_000)
            )
            .into(),
        );
        let (answer, _) = taken(long).await;
        let body = format!("{}…", "y".repeat(SHOWN));
        assert_eq!(
            answer,
            refused(&format!("status 503 Service Unavailable: {body}"))
        );
    }

    #[tokio::test]
    async fn a_redirection_is_not_followed_and_another_method_is_named() {
        let (answer, _) = taken(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(
            answer,
            refused(
                "status 307 Temporary Redirect, a redirection to http://elsewhere/, which is not followed: write \
                 where it leads in `reload`"
            )
        );
        let (answer, _) =
            taken("HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(
            answer,
            refused("status 405 Method Not Allowed, it allows POST: correct `method` in `reload`")
        );
    }

    #[tokio::test]
    async fn no_answer_is_told_from_a_no() {
        let (answer, _) = taken("what?\r\n\r\n").await;
        assert!(matches!(answer, Answer::Missing(_)), "{answer:?}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let request = HttpReload {
            method: service::Method::Post,
            authority: listener.local_addr().unwrap().to_string(),
            path: "/".to_owned(),
        };
        assert_eq!(listens(&request).await, Ok(()));
        let answer = ask(&request, Duration::from_millis(50)).await;
        assert_eq!(
            answer,
            Answer::Missing(format!("{request}: no answer within 50ms"))
        );
        // Its port is had and nobody listens there: one that is given back may be another test's by now.
        let deaf = tokio::net::TcpSocket::new_v4().unwrap();
        deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let request = HttpReload {
            authority: deaf.local_addr().unwrap().to_string(),
            ..request
        };
        let answer = ask(&request, Duration::from_secs(20)).await;
        assert!(
            matches!(&answer, Answer::Missing(why) if why.contains("Connection refused")),
            "{answer:?}"
        );
        let error = listens(&request).await.unwrap_err();
        assert!(
            error.contains(&format!("told by {request}: Connection refused")),
            "{error}"
        );
    }
}
