//! What a config repository begins with, inside the program so that it works anywhere.

/// A file of a template: where it lies, and what is in it.
pub(super) type File = (&'static str, &'static str);

/// Files below one folder of this checkout.
macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!($folder, $path)))),*]
    };
}

/// `config-repo-template/`: the configuration of the trading stack.
pub(super) const TRADER: &[File] = files!(
    "../../../config-repo-template/":
    ".editorconfig",
    ".gitattributes",
    ".github/pull_request_template.md",
    ".github/workflows/lockstep.yml",
    ".gitignore",
    ".gitlab-ci.yml",
    ".gitlab/merge_request_templates/Default.md",
    ".lockstep/older-yaml.toml",
    ".lockstep/policy.toml",
    ".lockstep/schema/trader.json",
    ".pre-commit-config.yaml",
    ".taplo.toml",
    "CODEOWNERS",
    "README.md",
    "config/config.toml",
);

/// One document with a schema of its own, to be replaced by one's own.
pub(super) const MINIMAL: &[File] = files!(
    "init/minimal/":
    ".gitattributes",
    ".lockstep/policy.toml",
    ".lockstep/schema/config.json",
    ".taplo.toml",
    "README.md",
    "config/config.toml",
);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn below(root: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn the_program_holds_every_file_of_the_templates() {
        let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, files) in [
            ("../config-repo-template", TRADER),
            ("src/cli/init/minimal", MINIMAL),
        ] {
            let held: Vec<_> = files.iter().map(|(path, _)| *path).collect();
            assert_eq!(below(&crate_root.join(folder)), held, "{folder}");
        }
    }
}
