//! `lockstep convert`: YAML to TOML, once, when a configuration moves in.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::convert::{Flavour, Mapping, TomlDocument, compare, convert};
use lockstep_core::diagnostic::{Diagnostic, Report, Sources, Style, text};
use lockstep_core::document::{Document, Syntax};
use lockstep_core::policy::{POLICY_PATH, Policy, gather};
use lockstep_core::tree::Tree;
use lockstep_core::validate::{Candidate, Scope, Way, validate};

use super::checkout::Checkout;
use super::{Failure, SettingsFile, output};

/// Convert a YAML file to TOML
///
/// Values, their order and the comments around them are kept; what TOML cannot say is told with its place. The
/// result is printed or written to a new file, and inside a config repository it is judged as `validate` would.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockstep convert config.yaml\n  \
                        lockstep convert config.yaml --map mapping.toml -o config/config.toml\n  \
                        lockstep convert config.yaml --map mapping.toml --check config/config.toml\n\n\
                        Exit codes: 0 done, 1 something cannot be converted, would be rejected, or differs, 2 called wrongly")]
pub(super) struct Convert {
    /// The YAML; `-` reads the standard input
    #[arg(value_name = "FILE.yaml")]
    file: PathBuf,
    /// Which key becomes which, in which unit
    #[arg(long, value_name = "MAPPING.toml")]
    map: Option<PathBuf>,
    /// Write to a new file instead of the standard output; never overwrites
    #[arg(short, long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
    /// Print nothing, but compare with a TOML file, value by value
    #[arg(long, value_name = "FILE.toml")]
    check: Option<PathBuf>,
    /// How plain words like `yes`, `16:00` and dates are read: 1.1 as PyYAML does, or 1.2; 1.2 with warnings if not
    /// said
    #[arg(long, value_enum, value_name = "1.1|1.2", hide_possible_values = true)]
    yaml: Option<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Version {
    #[value(name = "1.1")]
    V11,
    #[value(name = "1.2")]
    V12,
}

impl Convert {
    pub(super) fn execute(self, settings: &SettingsFile) -> Result<(), Failure> {
        let mut sources = Sources::new();
        let (yaml, bytes) = read_yaml(&self.file)?;
        sources.insert(yaml.clone(), bytes.clone());
        let mapping = match &self.map {
            Some(path) => Some(read_mapping(path)?),
            None => None,
        };
        let flavour = self.yaml.map(|version| match version {
            Version::V11 => Flavour::Yaml11,
            Version::V12 => Flavour::Yaml12,
        });
        let converted = convert(&yaml, &bytes, mapping.as_ref(), flavour);
        tell(converted.found, &sources);
        if let (Some(path), true) = (&self.map, converted.mapped > 0 || !converted.idle.is_empty()) {
            output::note(mapped(path, converted.mapped, &converted.idle));
        }
        let Some(document) = converted.document else {
            return Err(Failure::refused(
                "nothing was converted: mend what is marked as an error, and try again",
            ));
        };
        if let Some(path) = &self.check {
            return check(path, &yaml, &document, sources);
        }
        match &self.output {
            Some(path) => {
                write_new(path, &document.text)?;
                let judged = judge(Some(path), &document.text, settings)?;
                output::line(format_args!("{} is written{}", path.display(), judged.said))?;
                judged.end(&format!(
                    "{} is written, and would be rejected as it is",
                    path.display()
                ))
            }
            None => {
                output::print(&document.text)?;
                let judged = judge(None, &document.text, settings)?;
                judged.end("what is printed would be rejected as it is")
            }
        }
    }
}

fn read_yaml(path: &Path) -> Result<(String, Arc<[u8]>), Failure> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = read.map_err(|error| unreadable(path, &error))?;
    Ok((path.display().to_string(), bytes.into()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::misuse(format!("{} cannot be read: {error}", path.display()))
}

fn read_mapping(path: &Path) -> Result<Mapping, Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let name = path.display().to_string();
    Mapping::read(&name, &bytes).map_err(|mistakes| {
        tell(mistakes, &Sources::from([(name, bytes.into())]));
        Failure::refused("the mapping has mistakes: nothing was converted")
    })
}

/// What the mapping did, in a line.
fn mapped(path: &Path, mapped: usize, idle: &[String]) -> String {
    const NAMED: usize = 5;
    let keys = if mapped == 1 { "key was" } else { "keys were" };
    let mut said = format!("{mapped} {keys} mapped by {}", path.display());
    if let Some((first, rest)) = idle.split_at_checked(NAMED).or(Some((idle, &[])))
        && !first.is_empty()
    {
        said.push_str(&format!(
            "; {} of its lines found no key: {}",
            idle.len(),
            first.join(", ")
        ));
        if !rest.is_empty() {
            said.push_str(&format!(" and {} more", rest.len()));
        }
    }
    said
}

fn tell(found: Vec<Diagnostic>, sources: &Sources) {
    let style = Style {
        color: true,
        ..Style::default()
    };
    let said = text(&Report::new(found), sources, style);
    if !said.is_empty() {
        output::note(said.trim_end());
    }
}

fn check(path: &Path, yaml: &str, converted: &TomlDocument, mut sources: Sources) -> Result<(), Failure> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    let name = path.display().to_string();
    let parsed = Document::parse(&name, &bytes, Syntax::Toml);
    sources.insert(name.clone(), bytes.into());
    let document = parsed.map_err(|mistakes| {
        tell(mistakes, &sources);
        Failure::refused(format!(
            "{name} cannot be compared before its mistakes are mended"
        ))
    })?;
    let differences = compare(&name, &document, yaml, converted);
    match differences.len() {
        0 => output::line(format_args!("{name} says what {yaml} says")),
        count => {
            tell(differences, &sources);
            let values = if count == 1 { "value" } else { "values" };
            Err(Failure::refused(format!(
                "{name} and {yaml} differ in {count} {values}"
            )))
        }
    }
}

