//! Samples, and the tables that are printed of them: Markdown, as `docs/benchmarks.md` keeps it.

use std::fs;
use std::time::{Duration, Instant};

/// Durations of the same thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// One more.
    pub(crate) fn add(&mut self, sample: Duration) {
        let at = self.0.partition_point(|known| *known < sample);
        self.0.insert(at, sample);
    }

    /// Does it, and counts how long it took.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.add(began.elapsed());
        done
    }

    /// The sample that this part of all does not exceed.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.0.len().checked_sub(1).expect("something was measured");
        // Few samples: the nearest one.
        let at = (part * last as f64).round() as usize;
        self.0[at.min(last)]
    }

    /// The one in the middle.
    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Milliseconds, as the tables show them.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// How one relates to the other.
pub(crate) fn ratio(one: Duration, other: Duration) -> String {
    format!("{:.2}", one.as_secs_f64() / other.as_secs_f64())
}

/// Whether what is wanted was reached.
pub(crate) fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "**falls short**" }
}

/// Begins a table.
pub(crate) fn head(title: &str, columns: &[&str]) {
    println!("\n### {title}\n");
    row(columns);
    row(&vec!["---"; columns.len()]);
}

/// One row of it.
pub(crate) fn row(cells: &[&str]) {
    println!("| {} |", cells.join(" | "));
}

/// A row with the median, the worst in a hundred, and the number of samples.
pub(crate) fn samples(what: &str, samples: &Samples) {
    let (half, most) = (millis(samples.median()), millis(samples.quantile(0.99)));
    row(&[what, &half, &most, &samples.len().to_string()]);
}

/// The machine, in one line.
pub(crate) fn machine() {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    println!("{cores} x {model}, Linux {}, load {load}", kernel.trim());
}
