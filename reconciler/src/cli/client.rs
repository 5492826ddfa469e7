//! Speaking to the running reconciler, over its control socket.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::settings::Settings;
use crate::web;

/// A connection to the reconciler of these settings.
pub(super) struct Client<'s> {
    settings: &'s Settings,
}

#[derive(Debug, serde::Deserialize)]
struct ErrorBody {
    error: String,
}

impl<'s> Client<'s> {
    pub(super) fn of(settings: &'s Settings) -> Self {
        Self { settings }
    }

    /// Reads something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        decode(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Asks for something to be done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::refused)?;
        decode(self.send(Method::POST, path, body.into()).await?).await
    }

    /// Sends a request and gives the answer when its head is there.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let socket = self.settings.state.join(web::CONTROL);
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::unreachable(format!(
                "the reconciler cannot be reached at {}: {error}; start it with `lockstep run --settings {}`",
                socket.display(),
                self.settings.file.display()
            ))
        };
        let stream = web::connect(&self.settings.state)
            .await
            .map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        // Ends with the answer, or with this program.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "lockstep")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::misuse(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|error| unreachable(&error))?
            .to_bytes();
        let message = serde_json::from_slice::<ErrorBody>(&bytes).map_or_else(
            |_| String::from_utf8_lossy(&bytes).into_owned(),
            |body| body.error,
        );
        // It is not refused: nobody is there to say so.
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(Failure::unreachable(message));
        }
        Err(Failure::refused(message))
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
