//! The counts: what a test asserts about the broker's side of a session.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// What happened since the start.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counts {
    /// Sessions that were established: a connection counts once its client id was accepted.
    pub(crate) connections_total: u64,
    /// Sessions that are established now.
    pub(crate) open: u64,
    /// Requests received in established sessions.
    pub(crate) requests: u64,
    /// Established sessions that ended.
    pub(crate) disconnects: u64,
    /// Connections that were refused because their client id was in use.
    pub(crate) refused: u64,
    /// The client ids of the sessions that are established now.
    pub(crate) clients: Vec<i32>,
}

/// The counts, and the file that shows them.
pub(crate) struct Stats {
    counts: Mutex<Counts>,
    file: Option<PathBuf>,
}

/// The counts cannot be shown in their file.
#[derive(Debug, thiserror::Error)]
#[error("{}: the counts cannot be written: {source}; name a file in a writable folder", file.display())]
pub(crate) struct StatsError {
    file: PathBuf,
    source: std::io::Error,
}

impl Stats {
    pub(crate) fn new(file: Option<PathBuf>) -> Result<Self, StatsError> {
        let stats = Self {
            counts: Mutex::default(),
            file,
        };
        stats.show(&Counts::default())?;
        Ok(stats)
    }

    fn show(&self, counts: &Counts) -> Result<(), StatsError> {
        let Some(file) = &self.file else { return Ok(()) };
        write(file, counts).map_err(|source| StatsError {
            file: file.clone(),
            source,
        })
    }

    /// Changes the counts and shows the change before it returns.
    ///
    /// The change decides on its own result, so a client id is checked and taken in one step.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Counts) -> R) -> R {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut counts);
        if let Err(error) = self.show(&counts) {
            tracing::error!("{error}");
        }
        result
    }

    fn line(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        json(&counts)
    }

    /// Sends the counts to whoever connects.
    pub(crate) async fn answer(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                // A few bytes always fit into the socket's buffer: a reader that does not read holds up nobody.
                Ok((mut stream, _)) => {
                    let _ = stream.write_all(self.line().as_bytes()).await;
                }
                Err(error) => {
                    tracing::error!("the counts are not answered any more: {error}");
                    return;
                }
            }
        }
    }
}

fn json(counts: &Counts) -> String {
    let mut line = serde_json::to_string(counts).expect("numbers only");
    line.push('\n');
    line
}

/// Written beside and renamed, so that a reader always gets a whole document.
fn write(file: &Path, counts: &Counts) -> std::io::Result<()> {
    let mut beside = file.to_owned().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, json(counts))?;
    std::fs::rename(&beside, file)
}
