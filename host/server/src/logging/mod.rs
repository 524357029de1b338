//! The service's own log: what it did and what failed, never keys or values of clients.
//!
//! A line is written as a whole, by whoever logs it, under a lock; there is no thread
//! and no queue that could lose the last lines. Where a line can't be written, it goes to
//! standard error.
//!
//! | file | duty |
//! |---|---|
//! | `line.rs` | what a line looks like |
//! | `file.rs` | the file, and how it is followed by the next |
//! | `slow.rs` | lines about slow commands |

mod file;
mod line;
mod slow;

pub use slow::{CommitTimes, SlowLines};

use file::RotatedFile;
use lightning_ops::configuration::{LogFormat, LogLevel, LoggingSettings};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// The log can't be begun.
#[derive(Debug, thiserror::Error)]
#[error("{path}: the log can't be written there: {error} (logging.file)", path = .path.display())]
pub struct LogFileError {
    path: PathBuf,
    error: io::Error,
}

/// The log of this process.
#[derive(Debug)]
pub struct Log {
    level: AtomicU8,
    format: LogFormat,
    file: Option<Mutex<RotatedFile>>,
}

fn number_of(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => 0,
        LogLevel::Warn => 1,
        LogLevel::Info => 2,
        LogLevel::Debug => 3,
        LogLevel::Trace => 4,
    }
}

fn number_of_event(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        _ => 4,
    }
}

impl Log {
    /// A log as it is configured.
    ///
    /// # Errors
    /// Its file can't be opened.
    pub fn open(settings: &LoggingSettings) -> Result<Arc<Self>, LogFileError> {
        let open = |path: &PathBuf| {
            RotatedFile::open(path, settings.file_bytes_max, settings.files_max)
                .map(Mutex::new)
                .map_err(|error| LogFileError {
                    path: path.clone(),
                    error,
                })
        };
        Ok(Arc::new(Self {
            level: AtomicU8::new(number_of(settings.level)),
            format: settings.format,
            file: settings.file.as_ref().map(open).transpose()?,
        }))
    }

    /// Takes every event of this process from here on. Answers whether it does: only the
    /// first log of a process can.
    pub fn install(self: &Arc<Self>) -> bool {
        tracing::subscriber::set_global_default(Follower {
            log: Arc::clone(self),
        })
        .is_ok()
    }

    /// Logs this and what is graver from here on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(number_of(level), Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Goes on in the file of the configured name, should it have been moved or removed.
    ///
    /// # Errors
    /// It can't be opened: the log goes on where it was.
    pub fn reopen(&self) -> io::Result<()> {
        match &self.file {
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).reopen(),
            None => Ok(()),
        }
    }

    fn takes(&self, level: Level) -> bool {
        number_of_event(level) <= self.level.load(Ordering::Relaxed)
    }

    fn write(&self, line: &[u8]) {
        let written = match &self.file {
            Some(file) => file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_line(line),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if written.is_err() {
            // There is no other place to tell that it failed.
            let _outcome = io::stderr().lock().write_all(line);
        }
    }
}

/// Hands events to the log. There are no spans.
struct Follower {
    log: Arc<Log>,
}

impl Subscriber for Follower {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // What is below the level costs nothing; `set_level` has this asked again.
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.log.takes(*metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.log.level.load(Ordering::Relaxed) {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            3 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let line = line::line_of(self.log.format, event, jiff::Timestamp::now());
        self.log.write(line.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    fn settings(file: PathBuf, format: LogFormat) -> LoggingSettings {
        LoggingSettings {
            level: LogLevel::Info,
            format,
            file: Some(file),
            file_bytes_max: 1 << 20,
            files_max: 2,
        }
    }

    #[test]
    fn the_level_changes_while_it_is_used() {
        let directory = TestDirectory::new("log-level");
        let path = directory.path().join("a.log");
        let log = Log::open(&settings(path.clone(), LogFormat::Text)).unwrap();
        let follower = Follower {
            log: Arc::clone(&log),
        };
        tracing::subscriber::with_default(follower, || {
            for (level, word) in [
                (LogLevel::Info, "first"),
                (LogLevel::Debug, "second"),
                (LogLevel::Error, "third"),
            ] {
                log.set_level(level);
                tracing::debug!(word, "what was done");
                tracing::error!(word, "what failed");
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("Z ").unwrap().1)
            .collect();
        assert_eq!(
            lines,
            [
                "ERROR what failed word=first",
                "DEBUG what was done word=second",
                "ERROR what failed word=second",
                "ERROR what failed word=third",
            ]
        );
    }

    #[test]
    fn a_file_that_can_not_be_written_is_named() {
        let directory = TestDirectory::new("log-place");
        let path = directory.path().join("absent/a.log");
        let error = Log::open(&settings(path, LogFormat::Json)).unwrap_err();
        assert!(error.to_string().contains("absent/a.log: the log can't"));
        assert!(error.to_string().ends_with("(logging.file)"));
    }
}
