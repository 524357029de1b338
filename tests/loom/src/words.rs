//! loom's atomics for words of planned memory, which are too small to hold them.
//!
//! The first use of a word makes its atomic, from the bytes that stand there. A
//! model that uses words forgets them at its end: an address may be another word's
//! in the next schedule.

use crate::sync::AtomicU32;
use alloc::sync::Arc;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

static WORDS: Mutex<BTreeMap<usize, Arc<AtomicU32>>> = Mutex::new(BTreeMap::new());

fn words() -> MutexGuard<'static, BTreeMap<usize, Arc<AtomicU32>>> {
    WORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The atomic that stands for the word at `pointer`.
pub fn beside<'a>(pointer: NonNull<u32>) -> &'a AtomicU32 {
    let mut words = words();
    let word = words.entry(pointer.addr().get()).or_insert_with(|| {
        // SAFETY: the caller has the right to use the word as an atomic, and this is
        // its first use, so that its bytes are as they were written plainly.
        Arc::new(AtomicU32::new(unsafe { pointer.read() }))
    });
    // SAFETY: kept until `forget`, which is called when nothing lent is left.
    unsafe { &*Arc::as_ptr(word) }
}

/// Ends the life of all words; nothing that was lent may be used any more.
pub fn forget() {
    words().clear();
}
