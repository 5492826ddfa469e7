//! Dialling: where to, how long, and the steps that all kinds of lines share.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Service;
use super::address::{Address, percent_decoded};
use super::hang_up::HangUp;
use super::secret::LastGood;
use crate::spec::Transport;
use crate::{Access, Bounds, Mirror, SourceError};

/// One attempt to reach a server, and everything it has to know.
pub(crate) struct Dial {
    /// As messages show it.
    pub(crate) url: String,
    pub(crate) address: Address,
    pub(crate) service: Service,
    pub(crate) access: Access,
    pub(crate) last_good: LastGood,
    pub(crate) bounds: Bounds,
    hang_up: HangUp,
    began: Instant,
    /// How long all of it may take.
    whole: Duration,
}

impl Dial {
    pub(crate) fn new(mirror: &Mirror, service: Service, whole: Duration) -> Self {
        let address = match &mirror.transport {
            Transport::Remote(address) => address.clone(),
            Transport::Local(_) => unreachable!("a folder is opened, not dialled"),
        };
        Self {
            url: mirror.url.clone(),
            address,
            service,
            access: mirror.spec.access.clone(),
            last_good: mirror.last_good.clone(),
            bounds: mirror.spec.bounds,
            hang_up: mirror.hang_up.clone(),
            began: Instant::now(),
            whole,
        }
    }

    /// Does one step within its limit and that of the whole.
    pub(crate) async fn step<T>(
        &self,
        doing: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        let left = self.whole.saturating_sub(self.began.elapsed());
        tokio::select! {
            // Looked at first: a wish to end that is there already lets no step begin.
            biased;
            () = self.hang_up.wanted() => Err(self.unreachable(&io::Error::other("the program ends"))),
            outcome = timeout(limit.min(left), work) => outcome.unwrap_or_else(|_| Err(self.timed_out(doing))),
        }
    }

    /// The repository's path as the server's file system has it.
    pub(crate) fn path(&self) -> String {
        let path = percent_decoded(&self.address.path);
        // As git has it: /~user/… and /~/… count from a home.
        match path.strip_prefix('/') {
            Some(home) if home.starts_with('~') => home.to_owned(),
            _ => path,
        }
    }

    /// Who is asked for, and as whom.
    #[cfg(any(feature = "https", feature = "ssh"))]
    pub(crate) fn user(&self) -> Option<&str> {
        let own = self.access.username.as_deref();
        self.address.user.as_deref().or(own)
    }

    /// Finds the server's address and connects.
    pub(crate) async fn tcp(&self) -> Result<TcpStream, SourceError> {
        let place = (self.address.host.as_str(), self.address.port);
        let found: Vec<SocketAddr> = self
            .step("looking up its name", self.bounds.connect, async {
                let found = tokio::net::lookup_host(place).await;
                Ok(found.map_err(|e| self.unreachable(&e))?.collect())
            })
            .await?;
        let began = Instant::now();
        let mut failure = self.unreachable(&io::Error::other("its name leads to no address"));
        for (index, address) in found.iter().enumerate() {
            // One address that swallows everything leaves time for the others.
            let left = self.bounds.connect.saturating_sub(began.elapsed());
            let share = left / u32::try_from(found.len() - index).unwrap_or(u32::MAX);
            let attempt = self.step("connecting", share, async {
                TcpStream::connect(address)
                    .await
                    .map_err(|e| self.unreachable(&e))
            });
            match attempt.await {
                Ok(stream) => {
                    // Questions are short and wait for an answer.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    pub(crate) fn timed_out(&self, doing: &'static str) -> SourceError {
        SourceError::TimedOut {
            url: self.url.clone(),
            doing,
            after: rounded(self.began.elapsed()),
        }
    }

    pub(crate) fn unreachable(&self, error: &io::Error) -> SourceError {
        SourceError::Unreachable {
            url: self.url.clone(),
            why: error.to_string(),
        }
    }
}

/// In steps of a tenth of a second: the same failure is to read the same each time.
fn rounded(time: Duration) -> Duration {
    let tenths = (time.as_millis() + 50) / 100;
    Duration::from_millis(100 * u64::try_from(tenths).unwrap_or(0))
}
