//! Which keys clients watch, and which of them were changed.
//!
//! # Protocol
//! A client watches while it holds the writer, and `EXEC` asks while it holds it; every
//! change is made by who holds it. So no change falls between. What `WATCH` saw becomes
//! durable before it is answered, hence a read behind it, which sees what is durable,
//! sees nothing older than what is watched.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A watched key's clients: what tells them that it was changed, and whether it was
/// there when they began to watch it. As long as they were told nothing it still is,
/// unless it has expired.
type Watched = HashMap<(usize, Box<[u8]>), Vec<(Arc<AtomicBool>, bool)>>;

/// All watched keys.
#[derive(Debug, Default)]
pub struct Watches {
    keys: Mutex<Watched>,
    /// How many there are, so that writing costs nothing while there are none.
    count: AtomicUsize,
}

/// What one client watches.
#[derive(Debug, Default)]
pub struct WatchList {
    /// Something of it was changed.
    is_touched: Arc<AtomicBool>,
    /// Keys, and whether each was there when the client began to watch it.
    keys: Vec<(usize, Box<[u8]>, bool)>,
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key to what a client watches; `exists` says whether it is there now.
    pub fn watch(&self, list: &mut WatchList, database: usize, key: &[u8], exists: bool) {
        let is_known =
            |(of, known, _): &(usize, Box<[u8]>, bool)| *of == database && **known == *key;
        if list.keys.iter().any(is_known) {
            return;
        }
        let mut keys = self.lock();
        keys.entry((database, key.into()))
            .or_default()
            .push((Arc::clone(&list.is_touched), exists));
        self.count.store(keys.len(), Ordering::Relaxed);
        list.keys.push((database, key.into(), exists));
    }

    /// Ends what a client watches.
    pub fn unwatch(&self, list: &mut WatchList) {
        if list.keys.is_empty() {
            return;
        }
        let mut keys = self.lock();
        for (database, key, _) in list.keys.drain(..) {
            let place = (database, key);
            if let Some(watchers) = keys.get_mut(&place) {
                watchers.retain(|(watcher, _)| !Arc::ptr_eq(watcher, &list.is_touched));
                if watchers.is_empty() {
                    keys.remove(&place);
                }
            }
        }
        self.count.store(keys.len(), Ordering::Relaxed);
        list.is_touched = Arc::default();
    }

    /// Notes that a key is changed.
    pub(crate) fn touch(&self, database: usize, key: &[u8]) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(watchers) = self.lock().get(&(database, Box::from(key))) {
            for (watcher, _) in watchers {
                watcher.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Notes that a database is emptied: whoever watches a key that was there.
    pub(crate) fn touch_present(&self, database: usize) {
        self.touch_where(database, |existed| existed);
    }

    /// Notes that a database has other keys: whoever watches any.
    pub(crate) fn touch_all(&self, database: usize) {
        self.touch_where(database, |_| true);
    }

    fn touch_where(&self, database: usize, applies: impl Fn(bool) -> bool) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        for ((of, _), watchers) in self.lock().iter() {
            if *of == database {
                for (watcher, existed) in watchers {
                    if applies(*existed) {
                        watcher.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

impl WatchList {
    /// Whether a watched key was changed. `exists` says whether a key is there now: one
    /// that has expired since then was changed by nobody.
    ///
    /// # Errors
    /// What `exists` fails with.
    pub fn is_touched<E>(
        &self,
        mut exists: impl FnMut(usize, &[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if self.is_touched.load(Ordering::Relaxed) {
            return Ok(true);
        }
        for (database, key, existed) in &self.keys {
            if *existed && !exists(*database, key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_touched(list: &WatchList, exists: bool) -> bool {
        list.is_touched(|_, _| Ok::<_, ()>(exists)).unwrap()
    }

    #[test]
    fn a_change_reaches_who_watches_the_key_and_nobody_else() {
        let watches = Watches::default();
        let (mut first, mut second) = (WatchList::default(), WatchList::default());
        watches.watch(&mut first, 0, b"a", true);
        watches.watch(&mut second, 1, b"a", true);
        watches.touch(0, b"b");
        assert!(!is_touched(&first, true) && !is_touched(&second, true));
        watches.touch(0, b"a");
        assert!(is_touched(&first, true) && !is_touched(&second, true));
        watches.touch_all(1);
        assert!(is_touched(&second, true));
        let mut absent = WatchList::default();
        watches.watch(&mut absent, 1, b"absent", false);
        watches.touch_present(1);
        assert!(!is_touched(&absent, false));
        watches.touch_all(1);
        assert!(is_touched(&absent, false));
        watches.unwatch(&mut absent);
        watches.unwatch(&mut first);
        watches.unwatch(&mut second);
        assert!(!is_touched(&first, true));
        assert!(watches.lock().is_empty());
    }

    #[test]
    fn a_key_that_expires_while_it_is_watched_was_changed() {
        let watches = Watches::default();
        let mut list = WatchList::default();
        watches.watch(&mut list, 0, b"a", true);
        assert!(is_touched(&list, false));
        watches.unwatch(&mut list);
        watches.watch(&mut list, 0, b"stale", false);
        assert!(!is_touched(&list, false));
        watches.unwatch(&mut list);
    }
}
