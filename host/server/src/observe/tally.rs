//! What the commands of a pipeline have cost, gathered until it is told to the counters:
//! those are shared by all clients, and a pipeline has many commands of one kind.
//!
//! Who asks for the counters has to find what went before in their own pipeline, so that
//! only commands about keys are gathered, and told before any other command runs; and what
//! was answered, so that all is told before replies are sent.

use super::Counters;
use crate::commands::Command;
use crate::metrics::Metrics;
use std::time::Duration;

/// See the module. What it has gathered is told when it is dropped, too.
#[derive(Debug)]
pub struct Tally<'m> {
    metrics: &'m Metrics,
    /// The command that was run last, with its counters.
    last: Option<(&'static Command, Option<&'m Counters>)>,
    calls: u64,
    failures: u64,
    took: Duration,
}

impl<'m> Tally<'m> {
    /// Nothing yet.
    pub fn new(metrics: &'m Metrics) -> Self {
        Self {
            metrics,
            last: None,
            calls: 0,
            failures: 0,
            took: Duration::ZERO,
        }
    }

    /// To be called before a command runs.
    pub fn prepare(&mut self, command: &'static Command) {
        let is_last = |(last, _): &(&'static Command, _)| std::ptr::eq(*last, command);
        if !self.last.as_ref().is_some_and(is_last) {
            self.tell();
            self.last = Some((command, self.metrics.by_command().of(command)));
        }
    }

    /// Counts a command that was run.
    pub fn note(&mut self, command: &'static Command, took: Duration, failed: bool) {
        self.prepare(command);
        self.calls += 1;
        self.failures += u64::from(failed);
        self.took += took;
        if let Some((_, Some(counters))) = self.last {
            counters.note_time(took);
        }
        if command.operation().is_none() {
            self.tell();
        }
    }

    /// Tells the counters what was gathered.
    pub fn tell(&mut self) {
        if self.calls == 0 {
            return;
        }
        self.metrics.note_commands(self.calls);
        if let Some((_, Some(counters))) = self.last {
            counters.note_calls(self.calls, self.failures, self.took);
        }
        (self.calls, self.failures, self.took) = (0, 0, Duration::ZERO);
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn counters_are_told_before_another_command_and_at_the_end() {
        let metrics = Metrics::default();
        let [get, set, info] =
            [b"get".as_slice(), b"set", b"info"].map(|name| commands::find(name).unwrap());
        let calls = |name: &str| {
            let figures = metrics.by_command().figures();
            figures
                .get(name)
                .map(|figures| (figures.calls, figures.failures))
        };
        let took = Duration::from_micros(3);
        let mut tally = Tally::new(&metrics);
        for failed in [false, true, false] {
            tally.prepare(get);
            tally.note(get, took, failed);
        }
        assert_eq!((calls("get"), metrics.commands()), (None, 0));
        tally.prepare(set);
        assert_eq!((calls("get"), metrics.commands()), (Some((3, 1)), 3));
        tally.note(set, took, false);
        tally.prepare(info);
        assert_eq!(calls("set"), Some((1, 0)));
        // Who asks twice finds the first time.
        tally.note(info, took, false);
        assert_eq!((calls("info"), metrics.commands()), (Some((1, 0)), 5));
        tally.note(set, took, false);
        assert_eq!(calls("set"), Some((1, 0)));
        drop(tally);
        assert_eq!((calls("set"), metrics.commands()), (Some((2, 0)), 6));
        let get = metrics.by_command().figures()["get"];
        assert_eq!(get.took, took * 3);
    }
}
