//! Where scans stand.
//!
//! A scan's cursor is a number for its client, and the key that it goes on behind is
//! kept here by that number: keys are in order, so that a scan gives every key that is
//! there from its begin to its end exactly once, whatever is written meanwhile. A cursor
//! is the hash of where it stands: who asks twice gets the same number, and many clients
//! at one place take one entry.
//!
//! Only the last few thousand are kept. One that was forgotten is refused, since a scan
//! that began again from the start would never end.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Cursors that are kept at once.
const CURSORS_MAX: usize = 16_384;
/// Bytes of the keys of all of them.
const KEY_BYTES_MAX: usize = 4 << 20;

/// The keys that scans go on behind, by the numbers that clients have.
#[derive(Debug, Default)]
pub struct ScanCursors {
    state: RandomState,
    keys: HashMap<u64, Box<[u8]>>,
    /// The oldest first.
    order: VecDeque<u64>,
    key_bytes: usize,
}

impl ScanCursors {
    /// The number of a scan of `database` that goes on behind `key`. Never 0.
    pub fn keep(&mut self, database: usize, key: &[u8]) -> u64 {
        // Clients read it as a signed number of 64 bits.
        let number = (self.state.hash_one((database, key)) >> 1).max(1);
        if self.keys.insert(number, key.into()).is_none() {
            self.order.push_back(number);
            self.key_bytes += key.len();
        }
        while self.order.len() > CURSORS_MAX || self.key_bytes > KEY_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if let Some(key) = self.keys.remove(&oldest) {
                self.key_bytes -= key.len();
            }
        }
        number
    }

    /// The key that the scan goes on behind; `None`: the number is not known (any more).
    #[must_use]
    pub fn find(&self, number: u64) -> Option<Box<[u8]>> {
        self.keys.get(&number).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_its_key_until_it_is_forgotten() {
        let mut cursors = ScanCursors::default();
        let first = cursors.keep(0, b"first");
        assert_eq!(cursors.keep(0, b"first"), first);
        assert_ne!(cursors.keep(1, b"first"), first);
        assert_eq!(cursors.find(first).as_deref(), Some(&b"first"[..]));
        assert_eq!(cursors.find(0), None);
        for number in 0..CURSORS_MAX {
            cursors.keep(0, &number.to_le_bytes());
        }
        assert_eq!(cursors.find(first), None);
        assert!(cursors.keys.len() <= CURSORS_MAX);
        assert_eq!(cursors.keys.len(), cursors.order.len());
    }

    #[test]
    fn long_keys_are_bounded_together() {
        let mut cursors = ScanCursors::default();
        for number in 0..100usize {
            cursors.keep(number, &vec![7; 1 << 20]);
        }
        assert!(cursors.key_bytes <= KEY_BYTES_MAX);
        assert!(!cursors.keys.is_empty());
    }
}
