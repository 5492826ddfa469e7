//! `lockstep status`.

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use lockstep_core::status::StatusView;

use super::client::Client;
use super::{Failure, SettingsFile, block_on, output, picture};

/// Clears the terminal and goes to its first line.
const FRESH: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Show what is live, what is under way, and what each instance runs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep status\n  lockstep status --watch\n  lockstep status --json | jq -r .live.revision"
)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show it anew at each change, until interrupted
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let client = Client::at(settings.reach()?);
        block_on(async {
            if !self.watch {
                let status: StatusView = client.get("/api/v1/status").await?;
                return if self.json {
                    output::json(&status)
                } else {
                    output::print(&picture::draw(&status))
                };
            }
            // Over the moment in which it begins anew with other settings, until nobody is there any more.
            loop {
                let mut changes = Documents::open(&client, "/api/v1/status?follow=true").await?;
                while let Some(line) = changes.next().await {
                    if self.json {
                        output::line(line)?;
                    } else {
                        let status: StatusView = serde_json::from_str(&line).map_err(not_understood)?;
                        let fresh = if output::is_terminal() { FRESH } else { "" };
                        output::print(&format!("{fresh}{}", picture::draw(&status)))?;
                    }
                }
            }
        })
    }
}

/// A document that this program does not know.
pub(super) fn not_understood(error: serde_json::Error) -> Failure {
    Failure::refused(format!(
        "the reconciler's answer is not understood: {error}; is `lockstep run` of another version?"
    ))
}

/// Documents that the reconciler sends, one a line, as they come.
pub(super) struct Documents {
    body: Incoming,
    bytes: Vec<u8>,
}

impl Documents {
    /// Asks for them.
    pub(super) async fn open(client: &Client, path: &str) -> Result<Self, Failure> {
        let body = client
            .send(Method::GET, path, || Ok(Bytes::new()))
            .await?
            .into_body();
        Ok(Self {
            body,
            bytes: Vec::new(),
        })
    }

    /// The next line; nothing at the end, also when the reconciler's end cut it short.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if let Ok(bytes) = self.body.frame().await?.ok()?.into_data() {
                self.bytes.extend_from_slice(&bytes);
            }
        }
    }
}
