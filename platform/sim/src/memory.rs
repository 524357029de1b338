//! The memory contract over the process's heap, with a budget, faults and a
//! ledger of what is out.
//!
//! # Soundness
//! Memory comes from `alloc_zeroed` with the layout asked for, and goes back
//! with the layout that the ledger holds for its address. A release that the
//! ledger does not know, or knows with another layout, frees nothing and is a
//! violation.

use lightning_platform::{Memory, MemoryUse};
use std::alloc::Layout;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Ledger {
    budget_bytes: usize,
    outstanding: HashMap<usize, Layout>,
    outstanding_bytes: usize,
    peak_bytes: usize,
    reservations: u64,
    /// (number of the reservation, and from then on).
    fault: Option<(u64, bool)>,
    violations: Vec<String>,
}

#[derive(Default)]
struct Shared {
    ledger: Mutex<Ledger>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let ledger = self.ledger();
        assert_eq!(ledger.violations, Vec::<String>::new());
        assert_eq!(ledger.outstanding_bytes, 0, "bytes were never released");
    }
}

/// Memory with a budget, which counts, and fails on demand.
///
/// A clone is a handle on the same budget.
///
/// # Panics
/// When the last handle is dropped while reserved bytes are outstanding or a
/// release broke the contract, unless the thread panics already.
#[derive(Clone)]
pub struct SimMemory {
    shared: Arc<Shared>,
}

impl SimMemory {
    /// Memory that gives out at most `budget_bytes` at a time.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        let memory = Self {
            shared: Arc::default(),
        };
        memory.set_budget(budget_bytes);
        memory
    }

    /// Changes the budget. What is out stays out.
    pub fn set_budget(&self, budget_bytes: usize) {
        self.shared.ledger().budget_bytes = budget_bytes;
    }

    /// Fails reservation number `reservation` (from 1, as
    /// [`reservation_count`](Self::reservation_count) counts), and all later
    /// ones where `persistent`.
    pub fn fail_at(&self, reservation: u64, persistent: bool) {
        self.shared.ledger().fault = Some((reservation, persistent));
    }

    /// Takes the injected fault back.
    pub fn clear_faults(&self) {
        self.shared.ledger().fault = None;
    }

    /// The number of reservations asked for so far, failed ones included.
    #[must_use]
    pub fn reservation_count(&self) -> u64 {
        self.shared.ledger().reservations
    }

    /// Bytes reserved and not yet released.
    #[must_use]
    pub fn outstanding_bytes(&self) -> usize {
        self.shared.ledger().outstanding_bytes
    }

    /// The number of reservations not yet released.
    #[must_use]
    pub fn outstanding_count(&self) -> usize {
        self.shared.ledger().outstanding.len()
    }

    /// The most bytes that were ever out at a time.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.shared.ledger().peak_bytes
    }

    /// Releases that no reservation stands behind, and reservations that the contract forbids.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.ledger().violations.clone()
    }
}

// SAFETY: `alloc_zeroed` gives memory that is valid, zeroed, unaliased and
// aligned as the layout says, and only a matching release frees it.
unsafe impl Memory for SimMemory {
    unsafe fn discard(&self, start: NonNull<u8>, bytes: usize) {
        // What a host may do at worst, seen at once by who relies on what was there.
        // SAFETY: the caller's: a reservation of so many bytes, which nobody uses.
        unsafe { start.write_bytes(0, bytes) }
    }

    fn reserve(&self, purpose: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let mut ledger = self.shared.ledger();
        ledger.reservations += 1;
        let number = ledger.reservations;
        let layout = Layout::from_size_align(bytes, align).ok();
        let Some(layout) = layout.filter(|layout| layout.size() > 0) else {
            ledger.violations.push(format!(
                "reservation {number} of {bytes} bytes for {purpose:?} aligned to {align}"
            ));
            return None;
        };
        if let Some((first, persistent)) = ledger.fault
            && (number == first || (persistent && number > first))
        {
            return None;
        }
        let total = ledger.outstanding_bytes.checked_add(bytes)?;
        if total > ledger.budget_bytes {
            return None;
        }
        // SAFETY: the layout's size is not zero, as was checked above.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        ledger.outstanding.insert(start.as_ptr() as usize, layout);
        ledger.outstanding_bytes = total;
        ledger.peak_bytes = ledger.peak_bytes.max(total);
        Some(start)
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize, align: usize) {
        let mut ledger = self.shared.ledger();
        let address = start.as_ptr() as usize;
        let known = ledger.outstanding.get(&address).copied();
        let matches = |layout: &Layout| layout.size() == bytes && layout.align() == align;
        let Some(layout) = known.filter(matches) else {
            ledger.violations.push(format!(
                "release of {bytes} bytes aligned to {align} that were not reserved"
            ));
            return;
        };
        ledger.outstanding.remove(&address);
        ledger.outstanding_bytes -= bytes;
        // SAFETY: the ledger says that this address was allocated with this
        // layout and not freed since; the caller no longer uses it.
        unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(memory: &SimMemory, bytes: usize) -> Option<NonNull<u8>> {
        memory.reserve(MemoryUse::Structure, bytes, 64)
    }

    fn release(memory: &SimMemory, start: NonNull<u8>, bytes: usize) {
        // SAFETY: each test releases what it reserved, once; a wrong size is refused.
        unsafe { memory.release(start, bytes, 64) };
    }

    #[test]
    fn memory_is_zeroed_aligned_and_counted() {
        let memory = SimMemory::new(1_000);
        let start = reserve(&memory, 600).unwrap();
        assert_eq!(start.as_ptr() as usize % 64, 0);
        // SAFETY: 600 bytes were reserved at `start`.
        let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), 600) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        assert_eq!(memory.outstanding_bytes(), 600);
        assert!(reserve(&memory, 401).is_none());
        let second = reserve(&memory, 400).unwrap();
        assert_eq!(memory.outstanding_count(), 2);
        release(&memory, start, 600);
        release(&memory, second, 400);
        assert_eq!(memory.outstanding_bytes(), 0);
        assert_eq!(memory.peak_bytes(), 1_000);
        assert_eq!(memory.reservation_count(), 3);
    }

    #[test]
    fn fails_the_chosen_reservation() {
        let memory = SimMemory::new(usize::MAX);
        memory.fail_at(2, false);
        let first = reserve(&memory, 1).unwrap();
        assert!(reserve(&memory, 1).is_none());
        let third = reserve(&memory, 1).unwrap();
        memory.fail_at(4, true);
        assert!(reserve(&memory, 1).is_none());
        assert!(reserve(&memory, 1).is_none());
        memory.clear_faults();
        let last = reserve(&memory, 1).unwrap();
        for start in [first, third, last] {
            release(&memory, start, 1);
        }
    }

    #[test]
    #[should_panic(expected = "never released")]
    fn a_leak_is_found_on_drop() {
        let memory = SimMemory::new(100);
        let _ = reserve(&memory, 10);
    }

    #[test]
    #[should_panic(expected = "were not reserved")]
    fn a_wrong_release_is_found_on_drop() {
        let memory = SimMemory::new(100);
        let start = reserve(&memory, 10).unwrap();
        release(&memory, start, 11);
        release(&memory, start, 10);
        assert_eq!(memory.violations().len(), 1);
    }

    #[test]
    #[should_panic(expected = "reservation 1 of 0 bytes")]
    fn an_empty_reservation_is_found_on_drop() {
        let memory = SimMemory::new(100);
        assert!(reserve(&memory, 0).is_none());
    }
}
