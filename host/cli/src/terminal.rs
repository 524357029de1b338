//! What only people see: diagnostics and the progress bar, on standard error.
//!
//! Colours and the bar appear on a terminal only, and the bar only when the work
//! has taken a second.

use anstream::eprintln;
use clap::builder::styling::AnsiColor;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

const BAR_AFTER: Duration = Duration::from_secs(1);
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 256;

/// Prints why `program` failed.
pub fn print_error(program: &str, message: &dyn fmt::Display) {
    let style = AnsiColor::Red.on_default().bold();
    eprintln!("{program}: {style}error:{style:#} {message}");
}

/// Prints something worth knowing that is no failure.
pub fn print_note(program: &str, message: &dyn fmt::Display) {
    let style = AnsiColor::Yellow.on_default().bold();
    eprintln!("{program}: {style}note:{style:#} {message}");
}

/// What a long command counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Entries,
    Pages,
}

/// How far a long command is.
pub struct Progress {
    total: Option<u64>,
    unit: Unit,
    started: Instant,
    steps: u32,
    bar: Option<ProgressBar>,
    is_shown: bool,
}

impl Progress {
    /// Progress over `total` bytes, where that is known.
    #[must_use]
    pub fn of_bytes(total: Option<u64>, quiet: bool) -> Self {
        Self::new(total, Unit::Bytes, quiet)
    }

    /// Progress over about `total` entries.
    #[must_use]
    pub fn of_entries(total: u64, quiet: bool) -> Self {
        Self::new(Some(total), Unit::Entries, quiet)
    }

    /// Progress over about `total` pages.
    #[must_use]
    pub fn of_pages(total: u64, quiet: bool) -> Self {
        Self::new(Some(total), Unit::Pages, quiet)
    }

    fn new(total: Option<u64>, unit: Unit, quiet: bool) -> Self {
        Self {
            total,
            unit,
            started: Instant::now(),
            steps: 0,
            bar: None,
            is_shown: !quiet && io::stderr().is_terminal(),
        }
    }

    /// Tells that `position` of the total is done, and, where bytes are counted,
    /// how many entries that were.
    pub fn set(&mut self, position: u64, entries: u64) {
        if !self.is_shown {
            return;
        }
        self.steps = self.steps.wrapping_add(1);
        if !self.steps.is_multiple_of(STEPS_PER_LOOK) {
            return;
        }
        if self.bar.is_none() {
            if self.started.elapsed() < BAR_AFTER {
                return;
            }
            self.bar = Some(self.new_bar());
        }
        if let Some(bar) = &self.bar {
            if let Some(total) = self.total
                && position > total
            {
                bar.set_length(position);
            }
            bar.set_position(position);
            if self.unit == Unit::Bytes {
                let seconds = self.started.elapsed().as_secs_f64().max(0.001);
                // A rate to look at; the rounding of large counts is of no matter.
                let rate = entries as f64 / seconds;
                bar.set_message(format!("{entries} entries, {rate:.0}/s"));
            }
        }
    }

    fn new_bar(&self) -> ProgressBar {
        let template = match (self.total, self.unit) {
            (Some(_), Unit::Bytes) => {
                "{bar:30} {percent:>3}%  {binary_bytes_per_sec}  {eta} left  {msg}"
            }
            (None, Unit::Bytes) => {
                "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}  {msg}"
            }
            (_, Unit::Entries) => "{bar:30} {percent:>3}%  {pos} entries  {per_sec}  {eta} left",
            (_, Unit::Pages) => "{bar:30} {percent:>3}%  {pos} pages  {per_sec}  {eta} left",
        };
        let bar = ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr())
            .with_elapsed(self.started.elapsed());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
