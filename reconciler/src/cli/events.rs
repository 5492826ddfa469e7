//! `lockstep events`.

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Bytes;
use jiff::Timestamp;

use super::client::Client;
use super::{Failure, SettingsFile, block_on, moment, output, story};
use crate::events::Event;

/// Show what happened: each step of each rollout, refusals, ends of services
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep events --since 1h\n  lockstep events --follow\n  \
                        lockstep events --json --follow --since 120 | jq -r 'select(.kind == \"Settled\") | .total_us'"
)]
pub(super) struct Events {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Go on with what happens from now on, until interrupted
    #[arg(long)]
    follow: bool,
    /// Only what came after: an event's number, a duration as in "10m", a time as in "09:30"
    #[arg(long, value_name = "SINCE", value_parser = since)]
    since: Option<Since>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
enum Since {
    Number(u64),
    Time(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    match text.parse() {
        Ok(number) => Ok(Since::Number(number)),
        Err(_) => moment::past(text).map(Since::Time),
    }
}

impl Events {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let settings = settings.read()?;
        let (after, earliest) = match self.since {
            None => (0, None),
            Some(Since::Number(number)) => (number, None),
            Some(Since::Time(time)) => (0, Some(time)),
        };
        block_on(async {
            let mut stream = EventStream::open(&Client::of(&settings), after, self.follow).await?;
            while let Some((line, event)) = stream.next().await? {
                if earliest.is_some_and(|earliest| event.at < earliest) {
                    continue;
                }
                if self.json {
                    output::line(line)?;
                } else {
                    output::print(&story::tell(&event))?;
                }
            }
            if self.follow {
                return Err(Failure::unreachable(
                    "the reconciler ended; its events can be read again when it is back",
                ));
            }
            Ok(())
        })
    }
}

/// The events of a reconciler, one after the other.
pub(super) struct EventStream {
    body: hyper::body::Incoming,
    bytes: Vec<u8>,
}

impl EventStream {
    /// Opens the stream after an event's number; with `follow` it goes on until the reconciler ends.
    pub(super) async fn open(client: &Client<'_>, after: u64, follow: bool) -> Result<Self, Failure> {
        let path = format!("/api/v1/events?since={after}&follow={follow}");
        let body = client.send(Method::GET, &path, Bytes::new()).await?.into_body();
        Ok(Self {
            body,
            bytes: Vec::new(),
        })
    }

    /// The next event, with the line that it came in; nothing at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Event)>, Failure> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                let event = serde_json::from_str(&line).map_err(|error| {
                    Failure::refused(format!(
                        "an event is not understood: {error}; is `lockstep run` of another version?"
                    ))
                })?;
                return Ok(Some((line, event)));
            }
            match self.body.frame().await {
                None => return Ok(None),
                // Cut short by the end of the reconciler, which is an end like the other.
                Some(Err(_)) => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.bytes.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
}
