//! Probes: one look from outside, with a time limit of its own.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::settings::ProbeKind;

/// How long one look may take at most, whatever the interval.
const LONGEST: Duration = Duration::from_secs(2);

/// Looks once. None: it passed.
pub(super) async fn look(kind: &ProbeKind) -> Option<String> {
    let result = tokio::time::timeout(LONGEST, async {
        match kind {
            ProbeKind::Tcp(address) => TcpStream::connect(address)
                .await
                .map(|_| ())
                .map_err(|error| format!("{address}: {error}")),
            ProbeKind::Http { authority, path } => http(authority, path).await,
        }
    })
    .await;
    match result {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some(format!("no answer within {LONGEST:?}")),
    }
}

async fn http(authority: &str, path: &str) -> Result<(), String> {
    let url = format!("http://{authority}{path}");
    let failed = |error: &dyn std::fmt::Display| format!("GET {url}: {error}");
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|error| failed(&error))?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| failed(&error))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, authority)
        .header(hyper::header::USER_AGENT, "lockstep-probe")
        .body(http_body_util::Empty::<hyper::body::Bytes>::new())
        .map_err(|error| failed(&error))?;
    // The connection is driven here, not detached: it ends with this look. One that the server closes behind
    // its answer has delivered that answer first.
    let mut answer = std::pin::pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        _ = connection => answer.await,
    }
    .map_err(|error| failed(&error))?;
    if response.status().is_success() {
        Ok(())
    } else {
        Err(failed(&format!("status {}", response.status())))
    }
}