/// Writes a file that was not there.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::refused(format!(
            "{} is there already and is not overwritten: name another file, or compare the two with --check",
            path.display()
        )),
        _ => Failure::refused(format!("{} cannot be written: {error}", path.display())),
    };
    if path.symlink_metadata().is_ok() {
        return Err(failed(ErrorKind::AlreadyExists.into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".lockstep-convert-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    readable(file.as_file()).map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|error| failed(error.error))?;
    Ok(())
}

/// A temporary file is its owner's alone; a configuration is everybody's to read.
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}

/// What the policy says of the result.
#[derive(Default)]
struct Judged {
    said: String,
    report: Report,
    sources: Sources,
}

impl Judged {
    fn end(self, refused: &str) -> Result<(), Failure> {
        let errors = self.report.has_errors();
        tell(self.report.diagnostics().to_vec(), &self.sources);
        if errors {
            return Err(Failure::refused(refused));
        }
        Ok(())
    }
}

/// Judges the result as the document it is to be in the config repository around it; nothing outside of one.
///
/// There is no older document of it, so rules about the old value have nothing to say.
fn judge(path: Option<&Path>, text: &str, settings: &SettingsFile) -> Result<Judged, Failure> {
    let folder = match path.and_then(Path::parent) {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let root = Checkout::root_of(folder)?;
    let Ok(policy) = std::fs::read(root.join(POLICY_PATH)) else {
        return Ok(Judged::default());
    };
    let (policy, _) = Policy::read(&policy);
    let mut documents = policy.documents.iter().map(|document| document.path.as_str());
    let document = match path {
        Some(path) => {
            let whole = std::fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
            documents.find(|document| root.join(document) == whole)
        }
        // What is printed can be the one document that there is.
        None => documents.next().filter(|_| documents.next().is_none()),
    };
    let Some(document) = document else {
        return Ok(Judged {
            said: format!("; it is not judged: no document of {POLICY_PATH} lies there"),
            ..Judged::default()
        });
    };
    let tree = Tree::default();
    let prefix = settings.published()?;
    let read = |path: &str| match path {
        path if path == document => Ok(Some(Arc::from(text.as_bytes()))),
        path => match std::fs::read(root.join(path)) {
            Ok(bytes) => Ok(Some(Arc::from(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&root.join(path), &error)),
        },
    };
    let sources = gather(&tree, &prefix, Scope::All, &[], None, read)?;
    let candidate = Candidate {
        revision: None,
        prefix: &prefix,
        tree: &tree,
        files: &sources,
    };
    let report = validate(&candidate, None, Way::default(), Scope::All);
    let about = report.diagnostics().iter().filter(|found| {
        // A schema that cannot be read says nothing of any document.
        found.path == document || found.path.starts_with(".lockstep/")
    });
    let report = Report::new(about.cloned());
    Ok(Judged {
        said: if report.has_errors() {
            String::new()
        } else {
            format!(", and valid as {document}")
        },
        report,
        sources,
    })
}
