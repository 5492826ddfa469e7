//! A whole service: it works with `limit` of `config.toml`. `docs/authors.md` shows it.

use lockstep_client::{Client, Refusal, Signal, Snapshot, Trigger};

#[derive(serde::Deserialize)]
struct Config {
    limit: u32,
}

fn load(release: &Snapshot) -> Result<Config, Refusal> {
    release.toml("config.toml") // everything that is read through it is of one release
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Client::builder(load)
        .trigger(Trigger::Signal(Signal::Hup)) // caught from here on: before anything slow
        .on_change(|_, new: &Config| {
            println!("limit is {}", new.limit);
            Ok(())
        })
        .from_env()?
        .start()?;
    println!("limit is {}", config.current().limit); // one value for one piece of work
    loop {
        std::thread::park(); // the work
    }
}
