//! `lockstep init`: a config repository from a template, with a first commit. It never writes over anything.

use std::path::{Path, PathBuf};

use super::git::git;
use super::template::{File, MINIMAL, TRADER};
use super::{Failure, output};

/// Make a config repository from a template
///
/// In a new or empty folder, or in the clone of an empty repository. Nothing is ever overwritten. The first commit
/// is made by whom git says you are.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockstep init my-config\n  git clone git@example.org:team/config.git && lockstep init config\n  \
                        lockstep init my-config --template minimal\n\n\
                        Exit codes: 0 done, 1 refused or failed, 2 called wrongly"
)]
pub(super) struct Init {
    /// Where it is made
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// What it begins with
    #[arg(long, value_enum, default_value_t = Template::Trader)]
    template: Template,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Template {
    /// The configuration of the trading stack: schema, rules, checks for GitHub and GitLab, hooks, owners, editors
    Trader,
    /// One document with its schema and one rule
    Minimal,
}

impl Template {
    fn files(self) -> &'static [File] {
        match self {
            Self::Trader => TRADER,
            Self::Minimal => MINIMAL,
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Trader => "Begin with Lockstep's template of the trading stack",
            Self::Minimal => "Begin with Lockstep's minimal template",
        }
    }
}

impl Init {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let dir = std::path::absolute(&self.dir).map_err(|error| failed("found", &self.dir, &error))?;
        let new = may_be_filled(&dir)?;
        is_known(nearest(&dir))?;
        let files = self.template.files();
        for (path, contents) in files {
            write(&dir.join(path), contents)?;
        }
        if new {
            // The older way to say it is understood by every git.
            git(&dir, &["-c", "init.defaultBranch=main", "init", "-q"])?.done()?;
        }
        // Whatever somebody ignores everywhere belongs here all the same.
        let mut add = vec!["add", "--force", "--"];
        add.extend(files.iter().map(|(path, _)| *path));
        git(&dir, &add)?.done()?;
        let committed = git(&dir, &["commit", "-q", "-m", self.template.subject()])?.done();
        committed.map_err(|failure| {
            Failure::refused(format!(
                "the files are in {}, and not committed yet. {}",
                dir.display(),
                failure.message
            ))
        })?;
        let branch = git(&dir, &["symbolic-ref", "--short", "HEAD"])?.done()?;
        let remote = git(&dir, &["remote"])?.done()?;
        self.say(&dir, &branch, remote.lines().next())
    }

    fn say(&self, dir: &Path, branch: &str, remote: Option<&str>) -> Result<(), Failure> {
        output::line(format_args!(
            "{}: {} files, committed to {branch}\n\nNext:",
            if self.dir == Path::new(".") {
                dir
            } else {
                &self.dir
            }
            .display(),
            self.template.files().len()
        ))?;
        if self.dir != Path::new(".") {
            output::line(format_args!("  cd {}", self.dir.display()))?;
        }
        output::line("  lockstep validate                     # what every gate will say")?;
        output::line("  lockstep hook install --path config   # the same before each commit and push")?;
        match remote {
            Some(remote) => output::line(format_args!("  git push -u {remote} {branch}")),
            None => output::line(format_args!(
                "  git remote add origin URL && git push -u origin {branch}"
            )),
        }?;
        output::line(
            "README.md says how values are changed. The reconciler's settings: `[source] path = \"config\"`",
        )
    }
}

/// Whether a repository has still to be made in a folder. One that may not be filled is refused.
fn may_be_filled(dir: &Path) -> Result<bool, Failure> {
    let mut names = match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed("read", dir, &error))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("read", dir, &error)),
    };
    let repository = names.iter().any(|name| name == ".git");
    names.retain(|name| name != ".git");
    names.sort_unstable();
    if !names.is_empty() {
        let more = if names.len() > 3 { ", …" } else { "" };
        names.truncate(3);
        return Err(Failure::refused(format!(
            "{} is not empty (it has {}{more}), and nothing is overwritten: name a new folder, `lockstep init DIR`",
            dir.display(),
            names.join(", ")
        )));
    }
    if repository {
        if git(dir, &["rev-parse", "-q", "--verify", "HEAD"])?.code == Some(0) {
            return Err(Failure::refused(format!(
                "the repository in {} has commits already: a config repository is begun in an empty one",
                dir.display()
            )));
        }
        return Ok(false);
    }
    let around = git(nearest(dir), &["rev-parse", "--show-toplevel"])?;
    if around.code == Some(0) {
        return Err(Failure::refused(format!(
            "{} lies in the git repository {}: a config repository is one of its own, so name a folder elsewhere",
            dir.display(),
            around.out
        )));
    }
    Ok(true)
}

/// Whether git knows whose commit it would be.
fn is_known(dir: &Path) -> Result<(), Failure> {
    for (variable, what) in [
        ("GIT_AUTHOR_IDENT", "author"),
        ("GIT_COMMITTER_IDENT", "committer"),
    ] {
        if git(dir, &["var", variable])?.code != Some(0) {
            return Err(Failure::refused(format!(
                "git does not know who the {what} of the first commit is, and nothing was written. Tell it, and try again:\n  \
                 git config --global user.name \"Your Name\"\n  git config --global user.email you@example.org"
            )));
        }
    }
    Ok(())
}

/// The folder itself, or the nearest one around it that is there.
fn nearest(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(dir)
}

fn write(file: &Path, contents: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed("made", folder, &error))?;
    }
    let new = std::fs::File::options().write(true).create_new(true).open(file);
    new.and_then(|mut file| file.write_all(contents.as_bytes()))
        .map_err(|error| failed("written", file, &error))
}

fn failed(doing: &str, file: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format!("{} cannot be {doing}: {error}", file.display()))
}
