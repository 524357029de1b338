//! How a thread of a test waits for a lock of the engine.

use lightning_platform::Wait;

const SPINS: u32 = 16;

/// Spins a few times, then yields the time slice.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimWait;

impl Wait for SimWait {
    fn relax(&self, attempt: u32) {
        if attempt < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}
