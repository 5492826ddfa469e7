//! Speaking to the running reconciler, over its control socket.
//!
//! One that begins anew with other settings keeps its socket, answers nobody for a moment, and is asked again. One that
//! has ended has no socket any more, and that ends the asking.

use std::cell::Cell;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Failure, output};
use crate::settings::{Reach, Settings};
use crate::web;

/// Whoever speaks to the reconciler of these settings.
pub(super) struct Client {
    reach: Reach,
    /// It was said that the settings cannot be used as they lie there.
    warned: Cell<bool>,
}

/// Why there is no answer.
enum Unanswered {
    /// Nobody is there, or what was asked makes no sense.
    For(Failure),
    /// Whoever was there has ended, or begins anew.
    Meanwhile(Failure),
}

#[derive(Debug, serde::Deserialize)]
struct ErrorBody {
    error: String,
}

impl Client {
    pub(super) fn of(settings: &Settings) -> Self {
        Self::at(Reach::of(settings))
    }

    pub(super) fn at(reach: Reach) -> Self {
        Self {
            reach,
            warned: Cell::new(false),
        }
    }

    /// Reads something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        decode(self.send(Method::GET, path, || Ok(Bytes::new())).await?).await
    }

    /// Asks for something that does no harm when it is asked for twice.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.post_anew(path, || body).await
    }

    /// The same, with a body that is made anew whenever it has to be asked again.
    pub(super) async fn post_anew<T: DeserializeOwned, B: Serialize>(
        &self,
        path: &str,
        body: impl Fn() -> B,
    ) -> Result<T, Failure> {
        let body = || {
            serde_json::to_vec(&body())
                .map(Bytes::from)
                .map_err(Failure::refused)
        };
        decode(self.send(Method::POST, path, body).await?).await
    }

    /// Asks once for something that must not be done twice.
    pub(super) async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::refused)?;
        match self.exchange(Method::POST, path, body.into()).await {
            Ok(response) => decode(response).await,
            Err(Unanswered::For(failure) | Unanswered::Meanwhile(failure)) => Err(failure),
        }
    }

    /// Sends a request and gives the answer when its head is there.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Fn() -> Result<Bytes, Failure>,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            match self.exchange(method.clone(), path, body()?).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::For(failure)) => return Err(failure),
                // Ends, because nobody can be connected to who has ended.
                Err(Unanswered::Meanwhile(_)) => {}
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Unanswered> {
        let stream = web::connect(&self.reach.state)
            .await
            .map_err(|error| Unanswered::For(self.unreachable(&error)))?;
        self.warn();
        let meanwhile = |error: &dyn std::fmt::Display| Unanswered::Meanwhile(self.unreachable(error));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| meanwhile(&error))?;
        // Ends with the answer, or with this program.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "lockstep")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Unanswered::For(Failure::misuse(error.to_string())))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| meanwhile(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|error| meanwhile(&error))?
            .to_bytes();
        let message = serde_json::from_slice::<ErrorBody>(&bytes).map_or_else(
            |_| String::from_utf8_lossy(&bytes).into_owned(),
            |body| body.error,
        );
        // It is not refused: nobody is there to say so.
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(Unanswered::Meanwhile(Failure::unreachable(message)));
        }
        // Somebody is there, and cannot work: to ask again at once would change nothing.
        if status == StatusCode::BAD_GATEWAY {
            return Err(Unanswered::For(Failure::unreachable(message)));
        }
        Err(Unanswered::For(Failure::refused(message)))
    }

    /// Somebody is there, on settings that were read before.
    fn warn(&self) {
        if let Some(why) = &self.reach.unusable
            && !self.warned.replace(true)
        {
            output::note(format_args!(
                "lockstep: the reconciler goes on with the settings that it read before: {why}"
            ));
        }
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> Failure {
        if let Some(why) = &self.reach.unusable {
            return Failure::misuse(why);
        }
        Failure::unreachable(format!(
            "the reconciler cannot be reached at {}: {error}; start it with `lockstep run --settings {}`",
            self.reach.state.join(web::CONTROL).display(),
            self.reach.file.display()
        ))
    }
}

async fn decode<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failure> {
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(Failure::unreachable)?
        .to_bytes();
    serde_json::from_slice(&bytes).map_err(Failure::refused)
}
