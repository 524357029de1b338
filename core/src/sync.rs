//! Every atomic and every lock of the engine comes from here.
//!
//! 64-bit atomics are `portable-atomic`'s, since small processors have none of
//! their own. A [`Mutex`] is a spinning lock whose waiting is the host's
//! ([`Wait`]): it is held for the length of a memory operation and never over an
//! I/O, so that a waiter yields at worst, and a single core never finds it taken.
//!
//! `tests/loom` compiles this file, and those that are made of it, with loom's
//! atomics in place of the processor's (`cfg(loom)`, which no other build sets).

use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use lightning_platform::Wait;

/// A number in a static, which orders nothing: loom doesn't watch it.
#[cfg(loom)]
pub use core::sync::atomic::AtomicU64 as StaticU64;
pub use core::sync::atomic::Ordering;
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
/// A number in a static, which orders nothing: loom doesn't watch it.
#[cfg(not(loom))]
pub use portable_atomic::AtomicU64 as StaticU64;
#[cfg(not(loom))]
pub use portable_atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};

/// The atomic number that a word of planned memory holds.
///
/// # Safety
/// The word is aligned, is valid for `'a`, and is used in no other way while
/// another thread can reach it.
#[inline]
#[must_use]
pub unsafe fn word_at<'a>(pointer: NonNull<u32>) -> &'a AtomicU32 {
    #[cfg(not(loom))]
    // SAFETY: what `from_ptr` asks for is what the caller promises.
    let word = unsafe { AtomicU32::from_ptr(pointer.as_ptr()) };
    // loom's atomics don't fit into a word: the models keep them beside it.
    #[cfg(loom)]
    let word = words::beside(pointer);
    word
}

#[cfg(loom)]
#[path = "../../tests/loom/src/words.rs"]
pub mod words;

/// A value that one thread at a time may use.
pub struct Mutex<T> {
    taken: AtomicBool,
    wait: Arc<dyn Wait>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and `taken` lets one guard
// exist at a time; sending the value between threads is what `T: Send` allows.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A free lock around `value`.
    pub fn new(value: T, wait: Arc<dyn Wait>) -> Self {
        Self {
            taken: AtomicBool::new(false),
            wait,
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock, waiting in the host's way while it is taken.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let mut attempt = 0_u32;
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            self.wait_until_free(&mut attempt);
        }
    }

    #[cfg(not(loom))]
    fn wait_until_free(&self, attempt: &mut u32) {
        while self.taken.load(Ordering::Relaxed) {
            self.wait.relax(*attempt);
            *attempt = attempt.saturating_add(1);
        }
    }

    /// A load may go on seeing old values in loom, where an exchange doesn't.
    #[cfg(loom)]
    fn wait_until_free(&self, attempt: &mut u32) {
        self.wait.relax(*attempt);
        *attempt = attempt.saturating_add(1);
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| MutexGuard { mutex: self })
    }

    /// The value, through exclusive access.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// The right to use a [`Mutex`]'s value, until dropped.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, see `try_lock`.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, see `try_lock`.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.taken.store(false, Ordering::Release);
    }
}

/// A value for one owner at a time, who may hold it over an I/O: nobody waits,
/// who finds it taken is told so.
pub struct Exclusive<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: as for `Mutex`.
unsafe impl<T: Send> Send for Exclusive<T> {}
// SAFETY: as for `Mutex`.
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// A free owner's place around `value`.
    pub fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Becomes the owner, if there is none.
    pub fn try_enter(&self) -> Option<ExclusiveGuard<'_, T>> {
        self.taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| ExclusiveGuard { place: self })
    }

    /// The value, through exclusive access.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Ownership of an [`Exclusive`]'s value, until dropped.
pub struct ExclusiveGuard<'a, T> {
    place: &'a Exclusive<T>,
}

impl<T> Deref for ExclusiveGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, see `try_enter`.
        unsafe { &*self.place.value.get() }
    }
}

impl<T> DerefMut for ExclusiveGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, see `try_enter`.
        unsafe { &mut *self.place.value.get() }
    }
}

impl<T> Drop for ExclusiveGuard<'_, T> {
    fn drop(&mut self) {
        self.place.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
