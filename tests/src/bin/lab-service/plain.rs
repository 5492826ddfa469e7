//! A service with no code for Lockstep at all: it reads its file again when it is told.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::doors::Served;
use crate::section::{Behave, Section, read};
use crate::told::Told;
use crate::{Args, Reload, place};

pub(crate) fn run(args: &Args, served: &Arc<Served>, mut told: Told, ready: impl FnOnce()) -> ExitCode {
    match load(args) {
        Ok(section) if section.crash => return crash(),
        Ok(section) => served.serve(&section, 0),
        Err(error) => {
            eprintln!("refused: {error}");
            return ExitCode::FAILURE;
        }
    }
    ready();
    loop {
        if args.reload == Reload::Never {
            std::thread::sleep(Duration::from_secs(1));
            continue;
        }
        if !told.wait() {
            continue;
        }
        served.ring();
        match load(args) {
            Ok(section) => {
                std::thread::sleep(Duration::from_millis(section.delay));
                match section.behave {
                    Behave::Exit => std::process::exit(3),
                    Behave::Raise => told.die(),
                    Behave::Silent | Behave::SilentOnce | Behave::Stubborn => told.leave(),
                    Behave::Well
                    | Behave::OldSwitch
                    | Behave::NextSwitch
                    | Behave::OtherDigest
                    | Behave::OtherToken
                    | Behave::RefuseEarlier
                    | Behave::Half
                    | Behave::Fifo
                    | Behave::Link
                    | Behave::Folder
                    | Behave::Huge => {
                        served.serve(&section, 0);
                        told.answer(Ok(()));
                    }
                }
            }
            // What ran goes on, and nobody is told but who waits for an answer: that is what the tier's name says.
            Err(error) => {
                eprintln!("refused: {error}");
                told.answer(Err(error));
            }
        }
    }
}

/// Ends as a service that cannot work with its configuration does.
pub(crate) fn crash() -> ExitCode {
    eprintln!("this configuration cannot be worked with: `crash` is set");
    ExitCode::from(9)
}

/// What lies in the file now.
pub(crate) fn load(args: &Args) -> Result<Section, String> {
    let file = place("LOCKSTEP_CONFIG").join("config.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let section = read(&text, args.section())?;
    match section.refusal(args.refuse_from) {
        Some(reason) => Err(reason),
        None => Ok(section),
    }
}
