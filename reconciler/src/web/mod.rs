//! The API, metrics and health, on two doors: the control socket in the state folder, and the web port.
//!
//! The control socket belongs to the user who runs the reconciler (0600) and does everything. The web port has
//! no users yet, so it only shows: status, events, plan, metrics, health. It never changes anything.

mod api;
mod control;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use api::Door;
pub use api::{PlanQuery, Suspend, WaitFor, Waited};
pub use control::{CONTROL, connect};

use crate::coordinator::Handle;
use crate::settings::Settings;

/// How long answers that are under way may take when the program ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The web port.
    #[error("the web port {address} cannot be opened: {source}; choose another [web] listen")]
    Port {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The control socket.
    #[error("the control socket {path} cannot be opened: {source}")]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another reconciler answers on it.
    #[error(
        "a reconciler answers on {path} already; end it first (`lockstep down` ends services too), or start this \
         one with --take-over"
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
}

/// The open doors.
pub struct Web {
    servers: JoinSet<io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Web {
    /// Closes the doors and waits for the answers that are under way.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let answered = async { while self.servers.join_next().await.is_some() {} };
        // A client that neither reads nor leaves does not keep the program.
        if tokio::time::timeout(LAST_ANSWERS, answered).await.is_err() {
            self.servers.shutdown().await;
        }
    }
}

/// Opens both doors.
///
/// # Errors
/// When one of them cannot be opened.
pub async fn start(settings: &Settings, handle: Handle, take_over: bool) -> Result<Web, WebError> {
    let stop = watch::Sender::new(false);
    let mut servers = JoinSet::new();
    let control = control::bind(&settings.state, take_over).await?;
    let door = Door {
        handle,
        stop: stop.subscribe(),
    };
    let whole = shown(door.clone()).merge(changing(door.clone()));
    servers.spawn(serve(control, whole, stop.subscribe()));
    if let Some(web) = &settings.web {
        let listen = web.listen;
        let listener = TcpListener::bind(listen).await.map_err(|source| WebError::Port {
            address: listen,
            source,
        })?;
        // With port 0 only the listener knows.
        let address = listener.local_addr().unwrap_or(listen);
        tracing::info!("web port at http://{address}");
        servers.spawn(serve(listener, shown(door), stop.subscribe()));
    }
    Ok(Web { servers, stop })
}

fn shown(door: Door) -> Router {
    Router::new()
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/events", get(api::events))
        .route("/api/v1/plan", get(api::plan))
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(api::metrics))
        .with_state(door)
}

fn changing(door: Door) -> Router {
    Router::new()
        .route("/api/v1/sync", post(api::sync))
        .route("/api/v1/wait", post(api::wait))
        .route("/api/v1/retry", post(api::retry))
        .route("/api/v1/suspend", post(api::suspend))
        .route("/api/v1/resume", post(api::resume))
        .route("/api/v1/commit", post(api::commit))
        .route("/api/v1/down", post(api::down))
        .with_state(door)
}

fn serve<L>(
    listener: L,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = io::Result<()>> + Send
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let stopped = async move {
        // An error says that the sender is gone, which means the same.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(stopped)
            .await
    }
}
