//! Working memory that threads borrow for the length of one call.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A fixed number of items, each lent to one thread at a time.
pub(crate) struct Pool<T> {
    items: Box<[Mutex<T>]>,
}

impl<T> Pool<T> {
    /// `count` items, at least one.
    pub(crate) fn new(count: usize, make: impl FnMut() -> T) -> Self {
        let items = std::iter::repeat_with(make)
            .take(count.max(1))
            .map(Mutex::new);
        Self {
            items: items.collect(),
        }
    }

    /// Runs `work` on a free item, or waits for one. What a panic left an item in is
    /// overwritten by the next use, as what any use left.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let free = self.items.iter().find_map(|item| match item.try_lock() {
            Ok(item) => Some(item),
            Err(TryLockError::Poisoned(item)) => Some(item.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let mut item: MutexGuard<'_, T> = match free {
            Some(item) => item,
            // The first holds one at least.
            None => self.items[0].lock().unwrap_or_else(PoisonError::into_inner),
        };
        work(&mut item)
    }

    /// Whether `work` holds for each item.
    #[cfg(feature = "zstd")]
    pub(crate) fn each(&self, mut work: impl FnMut(&mut T) -> bool) -> bool {
        self.items.iter().all(|item| {
            let mut item = item.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut item)
        })
    }
}
