//! A line to a server: dialled, and then read and written with a limit on each piece, on the whole, and on how
//! much may come. What goes wrong is kept as an error of ours, because libgit2 would only pass on a sentence.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::Service;
use super::dial::Dial;
use super::refused::Refused;
use crate::net::address::Scheme;
use crate::{Mirror, SourceError};

/// The most that a listing may take: half a million refs.
const LISTING_BYTES: u64 = 64 << 20;

/// What git's protocol goes over.
enum Wire {
    Git(TcpStream),
    #[cfg(feature = "https")]
    Https(Box<super::https::Exchange>),
    #[cfg(feature = "ssh")]
    Ssh(Box<super::ssh::Channel>),
}

/// A line to a server.
pub(crate) struct Line {
    /// Gone only while it is dropped.
    wire: Option<Wire>,
    runtime: Option<Runtime>,
    dial: Dial,
    /// What is being done, as a phrase.
    doing: &'static str,
    /// How much has come, and how much may.
    received: u64,
    allowed: u64,
    failure: Option<SourceError>,
}

impl Line {
    /// Reaches the server: when this returns, either side has proved who it is, and the listing comes.
    pub(crate) fn dial(mirror: &Mirror, service: Service, whole: Duration) -> Result<Self, SourceError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|e| SourceError::Unreachable {
                url: mirror.url.clone(),
                why: format!("this machine gives no means to wait for it ({e})"),
            })?;
        let dial = Dial::new(mirror, service, whole);
        let wire = runtime.block_on(wire(&dial));
        let mut line = Self {
            wire: None,
            runtime: Some(runtime),
            dial,
            doing: "listing its branches",
            received: 0,
            allowed: LISTING_BYTES,
            failure: None,
        };
        line.wire = Some(wire?);
        Ok(line)
    }

    /// Whether each question is asked anew, as HTTP has it.
    pub(crate) fn is_stateless(&self) -> bool {
        match &self.wire {
            #[cfg(feature = "https")]
            Some(Wire::Https(_)) => true,
            #[cfg(feature = "ssh")]
            Some(Wire::Ssh(_)) => false,
            Some(Wire::Git(_)) | None => false,
        }
    }

    /// The listing is over: what comes now is a transfer.
    pub(crate) fn begin(&mut self, doing: &'static str, bytes: u64) {
        self.doing = doing;
        self.received = 0;
        // What is counted is what is sent, in pieces with heads of their own: somewhat more than the pack.
        self.allowed = bytes.saturating_add(bytes / 8).saturating_add(1 << 20);
    }

    /// The next question is asked.
    pub(crate) fn ask(&mut self) {
        match &mut self.wire {
            #[cfg(feature = "https")]
            Some(Wire::Https(exchange)) => exchange.ask(),
            #[cfg(feature = "ssh")]
            Some(Wire::Ssh(_)) => {}
            Some(Wire::Git(_)) | None => {}
        }
    }

    /// What is being done, as a phrase.
    pub(crate) fn doing(&self) -> &'static str {
        self.doing
    }

    /// What went wrong on the line, if that is what made libgit2 fail.
    pub(crate) fn failure(&mut self) -> Option<SourceError> {
        self.failure.take()
    }

    /// What the other end's program said, beside the protocol.
    pub(crate) fn said(&self) -> Option<String> {
        match &self.wire {
            #[cfg(feature = "ssh")]
            Some(Wire::Ssh(channel)) => channel.said(),
            #[cfg(feature = "https")]
            Some(Wire::Https(_)) => None,
            Some(Wire::Git(_)) | None => None,
        }
    }

    /// The error that the time is up.
    pub(crate) fn timed_out(&self) -> SourceError {
        self.dial.timed_out(self.doing)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let read = self.within(async |wire, dial| match wire {
            Wire::Git(stream) => {
                let read = tokio::io::AsyncReadExt::read(stream, buffer).await;
                read.map_err(|e| dial.unreachable(&e))
            }
            #[cfg(feature = "https")]
            Wire::Https(exchange) => exchange.read(dial, buffer).await,
            #[cfg(feature = "ssh")]
            Wire::Ssh(channel) => Ok(channel.read(buffer).await),
        })?;
        self.received += read as u64;
        if self.received > self.allowed {
            self.failure = Some(if self.doing == "listing its branches" {
                let (url, limit) = (self.dial.url.clone(), LISTING_BYTES);
                Refused::ListingTooLong { url, limit }.into()
            } else {
                SourceError::TooLarge {
                    url: self.dial.url.clone(),
                    revision: "the head".to_owned(),
                    limit: self.dial.bounds.fetch_bytes,
                }
            });
            return Err(());
        }
        Ok(read)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.within(async |wire, dial| match wire {
            Wire::Git(stream) => {
                let written = tokio::io::AsyncWriteExt::write_all(stream, bytes).await;
                written.map_err(|e| dial.unreachable(&e))
            }
            #[cfg(feature = "https")]
            Wire::Https(exchange) => exchange.write(dial, bytes),
            #[cfg(feature = "ssh")]
            Wire::Ssh(channel) => channel.write(dial, bytes).await,
        })
    }

    /// Does something with the wire within the limits.
    fn within<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Wire, &Dial) -> Result<T, SourceError>,
    ) -> Result<T, ()> {
        let (Some(wire), Some(runtime)) = (&mut self.wire, &self.runtime) else {
            return Err(());
        };
        if self.failure.is_some() {
            return Err(());
        }
        let dial = &self.dial;
        let outcome = runtime.block_on(dial.step(self.doing, dial.bounds.silence, work(wire, dial)));
        outcome.map_err(|failure| self.failure = Some(failure))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The wire's own tasks are of the runtime: it goes first.
        drop(self.wire.take());
        // A look-up of a name cannot be called off; nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn wire(dial: &Dial) -> Result<Wire, SourceError> {
    match dial.address.scheme {
        Scheme::Git => Ok(Wire::Git(greeted(dial).await?)),
        #[cfg(feature = "https")]
        Scheme::Https => Ok(Wire::Https(Box::new(super::https::Exchange::begin(dial).await?))),
        #[cfg(feature = "ssh")]
        Scheme::Ssh => Ok(Wire::Ssh(Box::new(super::ssh::Channel::open(dial).await?))),
        #[cfg(not(all(feature = "https", feature = "ssh")))]
        other => unreachable!("a URL of kind {other:?} is not taken by this build"),
    }
}

/// git:// begins with one line that says what is wanted of whom.
async fn greeted(dial: &Dial) -> Result<TcpStream, SourceError> {
    let mut stream = dial.tcp().await?;
    let (program, path, host) = (dial.service.program(), dial.path(), dial.address.authority());
    let wanted = format!("{program} {path}\0host={host}\0");
    let packet = format!("{:04x}{wanted}", wanted.len() + 4);
    dial.step("listing its branches", dial.bounds.silence, async {
        let written = tokio::io::AsyncWriteExt::write_all(&mut stream, packet.as_bytes()).await;
        written.map_err(|e| dial.unreachable(&e))
    })
    .await?;
    Ok(stream)
}
