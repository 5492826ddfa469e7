//! How long services stand still: from the first pause sent to the last unpause confirmed, as `Settled` tells it.

use std::time::Duration;

use lockstep_tests::{Lab, Service};

use crate::Arguments;
use crate::table::{self, Samples, millis, verdict};

pub(crate) fn measure(arguments: &Arguments) {
    table::head(
        "Pause window",
        &["paused", "median", "p99", "samples", "wanted", ""],
    );
    let few = sample(0, arguments.samples(500, 40));
    row(
        "2 services",
        &few,
        Some(Duration::from_millis(2)),
        Duration::from_millis(10),
    );
    let many = sample(99, arguments.samples(200, 20));
    row(
        "2 services, 200 processes",
        &many,
        None,
        Duration::from_millis(40),
    );
}

fn row(what: &str, samples: &Samples, median: Option<Duration>, worst: Duration) {
    let (half, most) = (samples.median(), samples.quantile(0.99));
    let wanted = match median {
        Some(median) => format!("median ≤ {}, p99 ≤ {}", millis(median), millis(worst)),
        None => format!("p99 ≤ {}", millis(worst)),
    };
    let reached = most <= worst && median.is_none_or(|median| half <= median);
    table::row(&[
        what,
        &millis(half),
        &millis(most),
        &samples.len().to_string(),
        &wanted,
        verdict(reached),
    ]);
}

fn sample(children: u32, rounds: usize) -> Samples {
    let with = |service: Service| service.args(&["--children", &children.to_string()]);
    let lab = Lab::builder()
        .service(with(Service::voting("a")))
        .service(with(Service::acknowledged("b")))
        .start();
    let mut samples = Samples::default();
    for round in 0..rounds {
        let line = format!("value = {}", round + 2);
        let revision = lab.set(&[("a", &line), ("b", &line)]);
        let settled = lab.wait_settled(&revision);
        samples.add(Duration::from_micros(
            settled.pause_us.expect("somebody was paused"),
        ));
    }
    samples
}
