//! Prometheus as a service: it has no code for Lockstep, reloads when it is asked over HTTP, and says no.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use lockstep_tests::{Lab, Service};

/// `$LOCKSTEP_CONFIG` is filled in by a shell, which it replaces.
const COMMAND: &str = "exec prometheus --config.file=$LOCKSTEP_CONFIG/prometheus.yml --storage.tsdb.path=$LAB_PLACE/data \
     --web.listen-address={address}:9090 --web.enable-lifecycle";

fn config(interval: &str) -> String {
    format!("global:\n  scrape_interval: {interval}\n")
}

/// What it says that it runs.
fn runs(lab: &Lab) -> String {
    let mut stream = TcpStream::connect((lab.address(), 9090)).expect("it listens");
    stream
        .write_all(b"GET /api/v1/status/config HTTP/1.0\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn prometheus_takes_a_change_and_refuses_one_with_its_own_words() {
    let prometheus = Service::program("prometheus", &["sh", "-c", COMMAND])
        .reload("{ http = \"http://{address}:9090/-/reload\" }")
        .reads(&["prometheus.yml"])
        .tier("probed")
        .within("20s")
        .probe("{ http = \"http://{address}:9090/-/ready\", every = \"100ms\" }");
    let lab = Lab::builder()
        .service(prometheus)
        .service(Service::acknowledged("good"))
        .file("config/config.toml", "[good]\nvalue = 1\n")
        .file("config/prometheus.yml", config("21s"))
        .start();
    let before = lab.services();
    let change = |interval: &str, value: i64| {
        lab.publish(&[
            ("config/prometheus.yml", &config(interval)),
            ("config/config.toml", &format!("[good]\nvalue = {value}\n")),
        ])
    };
    lab.wait_settled(&change("22s", 2));
    assert!(runs(&lab).contains("scrape_interval: 22s"), "{}", runs(&lab));
    lab.wait_rolled_back(&change("soon", 3));
    let reason = lab.status().quarantined[0].reason.clone();
    assert!(
        reason.contains("prometheus: it refused to reload: POST http://")
            && reason.contains("status 500 Internal Server Error: failed to reload config: ")
            && reason.contains("\"soon\""),
        "{reason}"
    );
    assert!(runs(&lab).contains("scrape_interval: 22s"), "{}", runs(&lab));
    assert_eq!(lab.value("good"), 2);
    lab.wait_settled(&change("24s", 4));
    assert!(runs(&lab).contains("scrape_interval: 24s"), "{}", runs(&lab));
    lab.assert_same_processes(&before);
}
