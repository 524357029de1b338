//! The memory plan: every byte the engine uses is reserved here, at open.
//!
//! A [`Budget`] hands out fixed arrays and regions and refuses what would pass
//! its limit, before it asks the host. Nothing grows afterwards: there is no
//! other way to memory in the core.
//!
//! An [`Array`] owns its elements like a boxed slice. A [`Region`] is raw bytes
//! shared by threads under a protocol of its user (frames, arenas), who argues
//! each access.

use crate::error::{Error, Result};
use alloc::sync::Arc;
use core::marker::PhantomData;
use core::mem::{align_of, needs_drop, size_of};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use lightning_platform::{Memory, MemoryUse};

/// What may still be reserved.
pub struct Budget {
    memory: Arc<dyn Memory>,
    limit_bytes: u64,
    used_bytes: u64,
}

impl Budget {
    /// A budget of `limit_bytes` from `memory`.
    #[must_use]
    pub fn new(memory: Arc<dyn Memory>, limit_bytes: u64) -> Self {
        Self {
            memory,
            limit_bytes,
            used_bytes: 0,
        }
    }

    /// Bytes reserved so far.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes that can still be reserved.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }

    fn reserve(&mut self, purpose: MemoryUse, bytes: usize, align: usize) -> Result<Reservation> {
        let needed_bytes = self.used_bytes.saturating_add(bytes as u64);
        if needed_bytes > self.limit_bytes {
            return Err(Error::MemoryPlan {
                needed_bytes,
                limit_bytes: self.limit_bytes,
            });
        }
        let start = if bytes == 0 {
            NonNull::dangling()
        } else {
            self.memory
                .reserve(purpose, bytes, align)
                .ok_or(Error::OutOfMemory {
                    bytes: bytes as u64,
                })?
        };
        self.used_bytes = needed_bytes;
        Ok(Reservation {
            memory: Arc::clone(&self.memory),
            start,
            bytes,
            align,
        })
    }
}

/// A reservation, given back on drop.
struct Reservation {
    memory: Arc<dyn Memory>,
    start: NonNull<u8>,
    bytes: usize,
    align: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: made by one `reserve` with these values, released once, here;
            // the owner is being dropped, so that nothing uses the memory.
            unsafe { self.memory.release(self.start, self.bytes, self.align) }
        }
    }
}

/// A fixed number of elements in planned memory.
pub struct Array<T> {
    reservation: Reservation,
    length: usize,
    elements: PhantomData<T>,
}

// SAFETY: an array owns its elements, as a boxed slice does.
unsafe impl<T: Send> Send for Array<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Array<T> {}

impl<T> Array<T> {
    /// `length` elements made by `element`, which is told the index.
    ///
    /// # Errors
    /// [`Error::MemoryPlan`] over the budget, [`Error::OutOfMemory`] when the host refuses.
    pub fn new(
        budget: &mut Budget,
        purpose: MemoryUse,
        length: usize,
        mut element: impl FnMut(usize) -> T,
    ) -> Result<Self> {
        Self::try_new(budget, purpose, length, |_, index| Ok(element(index)))
    }

    /// `length` elements that reserve memory of their own.
    ///
    /// # Errors
    /// As [`Array::new`], or the first that `element` answers.
    pub fn try_new(
        budget: &mut Budget,
        purpose: MemoryUse,
        length: usize,
        mut element: impl FnMut(&mut Budget, usize) -> Result<T>,
    ) -> Result<Self> {
        let bytes = size_of::<T>()
            .checked_mul(length)
            .ok_or(Error::OutOfMemory { bytes: u64::MAX })?;
        let reservation = budget.reserve(purpose, bytes, align_of::<T>().max(8))?;
        // The length counts what is written, so that an error drops just that.
        let mut array = Self {
            reservation,
            length: 0,
            elements: PhantomData,
        };
        for index in 0..length {
            let made = element(budget, index)?;
            // SAFETY: `index < length`, and the reservation holds `length` elements.
            unsafe { array.start().add(index).write(made) }
            array.length = index + 1;
        }
        Ok(array)
    }

