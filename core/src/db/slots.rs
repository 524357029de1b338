//! Memory lent to write transactions.
//!
//! A [`Transaction`] is the only one for its slot: it is made when the slot's
//! flag goes from free to taken, can't be copied, and gives the slot back when it
//! is consumed. So whoever holds `&mut Transaction` is the only one to reach the
//! slot's write set, and `&Transaction` gives shared access for as long as it is
//! borrowed. That it is a transaction of this engine is checked each time.

use super::Engine;
use crate::error::{Error, Limit, Result};
use crate::mem::{Array, Budget};
use crate::sync::{AtomicBool, Ordering};
use crate::txn::{Snapshot, WriteSet};
use core::cell::UnsafeCell;
use lightning_platform::MemoryUse;

struct WriteSlot {
    taken: AtomicBool,
    set: UnsafeCell<WriteSet>,
}

// SAFETY: the set is reached only through the one transaction of the slot, see
// the module; a write set may be sent between threads and shared.
unsafe impl Sync for WriteSlot {}

/// The write sets of all transactions.
pub(super) struct WriteSlots {
    slots: Array<WriteSlot>,
}

/// An open write transaction: a handle that belongs to one engine. Consumed by
/// [`Engine::commit`] or [`Engine::rollback`].
#[derive(Debug)]
#[must_use = "a transaction that is not committed or rolled back holds its slot for ever"]
pub struct Transaction {
    pub(super) engine: u64,
    pub(super) slot: u32,
    pub(super) snapshot: Snapshot,
    pub(super) is_serializable: bool,
    /// The engine's count of loads, as it was before the snapshot began.
    pub(super) loads: u64,
    /// A commit was tried: what it read is no longer kept.
    pub(super) is_committing: bool,
}

impl Transaction {
    /// The commit that the transaction began after.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.snapshot.sequence
    }
}

impl WriteSlots {
    pub(super) fn new(
        budget: &mut Budget,
        count: usize,
        write_bytes: usize,
        read_bytes: usize,
        range_bytes: u32,
    ) -> Result<Self> {
        let slots = Array::try_new(budget, MemoryUse::Structure, count, |budget, _| {
            let set = WriteSet::new(budget, write_bytes, read_bytes, range_bytes)?;
            Ok(WriteSlot {
                taken: AtomicBool::new(false),
                set: UnsafeCell::new(set),
            })
        })?;
        Ok(Self { slots })
    }

    /// Takes a free slot, with an empty write set.
    pub(super) fn take(&self) -> Result<u32> {
        for (index, slot) in (0_u32..).zip(self.slots.iter()) {
            let taken =
                slot.taken
                    .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                // SAFETY: the flag just went from free to taken: no transaction of
                // this slot exists yet, and none but the one being made will.
                unsafe { &mut *slot.set.get() }.clear();
                return Ok(index);
            }
        }
        let maximum = self.slots.len() as u64;
        Err(Error::OverLimit {
            limit: Limit::Snapshots,
            value: maximum + 1,
            maximum,
        })
    }

    pub(super) fn give_back(&self, slot: u32) {
        if let Some(slot) = self.slots.get(slot as usize) {
            slot.taken.store(false, Ordering::Release);
        }
    }
}

impl Engine {
    /// The write set of a transaction of this engine.
    pub(super) fn writes<'t>(&'t self, transaction: &'t Transaction) -> Result<&'t WriteSet> {
        if transaction.engine != self.id {
            return Err(Error::Internal(210));
        }
        let slot = self.transactions.slots.get(transaction.slot as usize);
        let slot = slot.ok_or(Error::Internal(211))?;
        // SAFETY: `transaction` is the only one of its slot (see the module) and is
        // borrowed shared, so that nobody has the set exclusively.
        Ok(unsafe { &*slot.set.get() })
    }

    /// The write set of a transaction of this engine, for writing.
    pub(super) fn writes_mut<'t>(
        &'t self,
        transaction: &'t mut Transaction,
    ) -> Result<&'t mut WriteSet> {
        if transaction.engine != self.id {
            return Err(Error::Internal(212));
        }
        let slot = self.transactions.slots.get(transaction.slot as usize);
        let slot = slot.ok_or(Error::Internal(213))?;
        // SAFETY: `transaction` is the only one of its slot and is borrowed
        // exclusively, so that nobody else reaches the set.
        Ok(unsafe { &mut *slot.set.get() })
    }

    /// Ends a transaction without effect.
    pub fn rollback(&self, transaction: Transaction) {
        if transaction.engine != self.id {
            return;
        }
        if self.pager.streams().any_uncommitted() {
            self.pager.streams().end_owner(transaction.slot);
        }
        self.transactions.give_back(transaction.slot);
        self.front.versions.end(transaction.snapshot);
    }
}
