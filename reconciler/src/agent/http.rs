//! One exchange over HTTP with a service: a request without a body, and what becomes of its answer.
//!
//! No redirection is followed and no proxy asked: what is written in the settings is what is spoken to.

use hyper::Response;
use hyper::body::{Bytes, Incoming};
use hyper::http::Method;
use tokio::net::TcpStream;

/// Sends a request and has its answer looked into. Errors name the request. Takes as long as the service does.
pub(super) async fn exchange<T>(
    (method, authority, path): (Method, &str, &str),
    agent: &'static str,
    look: impl AsyncFnOnce(Response<Incoming>) -> Result<T, String>,
) -> Result<T, String> {
    let place = format!("{method} http://{authority}{path}");
    let failed = |error: &dyn std::fmt::Display| format!("{place}: {error}");
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|error| failed(&error))?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| failed(&error))?;
    let mut request = hyper::Request::builder()
        .uri(path)
        .header(hyper::header::HOST, authority)
        .header(hyper::header::USER_AGENT, agent);
    if method != Method::GET {
        // Some servers refuse one that may have a body and does not say how long it is.
        request = request.header(hyper::header::CONTENT_LENGTH, 0);
    }
    let request = request
        .method(method)
        .body(http_body_util::Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        look(response).await.map_err(|error| failed(&error))
    };
    // The connection is driven here, not detached: it ends with this look. One that the server closes behind its
    // answer has delivered that answer first.
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        _ = connection => exchange.await,
    }
}
