//! Sending traces by OTLP over HTTP, with the exporter of OpenTelemetry's own SDK: headers, time-out, the service's name
//! and further attributes are told by the `OTEL_` variables that every program of this kind knows.

use std::env;
use std::time::SystemTime;

use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sha2::{Digest as _, Sha256};

use super::follow::Receiver;
use super::spans::Span;
use crate::settings::Telemetry;

/// Whoever receives the traces.
#[derive(Debug)]
pub(super) struct Collector {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    failing: bool,
}

/// A variable that says something.
fn var(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Collector {
    /// The collector of the settings, else of the environment; none where neither names one, or the environment says
    /// that there is to be none.
    pub(super) fn of(settings: Option<Telemetry>) -> Result<Option<Self>, ExporterBuildError> {
        let off = var("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || var("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let named = var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| var("OTEL_EXPORTER_OTLP_ENDPOINT"));
        if off || (settings.is_none() && named.is_none()) {
            return Ok(None);
        }
        let mut builder = SpanExporter::builder().with_http();
        if let Some(Telemetry { otlp }) = settings {
            builder = builder.with_endpoint(format!("{}/v1/traces", otlp.trim_end_matches('/')));
        }
        let mut exporter = builder.build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut resource = Resource::builder().with_attribute(version);
        let told = |attributes: String| attributes.contains("service.name=");
        if var("OTEL_SERVICE_NAME").is_none() && !var("OTEL_RESOURCE_ATTRIBUTES").is_some_and(told) {
            resource = resource.with_service_name("lockstep");
        }
        exporter.set_resource(&resource.build());
        Ok(Some(Self {
            exporter,
            scope: InstrumentationScope::builder("lockstep").build(),
            failing: false,
        }))
    }

    /// The spans as the exporter wants them. Their ids are made of what they tell.
    fn data(&self, trace: Vec<Span>) -> Vec<SpanData> {
        let seed = Sha256::digest(format!("{:?}", trace.first()));
        let trace_id = TraceId::from(u128::from_be_bytes(first_bytes(&seed)));
        let id = |place: usize| {
            let hash = Sha256::new().chain_update(seed).chain_update(place.to_be_bytes());
            SpanId::from(u64::from_be_bytes(first_bytes(&hash.finalize())))
        };
        let spans = trace.into_iter().enumerate().map(|(place, span)| SpanData {
            span_context: SpanContext::new(
                trace_id,
                id(place),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: span.parent.map_or(SpanId::INVALID, id),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: span.name.into(),
            start_time: time(span.began),
            end_time: time(span.ended),
            attributes: span
                .attributes
                .into_iter()
                .map(|(key, value)| KeyValue::new(key, value))
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        });
        spans.collect()
    }
}

fn time(time: Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The first bytes of a hash, as many as are wanted.
fn first_bytes<const N: usize>(hash: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash[..N]);
    bytes
}

impl Receiver for Collector {
    async fn receive(&mut self, trace: Vec<Span>) {
        let data = self.data(trace);
        let sent = self.exporter.export(data).await;
        // Said when it changes, not at each commit.
        match sent {
            Err(error) if !self.failing => {
                tracing::warn!(%error, "traces cannot be sent; nothing else is affected");
                self.failing = true;
            }
            Ok(()) if self.failing => {
                tracing::info!("traces are sent again");
                self.failing = false;
            }
            Ok(()) | Err(_) => {}
        }
    }
}
