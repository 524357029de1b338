//! What was refused lately, for `ACL LOG`: the newest first, one entry for as many of the
//! same kind as come within a minute.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries that are kept.
const ENTRIES_MAX: usize = 128;
/// How long one of the same kind is counted with the last.
const SAME_KIND: Duration = Duration::from_secs(60);
/// Bytes of the object that are kept.
const OBJECT_BYTES_MAX: usize = 256;

/// Something that was refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// `command`, `key`, `channel` or `auth`.
    pub reason: &'static str,
    /// `toplevel` or `multi`.
    pub context: &'static str,
    /// The command, key or channel.
    pub object: Vec<u8>,
    /// Who asked.
    pub user: String,
    /// Their connection, as `CLIENT LIST` tells of it.
    pub client: String,
    /// How often.
    pub count: u64,
    /// When it was last.
    pub last: Instant,
}

/// What was refused lately.
#[derive(Debug, Default)]
pub struct Denials {
    entries: Mutex<VecDeque<Refusal>>,
}

impl Denials {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Refusal>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something was refused just now.
    pub fn note(
        &self,
        reason: &'static str,
        context: &'static str,
        object: &[u8],
        user: &str,
        client: String,
    ) {
        let object = &object[..object.len().min(OBJECT_BYTES_MAX)];
        let now = Instant::now();
        let mut entries = self.lock();
        let is_same = |entry: &Refusal| {
            entry.reason == reason
                && entry.context == context
                && entry.object == object
                && entry.user == user
                && now.duration_since(entry.last) < SAME_KIND
        };
        let before = entries.iter().position(is_same);
        let count = before
            .and_then(|place| entries.remove(place))
            .map_or(0, |entry| entry.count);
        entries.push_front(Refusal {
            reason,
            context,
            object: object.to_vec(),
            user: user.to_owned(),
            client,
            count: count + 1,
            last: now,
        });
        entries.truncate(ENTRIES_MAX);
    }

    /// The newest, at most so many.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<Refusal> {
        self.lock().iter().take(count).cloned().collect()
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_counted_and_stands_first() {
        let denials = Denials::default();
        let note = |object: &[u8]| {
            denials.note("key", "toplevel", object, "user", String::new());
        };
        note(b"a");
        note(b"b");
        note(b"a");
        let entries = denials.newest(10);
        assert_eq!(entries.len(), 2);
        assert_eq!((&*entries[0].object, entries[0].count), (&b"a"[..], 2));
        for number in 0..1000u32 {
            note(&number.to_le_bytes());
        }
        assert_eq!(denials.newest(usize::MAX).len(), ENTRIES_MAX);
        denials.reset();
        assert!(denials.newest(1).is_empty());
    }
}
