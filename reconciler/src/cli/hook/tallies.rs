//! How much the revisions that hooks saw publish, kept in the repository's own folder beside git's files.
//!
//! What is kept says the same for ever, since it is kept by what it counts. Losing it costs one count of everything,
//! so that it cannot be written or read is no failure.

use std::path::{Path, PathBuf};

use lockstep_source::Tally;

use crate::candidate::Tallies;

/// How many are kept: those of the branches that people move between.
const MOST: usize = 64;

/// The kept tallies; the newest first.
pub(super) struct Kept {
    file: PathBuf,
    tallies: Vec<(String, Tally)>,
    new: bool,
}

impl Kept {
    /// Those of a repository, by its folder.
    pub(super) fn of(git_folder: &Path) -> Self {
        let file = git_folder.join("lockstep-tallies");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self {
            file,
            tallies: text.lines().filter_map(read).collect(),
            new: false,
        }
    }

    /// Writes what is new, for the next hook.
    pub(super) fn store(mut self) {
        if !self.new {
            return;
        }
        self.tallies.truncate(MOST);
        let text: String = self.tallies.iter().map(written).collect();
        // Two hooks may end at once; what either leaves is whole.
        let beside = self.file.with_extension(format!("{}.new", std::process::id()));
        if std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &self.file))
            .is_err()
        {
            let _ = std::fs::remove_file(&beside);
        }
    }
}

impl Tallies for Kept {
    fn known(&self, folder: &str) -> Option<Tally> {
        let (_, tally) = self.tallies.iter().find(|(known, _)| known == folder)?;
        Some(*tally)
    }

    fn keep(&mut self, folder: String, tally: Tally) {
        if self.known(&folder).is_none() {
            self.tallies.insert(0, (folder, tally));
            self.new = true;
        }
    }
}

fn written((folder, tally): &(String, Tally)) -> String {
    let Tally {
        files,
        folders,
        bytes,
        largest,
    } = tally;
    format!("{folder} {files} {folders} {bytes} {largest}\n")
}

fn read(line: &str) -> Option<(String, Tally)> {
    let mut words = line.split(' ');
    let folder = words.next().filter(|folder| !folder.is_empty())?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let tally = Tally {
        files: number()?,
        folders: number()?,
        bytes: number()?,
        largest: number()?,
    };
    Some((folder, tally))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_known_by_the_next_one_and_nonsense_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let tally = |files| Tally {
            files,
            folders: 2,
            bytes: 3,
            largest: 4,
        };
        let mut kept = Kept::of(folder.path());
        for number in 0..100 {
            kept.keep(format!("{number:040}"), tally(number));
        }
        kept.store();
        let file = folder.path().join("lockstep-tallies");
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), MOST);
        std::fs::write(&file, format!("\nabc 1 2\nx y z\n{text}")).unwrap();
        let kept = Kept::of(folder.path());
        assert_eq!(kept.known(&format!("{:040}", 99)), Some(tally(99)));
        assert_eq!(kept.known(&format!("{:040}", 0)), None, "the oldest go");
        assert_eq!(kept.known("abc"), None);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
