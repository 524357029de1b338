//! How often a thread has waited.
//!
//! What a clock says of a call is the device's time and also that of others who had the
//! processor meanwhile: the system counts how often a thread gave the processor up to wait.
//!
//! # The argument for the `unsafe` code
//! `getrusage` writes one structure, whose address and type it is given, and keeps nothing
//! of it. All bits of it are numbers, so that zeros are one.

/// How often this thread has waited for something, since it began: for a device, a lock, the
/// time. That others took the processor from it is not counted. `None` where the system
/// doesn't say.
#[must_use]
pub fn waits_of_this_thread() -> Option<u64> {
    // SAFETY: see the top of the file.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: see the top of the file.
    let outcome = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    u64::try_from(usage.ru_nvcsw).ok().filter(|_| outcome == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn who_sleeps_waits_and_who_works_does_not() {
        let before = waits_of_this_thread().unwrap();
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert_eq!(waits_of_this_thread(), Some(before));
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(waits_of_this_thread(), Some(before + 1));
    }
}
