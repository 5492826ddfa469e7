//! `lockstep hook`: the reconciler's judgement where git asks for it, before a commit, a push, or at the server.
//!
//! | module | for |
//! |---|---|
//! | [`place`] | where git looks for hooks |
//! | [`install`] | putting hooks there, beside what was there, and taking them away |
//! | [`script`] | what is put there |
//! | [`run`] | what the hooks do |
//! | [`judge`] | judging one change, and saying what was found |
//! | [`tallies`] | what is kept between hooks so that the next one costs only its change |
//!
//! A hook only warns early: the reconciler judges again. So it takes what git's own settings are for (who may push,
//! rewind or delete a branch) as it comes, and says what the reconciler will do.

mod install;
mod judge;
mod place;
mod run;
mod script;
mod tallies;

use std::path::PathBuf;

use super::{Failure, SettingsFile};

/// Have git ask before a commit, a push, or at the server
///
/// In a clone: `pre-commit` judges what is staged, `pre-push` what is pushed to the followed branch. In a bare
/// repository: `pre-receive` judges each push to the followed branch and refuses what the reconciler would reject.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep hook install                     # in a clone, or on the server in the bare repository\n  \
                        lockstep hook install --path config       # only this folder of the repository is published\n  \
                        lockstep hook uninstall\n\n\
                        Exit codes: 0 done, 1 refused or failed, 2 called wrongly"
)]
pub(super) struct Hook {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Put hooks beside what is there: an earlier hook is kept, asked first, and its refusal holds
    Install(Install),
    /// Take them away and put back what was there
    Uninstall(Uninstall),
    /// What a hook runs; git gives it its arguments and input
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Install {
    #[command(flatten)]
    which: Which,
    /// The branch that the reconciler follows [default: that of the settings, else the remote's or the bare
    /// repository's HEAD]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The folder of the repository that is published [default: that of the settings, else all of it]
    #[arg(long, value_name = "FOLDER")]
    path: Option<String>,
    /// The repository
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Uninstall {
    #[command(flatten)]
    which: Which,
    /// The repository
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Which hooks; without one of these those that fit the repository.
#[derive(Debug, clap::Args)]
struct Which {
    /// Judge what is staged
    #[arg(long)]
    pre_commit: bool,
    /// Judge what is pushed to the followed branch
    #[arg(long)]
    pre_push: bool,
    /// At the server: judge what is pushed to the followed branch
    #[arg(long)]
    pre_receive: bool,
}

impl Which {
    fn named(&self) -> Vec<Kind> {
        let all = [
            (self.pre_commit, Kind::Commit),
            (self.pre_push, Kind::Push),
            (self.pre_receive, Kind::Receive),
        ];
        all.into_iter()
            .filter_map(|(named, kind)| named.then_some(kind))
            .collect()
    }
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Which hook
    #[arg(value_enum)]
    kind: Kind,
    /// The branch that the reconciler follows
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The folder of the repository that is published
    #[arg(long, value_name = "FOLDER")]
    path: Option<String>,
    /// What git gave the hook
    #[arg(last = true, value_name = "ARGUMENTS")]
    given: Vec<String>,
}

/// A hook of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Before a commit
    #[value(name = "pre-commit")]
    Commit,
    /// Before a push
    #[value(name = "pre-push")]
    Push,
    /// Before a push is taken
    #[value(name = "pre-receive")]
    Receive,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Commit, Self::Push, Self::Receive];

    /// The name of its file.
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "pre-commit",
            Self::Push => "pre-push",
            Self::Receive => "pre-receive",
        }
    }
}

impl Hook {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        match self.what {
            What::Install(install) => install::install(install, settings),
            What::Uninstall(uninstall) => install::uninstall(&uninstall),
            What::Run(run) => run::run(run),
        }
    }
}
