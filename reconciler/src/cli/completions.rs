//! `lockstep completions` and `lockstep man`: both are made from the command line's own definition.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Failure, Lockstep, output};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep completions bash > /etc/bash_completion.d/lockstep\n  \
                  lockstep completions zsh > \"${fpath[1]}/_lockstep\"\n  \
                  lockstep completions fish > ~/.config/fish/completions/lockstep.fish"
)]
pub(super) struct Completions {
    /// Which
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Lockstep::command(), "lockstep", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}

/// Write the manual pages, one a command, into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lockstep man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// The folder, which must exist
    folder: PathBuf,
}

impl Man {
    pub(super) fn execute(self) -> Result<(), Failure> {
        clap_mangen::generate_to(Lockstep::command(), &self.folder).map_err(|error| {
            Failure::refused(format!(
                "{}: cannot write the manual pages: {error}; name a folder that exists and may be written",
                self.folder.display()
            ))
        })
    }
}
