//! A lab's repository: what a person edits, commits and pushes.

use std::fmt::Write as _;

use lockstep_protocol::Revision;
use lockstep_source::testing::Origin;

use crate::lab::Lab;

impl Lab {
    /// The repository and its clone.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Writes files (paths from the repository's root) and commits them.
    pub fn commit(&self, files: &[(&str, &str)]) -> Revision {
        for (path, contents) in files {
            self.origin.write_file(path, contents);
        }
        let names: Vec<_> = files.iter().map(|(path, _)| *path).collect();
        self.origin.commit(&format!("Change {}", names.join(", ")))
    }

    /// Pushes what was committed.
    pub fn push(&self) {
        self.origin.push();
    }

    /// Pushes also what rewinds the branch.
    pub fn force_push(&self) {
        self.origin.force_push();
    }

    /// Writes files, commits and pushes.
    pub fn publish(&self, files: &[(&str, &str)]) -> Revision {
        let revision = self.commit(files);
        self.push();
        revision
    }

    /// Changes the tables of these services in `config.toml`, commits and pushes.
    pub fn set(&self, sections: &[(&str, &str)]) -> Revision {
        let revision = self.edit(sections);
        self.push();
        revision
    }

    /// Changes the tables of these services in `config.toml` and commits.
    pub fn edit(&self, sections: &[(&str, &str)]) -> Revision {
        for (service, lines) in sections {
            self.sections
                .borrow_mut()
                .insert((*service).to_owned(), (*lines).to_owned());
        }
        self.write_sections();
        let what: Vec<_> = sections
            .iter()
            .map(|(service, lines)| format!("{service}: {lines}"))
            .collect();
        self.origin.commit(&what.join("; ").replace('\n', ", "))
    }

    pub(crate) fn write_sections(&self) {
        let mut text = String::new();
        for (service, lines) in self.sections.borrow().iter() {
            writeln!(text, "[{service}]\n{lines}\n").expect("a text takes every line");
        }
        let path = if self.path.is_empty() {
            "config.toml".to_owned()
        } else {
            format!("{}/config.toml", self.path)
        };
        self.origin.write_file(&path, text);
    }
}