    fn start(&self) -> NonNull<T> {
        if self.reservation.bytes == 0 {
            NonNull::dangling()
        } else {
            self.reservation.start.cast()
        }
    }
}

impl Array<u8> {
    /// `length` zero bytes. Pages of the reservation are touched on first use.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn zeroed(budget: &mut Budget, purpose: MemoryUse, length: usize) -> Result<Self> {
        let reservation = budget.reserve(purpose, length, 8)?;
        Ok(Self {
            reservation,
            length,
            elements: PhantomData,
        })
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `length` elements were written at construction (or are zeroed
        // bytes), and live as long as `self`.
        unsafe { core::slice::from_raw_parts(self.start().as_ptr(), self.length) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.start().as_ptr(), self.length) }
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() {
            // SAFETY: the elements are whole and are dropped once, before the
            // reservation (a field) is released.
            unsafe { core::ptr::drop_in_place::<[T]>(&raw mut **self) }
        }
    }
}

/// Raw planned bytes, shared between threads under the protocol of their user.
pub struct Region {
    reservation: Reservation,
}

// SAFETY: a region gives out pointers only; who makes references from them
// argues exclusivity, see `bytes` and `bytes_mut`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// `bytes` zero bytes aligned to `align`, a power of two.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn new(
        budget: &mut Budget,
        purpose: MemoryUse,
        bytes: usize,
        align: usize,
    ) -> Result<Self> {
        Ok(Self {
            reservation: budget.reserve(purpose, bytes, align)?,
        })
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.reservation.bytes
    }

    /// Lets the host have the memory until it is touched again. Each byte is then what it
    /// was, or zero.
    ///
    /// # Safety
    /// Nobody may use any byte of the region at the same time.
    pub unsafe fn discard(&self) {
        let Reservation {
            memory,
            start,
            bytes,
            ..
        } = &self.reservation;
        if *bytes > 0 {
            // SAFETY: made by one `reserve` with these values and not released while this
            // lives; not used at the same time, says the caller.
            unsafe { memory.discard(*start, *bytes) }
        }
    }

    /// The pointer to byte `offset`, or `None` where `length` bytes from there
    /// don't lie within the region.
    #[must_use]
    pub fn pointer(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        if end > self.reservation.bytes {
            return None;
        }
        // SAFETY: `offset` lies within the reservation or at its end.
        Some(unsafe { self.reservation.start.add(offset) })
    }

    /// Asks for the cache line of byte `offset`, see [`prefetch`].
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        if offset < self.reservation.bytes {
            // Nothing is read, and the address is never one of another object.
            prefetch(self.reservation.start.as_ptr().wrapping_add(offset));
        }
    }

    /// The bytes of a range, or none where it leaves the region.
    ///
    /// # Safety
    /// Nobody may write any byte of the range while the slice lives.
    #[must_use]
    pub unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        match self.pointer(offset, length) {
            // SAFETY: within the region; not written meanwhile, says the caller.
            Some(start) => unsafe { core::slice::from_raw_parts(start.as_ptr(), length) },
            None => &[],
        }
    }

    /// The bytes of a range for writing, or none where it leaves the region.
    ///
    /// # Safety
    /// Nobody else may read or write any byte of the range while the slice lives.
    #[must_use]
    #[expect(clippy::mut_from_ref, reason = "exclusivity is the caller's argument")]
    pub unsafe fn bytes_mut(&self, offset: usize, length: usize) -> &mut [u8] {
        match self.pointer(offset, length) {
            // SAFETY: within the region; exclusive, says the caller.
            Some(start) => unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), length) },
            None => &mut [],
        }
    }
}

/// Has the processor fetch the cache line of an address, without waiting for it. Changes
/// nothing that can be observed but time; where there is no way to ask, does nothing.
#[inline]
pub fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which is ignored for an address that isn't mapped; every processor
    // of this architecture has the instruction.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests;
