//! The time, read once for each command.

use crate::store::now_ms;
use std::time::{Duration, Instant};

/// Tells how long each command took, and the time at which the next one runs: the end of
/// one is the begin of the next.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    /// Milliseconds from 1970 to `began`.
    began_ms: u64,
    /// The end of the last command.
    last: Instant,
}

impl Clock {
    /// A clock of a batch that begins now.
    pub fn new() -> Self {
        let began = Instant::now();
        Self {
            began,
            began_ms: now_ms(),
            last: began,
        }
    }

    /// The end of the last command.
    pub fn last(&self) -> Instant {
        self.last
    }

    /// A command ends now; answers how long it took.
    pub fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.last = now;
        took
    }

    /// The time of the next command, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        let since = self.last.duration_since(self.began).as_millis();
        self.began_ms
            .saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_by_laps() {
        let mut clock = Clock::new();
        let before = clock.now_ms();
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(clock.now_ms(), before);
        let took = clock.lap();
        assert!(took >= Duration::from_millis(3), "{took:?}");
        assert!(clock.now_ms() >= before + 3);
        assert!(clock.last() >= clock.began + took);
    }
}
