//! Services in other languages, and one that nobody here wrote: the example services take the same roads as the ones
//! in Python, Prometheus is told over HTTP, and `uv run` stands in front of one.
//!
//! Run by `cargo e2e services`, because it needs their toolchains.

mod authors;
mod examples;
mod prometheus;
mod uv;
