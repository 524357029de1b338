//! How a thread passes the time while another holds a short lock.
//!
//! Three stages: spin while the holder most likely runs on another core, yield
//! once it may have lost its core, sleep when yielding has not helped either,
//! which happens where a holder of lower priority must be let in.

use lightning_platform::Wait;
use std::time::Duration;

/// Attempts that spin: a few microseconds together.
const SPIN_ATTEMPTS: u32 = 64;
/// Attempts after which a thread sleeps instead of yielding.
const YIELD_ATTEMPTS: u32 = 1_000;
/// The length of one sleep.
const SLEEP: Duration = Duration::from_micros(50);

/// Spins, then yields, then sleeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinuxWait;

impl Wait for LinuxWait {
    fn relax(&self, attempt: u32) {
        if attempt < SPIN_ATTEMPTS {
            std::hint::spin_loop();
        } else if attempt <= YIELD_ATTEMPTS {
            // `sched_yield` on Linux.
            std::thread::yield_now();
        } else {
            std::thread::sleep(SLEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_returns() {
        for attempt in [0, 63, 64, 1_000, 1_001, u32::MAX] {
            LinuxWait.relax(attempt);
        }
    }
}
