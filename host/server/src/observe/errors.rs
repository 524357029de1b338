//! Which errors clients were told, by their first word.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Different first words that are counted; clients can't make any of their own.
const WORDS_MAX: usize = 128;

/// How often each error was told.
#[derive(Debug, Default)]
pub struct ErrorStatistics {
    by_word: Mutex<BTreeMap<String, u64>>,
}

impl ErrorStatistics {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.by_word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an error by its text.
    pub fn note(&self, message: &str) {
        let word = message.split(' ').next().unwrap_or_default();
        let mut by_word = self.lock();
        if let Some(count) = by_word.get_mut(word) {
            *count += 1;
        } else if by_word.len() < WORDS_MAX {
            by_word.insert(word.to_owned(), 1);
        }
    }

    /// How often each was told.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().clone()
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.lock().clear();
    }
}
