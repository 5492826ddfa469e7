//! The API, metrics and health, on two doors: the control socket in the state folder, and the web port.
//!
//! The control socket belongs to the user who runs the reconciler (0600) and does everything. The web port has
//! no users yet, so it only shows: status, events, plan, metrics, health. It never changes anything.

mod api;
mod control;

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use api::Door;
pub use api::{Pass, PlanQuery, Suspend, WaitFor, Waited};
use control::Peer;
pub use control::{CONTROL, answers, connect};

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
        address: SocketAddr,
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
}

/// How often a port is tried that the reconciler before still holds.
const PORT_AGAIN: Duration = Duration::from_secs(1);

/// The web port, opened before anything is claimed: one that cannot be had changes nothing.
pub enum Port {
    /// The settings want none.
    Unwanted,
    /// It is open.
    Open(SocketAddr, std::net::TcpListener),
    /// The reconciler that is taken over holds it: it is opened once that one is gone.
    Awaited(SocketAddr),
}

impl Port {
    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened; one that is in use is awaited by a reconciler that takes over.
    pub fn open(settings: &Settings, take_over: bool, kept: &Kept) -> Result<Self, WebError> {
        let Some(web) = &settings.web else {
            return Ok(Self::Unwanted);
        };
        let address = web.listen;
        let listener = match &kept.port {
            Some((known, listener)) if *known == address => listener.try_clone(),
            Some(_) | None => listen(address),
        };
        match listener {
            Ok(listener) => Ok(Self::Open(address, listener)),
            // Awaited by one that takes over, and still so when that one begins anew.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && (take_over || kept.awaited == Some(address)) =>
            {
                Ok(Self::Awaited(address))
            }
            Err(source) => Err(WebError::Port { address, source }),
        }
    }

    /// The open port; nothing if there is to be none, or the program ends before it is free.
    async fn listener(self, mut stop: watch::Receiver<bool>) -> Option<TcpListener> {
        let address = match self {
            Self::Unwanted => return None,
            Self::Open(_, listener) => return TcpListener::from_std(listener).ok(),
            Self::Awaited(address) => address,
        };
        tracing::warn!(
            "the web port {address} is in use by the reconciler before: it is opened once that one has ended"
        );
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return Some(listener),
                Err(error) => tracing::debug!(%error, "the web port {address} is not free yet"),
            }
            // An error says that the sender is gone, which means the same.
            if tokio::time::timeout(PORT_AGAIN, stop.wait_for(|stop| *stop))
                .await
                .is_ok()
            {
                return None;
            }
        }
    }
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

/// Doors that stay open while the reconciler begins anew: whoever knocks meanwhile waits for a moment.
#[derive(Debug, Default)]
pub struct Kept {
    control: Option<UnixListener>,
    port: Option<(SocketAddr, std::net::TcpListener)>,
    awaited: Option<SocketAddr>,
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Opens both doors.
///
/// # Errors
/// When the control socket cannot be opened.
pub fn start(settings: &Settings, handle: Handle, port: Port, kept: &mut Kept) -> Result<Web, WebError> {
    let failed = |source| WebError::Socket {
        path: settings.state.join(CONTROL),
        source,
    };
    let control = match kept.control.take() {
        Some(control) => control,
        None => control::bind(&settings.state)?,
    };
    kept.control = Some(control.try_clone().map_err(failed)?);
    let control = tokio::net::UnixListener::from_std(control).map_err(failed)?;
    kept.port = match &port {
        Port::Open(address, listener) => listener.try_clone().ok().map(|listener| (*address, listener)),
        Port::Unwanted | Port::Awaited(_) => None,
    };
    kept.awaited = match &port {
        Port::Awaited(address) => Some(*address),
        Port::Unwanted | Port::Open(..) => None,
    };
    let stop = watch::Sender::new(false);
    let mut servers = JoinSet::new();
    let door = Door {
        handle,
        stop: stop.subscribe(),
    };
    let whole = shown(door.clone()).merge(changing(door.clone()));
    servers.spawn(serve_known(control, whole, stop.subscribe()));
    let stopped = stop.subscribe();
    servers.spawn(async move {
        let Some(listener) = port.listener(stopped.clone()).await else {
            return Ok(());
        };
        // With port 0 only the listener knows.
        tracing::info!("web port at http://{}", listener.local_addr()?);
        serve(listener, shown(door), stopped).await
    });
    Ok(Web { servers, stop })
}

/// Answers at the kept doors while nobody works behind them, to everybody why. Says whether `down` was asked for within
/// this time.
pub async fn stand_in(kept: &Kept, why: &str, time: Duration) -> bool {
    let asked = watch::Sender::new(false);
    let everybody = api::standing_in(why);
    let down = asked.clone();
    let control = everybody.clone().route(
        "/api/v1/down",
        post(async move || {
            down.send_replace(true);
            Json(())
        }),
    );
    let mut servers = JoinSet::new();
    let socket = kept.control.as_ref().and_then(|socket| socket.try_clone().ok());
    if let Some(socket) = socket.and_then(|socket| tokio::net::UnixListener::from_std(socket).ok()) {
        servers.spawn(serve(socket, control, asked.subscribe()));
    }
    let port = kept.port.as_ref().and_then(|(_, port)| port.try_clone().ok());
    if let Some(port) = port.and_then(|port| TcpListener::from_std(port).ok()) {
        servers.spawn(serve(port, everybody, asked.subscribe()));
    }
    let mut told = asked.subscribe();
    // The sender lives as long as this does.
    if tokio::time::timeout(time, told.wait_for(|asked| *asked))
        .await
        .is_err()
    {
        return false;
    }
    let answered = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS, answered).await;
    true
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
        .route("/api/v1/pass", post(api::pass))
        .route("/api/v1/suspend", post(api::suspend))
        .route("/api/v1/resume", post(api::resume))
        .route("/api/v1/commit", post(api::commit))
        .route("/api/v1/down", post(api::down))
        .with_state(door)
}

/// Serves the control socket, where it is known who asks.
async fn serve_known(
    listener: tokio::net::UnixListener,
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(stopped(stop))
        .await
}

async fn serve<L>(listener: L, router: Router, stop: watch::Receiver<bool>) -> io::Result<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    axum::serve(listener, router)
        .with_graceful_shutdown(stopped(stop))
        .await
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error says that the sender is gone, which means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
