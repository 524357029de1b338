//! How a thread passes the time while another holds a short lock.

/// Called in a loop by a thread that found a lock of the engine taken.
///
/// The engine's locks are held for the length of a memory operation, never over
/// an I/O. On a single core without preemption they are never found taken.
pub trait Wait: Send + Sync {
    /// Passes a moment. `attempt` counts from 0 for one wait; a host spins for
    /// the first few and then yields its time slice. MUST return.
    fn relax(&self, attempt: u32);
}
