//! What `[logging]` means: the services' log on the standard output and in a file, changed while running.
//!
//! A line that cannot be written (the reader of the output is gone, the disk is full) is lost; it never ends a
//! service and never turns up elsewhere.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::rotating::Rotating;
use crate::sections::{Level, LineFormat, Logging};

type Lines = Box<dyn Layer<Registry> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Lines, Registry>, Registry>;

/// The log of one service.
pub struct Log {
    service: &'static str,
    output: Output,
    lines: reload::Handle<Lines, Registry>,
    filter: reload::Handle<Targets, Filtered>,
}

/// The log cannot be written as `[logging]` says.
#[derive(Debug, thiserror::Error)]
#[error("logging.file: {} cannot be written: {source}; name a file in a writable folder, or leave it empty", path.display())]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

impl Log {
    /// Starts the log of a service as the defaults have it, until [`apply`](Self::apply) says otherwise.
    ///
    /// At most once in a process: a second one would write nothing.
    #[must_use]
    pub fn install(service: &'static str) -> Self {
        let defaults = Logging::default();
        let output = Output::default();
        let (format, lines) = reload::Layer::new(layer(defaults.format, &output));
        let (filter, handle) = reload::Layer::new(targets(service, defaults.level));
        // Failing means that somebody installed a log before: then theirs is used.
        let _ = tracing_subscriber::registry()
            .with(format)
            .with(filter)
            .try_init();
        Self {
            service,
            output,
            lines,
            filter: handle,
        }
    }

    /// Writes as `[logging]` says from the next line on.
    ///
    /// The services share the section, so each puts its own name into the file's: `trader.log` becomes
    /// `trader.scanner.log`.
    ///
    /// # Errors
    /// When the file cannot be written. Everything stays as it was then.
    pub fn apply(&self, logging: &Logging) -> Result<(), LogError> {
        let Logging {
            level,
            file,
            max_size_mb,
            backup_count,
            format,
        } = logging;
        let rotating = match file.as_str() {
            "" => None,
            file => {
                let path = named_for(self.service, Path::new(file));
                let rotating = Rotating::open(path.clone(), *max_size_mb, *backup_count);
                Some(rotating.map_err(|source| LogError { path, source })?)
            }
        };
        self.output.replace(rotating);
        // Both fail only if the log was never installed or a thread panicked within it: there is nobody to tell.
        let _ = self.lines.reload(layer(*format, &self.output));
        let _ = self.filter.reload(targets(self.service, *level));
        Ok(())
    }
}

fn layer(format: LineFormat, output: &Output) -> Lines {
    let layer = fmt::layer()
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(output.clone());
    match format {
        LineFormat::Text => layer.boxed(),
        LineFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// The service's own lines from `level` on; libraries speak up for warnings alone.
fn targets(service: &str, level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warning => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(service, level)
        .with_target("lockstep_client", level)
}

fn named_for(service: &str, file: &Path) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(".");
    name.push(service);
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

/// Where lines go: always to the standard output, and to the file if there is one.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Option<Rotating>>>);

impl Output {
    fn replace(&self, file: Option<Rotating>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Output {
    /// Takes the line, written or not.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stdout().lock();
        let _ = out.write_all(line).and_then(|()| out.flush());
        if let Some(file) = &mut *file {
            let _ = file.write(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_a_file_of_its_own() {
        assert_eq!(
            named_for("scanner", Path::new("/var/log/trader.log")),
            Path::new("/var/log/trader.scanner.log")
        );
        assert_eq!(named_for("scanner", Path::new("log")), Path::new("log.scanner"));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::install("test");
        let file = folder.path().join("missing/log").display().to_string();
        let error = log
            .apply(&Logging {
                file,
                ..Logging::default()
            })
            .unwrap_err();
        assert!(
            error.to_string().contains("missing/log.test cannot be written"),
            "{error}"
        );
    }
}
