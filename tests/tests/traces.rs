//! Traces of rollouts, received by a collector of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use lockstep_protocol::Revision;
use lockstep_tests::wait::{PATIENCE, eventually};
use lockstep_tests::{Builder, Lab, Service};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// Whoever receives traces by OTLP over HTTP, as a real collector does.
struct Collector {
    url: String,
    received: mpsc::Receiver<Trace>,
    _runtime: tokio::runtime::Runtime,
}

/// One trace as it came.
struct Trace {
    service: String,
    spans: Vec<Span>,
}

impl Collector {
    fn start() -> Self {
        let (sent, received) = mpsc::channel();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(body).expect("it is the protocol's message");
            for resource in request.resource_spans {
                let told = resource.resource.expect("it says who sends").attributes;
                let trace = Trace {
                    service: value(&told, "service.name").expect("it has a name"),
                    spans: resource
                        .scope_spans
                        .into_iter()
                        .flat_map(|scope| scope.spans)
                        .collect(),
                };
                // The test may have seen enough.
                let _ = sent.send(trace);
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = Router::new().route("/v1/traces", post(take));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            received,
            _runtime: runtime,
        }
    }

    /// The trace of a revision.
    fn trace_of(&self, revision: &Revision) -> Trace {
        loop {
            let trace = self.received.recv_timeout(PATIENCE).expect("a trace of it comes");
            if value(&trace.spans[0].attributes, "lockstep.revision") == Some(revision.to_string()) {
                return trace;
            }
        }
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Whose part each span is, by name; each lies within the time of that.
fn parts(spans: &[Span]) -> BTreeMap<String, String> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "each has an id of its own");
    let part = |span: &Span| {
        assert_eq!(span.trace_id, spans[0].trace_id);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        let Some(parent) = by_id.get(&span.parent_span_id) else {
            assert!(span.parent_span_id.is_empty(), "{span:?} is part of nothing");
            return (span.name.clone(), String::new());
        };
        assert!(
            parent.start_time_unix_nano <= span.start_time_unix_nano
                && span.end_time_unix_nano <= parent.end_time_unix_nano,
            "{span:?} is not within {parent:?}"
        );
        (span.name.clone(), parent.name.clone())
    };
    spans.iter().map(part).collect()
}

fn lab(collector: &str) -> Builder {
    Lab::builder()
        .service(Service::acknowledged("a").pause("freeze"))
        .service(Service::acknowledged("b"))
        .settings(&format!("[telemetry]\notlp = \"{collector}\""))
}

#[test]
fn each_step_of_a_rollout_is_a_span() {
    let collector = Collector::start();
    let lab = lab(&collector.url).start();
    let revision = lab.set(&[("a", "value = 2"), ("b", "value = 2")]);
    let settled = lab.wait_settled(&revision);
    let trace = collector.trace_of(&revision);
    assert_eq!(trace.service, "lockstep");
    let expected = [
        ("rollout", ""),
        ("fetch", "rollout"),
        ("judge", "rollout"),
        ("prepare", "rollout"),
        ("build", "prepare"),
        ("pause", "rollout"),
        ("switch", "rollout"),
        ("unpause", "rollout"),
        ("verify", "rollout"),
        ("verify a", "rollout"),
        ("verify b", "rollout"),
        ("settle", "rollout"),
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, part)| (name.to_owned(), part.to_owned()))
        .into();
    assert_eq!(parts(&trace.spans), expected);
    let whole = &trace.spans[0];
    assert_eq!(
        value(&whole.attributes, "lockstep.outcome").as_deref(),
        Some("Settled")
    );
    assert_eq!(value(&whole.attributes, "lockstep.rollout"), settled.rollout);
    let total = Duration::from_nanos(whole.end_time_unix_nano - whole.start_time_unix_nano);
    let told = Duration::from_micros(settled.total_us.expect("it says so"));
    assert!(
        total >= told && total < told + Duration::from_millis(100),
        "{total:?} and {told:?}"
    );
}

#[test]
fn a_way_back_and_a_rejection_say_what_failed() {
    let collector = Collector::start();
    let lab = lab(&collector.url).start();
    let bad = lab.set(&[("a", "value = 2\nrefuse_late = true")]);
    lab.wait_rolled_back(&bad);
    let trace = collector.trace_of(&bad);
    let parts = parts(&trace.spans);
    assert_eq!(parts["restore"], "rollout", "{parts:?}");
    assert!(parts.values().any(|part| part == "restore"), "{parts:?}");
    let whole = trace.spans[0].status.as_ref().expect("it has one");
    assert_eq!(whole.code, 2, "an error");
    assert!(whole.message.contains('a'), "{whole:?}");

    let broken = lab.publish(&[("config/config.toml", "value = ")]);
    lab.wait_kind("Rejected", &broken);
    let trace = collector.trace_of(&broken);
    let names: Vec<_> = trace.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["rollout", "fetch", "judge"]);
}

#[test]
fn the_variables_of_the_standard_name_collector_and_service() {
    let collector = Collector::start();
    let lab = Lab::builder().service(Service::acknowledged("a")).start();
    lab.stop_reconciler();
    lab.start_reconciler_in(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_SERVICE_NAME", "trading"),
    ]);
    let revision = lab.set(&[("a", "value = 2")]);
    lab.wait_settled(&revision);
    assert_eq!(collector.trace_of(&revision).service, "trading");

    lab.stop_reconciler();
    lab.start_reconciler_in(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
        ("OTEL_SDK_DISABLED", "true"),
    ]);
    let silent = lab.set(&[("a", "value = 3")]);
    lab.wait_settled(&silent);
    lab.stop_reconciler();
    assert!(
        collector.received.try_recv().is_err(),
        "it was told to send nothing"
    );
}

#[test]
fn a_collector_that_hangs_or_is_gone_changes_nothing() {
    // It accepts and never answers.
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let lab = lab(&format!("http://{}", hangs.local_addr().expect("it is bound"))).start();
    for value in 2..6 {
        let value = format!("value = {value}");
        lab.wait_settled(&lab.set(&[("a", &value), ("b", &value)]));
    }
    drop(hangs);
    lab.stop_reconciler();
    let said = || {
        let log = fs::read_to_string(lab.root().join("run.log")).expect("it is there");
        log.matches("traces cannot be sent").count()
    };
    let before = said();
    lab.start_reconciler();
    for value in 6..8 {
        let value = format!("value = {value}");
        lab.wait_settled(&lab.set(&[("a", &value), ("b", &value)]));
    }
    eventually("it is said", || said() > before);
    lab.stop_reconciler();
    assert_eq!(said(), before + 1, "and once is enough");
}
