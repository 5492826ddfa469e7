//! Takes part by the client library, as a Rust service does.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lockstep_client::{Client, Refusal, Signal, Snapshot, Trigger};

use crate::doors::Served;
use crate::section::{Section, read};
use crate::{Args, Reload, plain};

struct Config {
    section: Section,
    switch: u64,
}

pub(crate) fn run(args: &Args, served: &Arc<Served>, ready: impl FnOnce()) -> ExitCode {
    // Before a first status: whoever crashes has acknowledged nothing.
    if plain::load(args).is_ok_and(|section| section.crash) {
        return plain::crash();
    }
    let (name, refuse_from) = (args.section().to_owned(), args.refuse_from);
    let changed = Arc::clone(served);
    let client = Client::builder(move |snapshot: &Snapshot| load(snapshot, &name, refuse_from)).on_change(
        move |_, new: &Config| {
            changed.ring();
            std::thread::sleep(Duration::from_millis(new.section.delay));
            if new.section.refuse_late {
                return Err(Refusal::new("`refuse_late` is set"));
            }
            changed.serve(&new.section, new.switch);
            Ok(())
        },
    );
    let client = match args.reload {
        Reload::Usr1 => client.trigger(Trigger::Signal(Signal::Usr1)),
        Reload::Hup => client.trigger(Trigger::Signal(Signal::Hup)),
        Reload::Watch => client.trigger(Trigger::Watch),
        Reload::Http | Reload::Never => client,
    };
    let client = client
        .vote(args.vote)
        .from_env()
        .map_err(|error| error.to_string());
    let client = match client.and_then(|client| client.start().map_err(|error| error.to_string())) {
        Ok(client) => client,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let config = client.current();
    if served.switch() < config.switch {
        served.serve(&config.section, config.switch);
    }
    drop(config);
    ready();
    loop {
        std::thread::park();
    }
}

fn load(snapshot: &Snapshot, name: &str, refuse_from: Option<i64>) -> Result<Config, Refusal> {
    let document = snapshot.document();
    let refuse = |reason: String| Refusal::new(reason).in_file(document);
    let section = read(&snapshot.text(document)?, name).map_err(refuse)?;
    match section.refusal(refuse_from) {
        Some(reason) => Err(refuse(reason)),
        None => Ok(Config {
            section,
            switch: snapshot.switch().map_or(0, |switch| switch.0),
        }),
    }
}
