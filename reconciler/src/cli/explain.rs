//! `lockstep explain`.

use lockstep_core::diagnostic::{Code, explain};

use super::{Failure, output};

/// Explain a diagnostic's code: what it means and what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lockstep explain LS0111")]
pub(super) struct Explain {
    /// The code, as printed in brackets before a message
    #[arg(value_name = "CODE")]
    code: Code,
}

impl Explain {
    pub(super) fn execute(self) -> Result<(), Failure> {
        output::print(explain(self.code))
    }
}
