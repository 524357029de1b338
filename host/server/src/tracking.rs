//! `CLIENT TRACKING`: telling clients that what they keep of a value holds no more.
//!
//! # Protocol
//! A client that has read a key is in the table of that key until the key is changed; then
//! it is told, and is out of the table. Two orders have to hold:
//!
//! - Changes are told when they are durable, in the order of the commits
//!   ([`crate::announcements`]), so that who reads again sees the new value. What a
//!   transaction reads enters the table at its commit's turn.
//! - A read of a snapshot must not enter the table behind a change that the snapshot doesn't
//!   have: nobody would tell the client of it. So the changes that were told are counted in
//!   *rounds*; a command enters its keys before it reads, and where the round is another one
//!   than when the snapshot was taken, it reads from a newer snapshot.
//!
//! Tracking begins with the writer held: every later commit tells its changes. Messages to
//! a client wait until the replies of its commands are written, hence none comes before the
//! reply that it is about.
//!
//! # Memory
//! The table has a bound of keys, and gives keys up, which tells their clients, where there
//! are more or where clients' memory, which it counts as, is short. A client that leaves
//! stays in the table until its keys are changed or given up; the last one empties it.

use crate::client::{Clients, Message};
use crate::client_memory::ClientMemory;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a key takes besides its own bytes, and each client of it, about.
const KEY_BYTES: usize = 128;
const ITEM_BYTES: usize = 16;

/// How a client wants to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Of all keys that begin with its prefixes, not of those that it has read.
    pub is_broadcast: bool,
    /// Keys are tracked only where `CLIENT CACHING YES` came before.
    pub is_opt_in: bool,
    /// Keys are tracked unless `CLIENT CACHING NO` came before.
    pub is_opt_out: bool,
    /// Not of its own changes.
    pub skips_own: bool,
    /// The client that is told in its place.
    pub redirection: Option<u64>,
    /// That client is not there any more.
    pub is_broken: bool,
    /// What the keys begin with that it is told of.
    pub prefixes: BTreeSet<Arc<[u8]>>,
}

/// What happened to a key in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch<'t> {
    /// It was changed.
    Changed(&'t [u8]),
    /// Its client has read it, and keeps what it has read.
    Read(&'t [u8]),
    /// All keys may have been changed.
    All,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<u64, Options>,
    /// Who has read which key.
    keys: BTreeMap<Arc<[u8]>, BTreeSet<u64>>,
    /// Who is told of keys that begin with what.
    prefixes: BTreeMap<Arc<[u8]>, BTreeSet<u64>>,
    items: usize,
    bytes: usize,
    /// The key that was given up last: the next one behind it goes next.
    given_up: Arc<[u8]>,
}

/// Figures for `INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Clients that track.
    pub clients: usize,
    /// Keys in the table.
    pub keys: usize,
    /// Pairs of key and client in the table.
    pub items: usize,
    /// Prefixes that somebody is told of.
    pub prefixes: usize,
}

/// Who is to be told of which keys.
#[derive(Debug, Default)]
pub struct Tracking {
    state: Mutex<State>,
    /// How many clients track, so that commands cost nothing while there are none.
    client_count: AtomicUsize,
    keys_max: AtomicUsize,
    round: AtomicU64,
}

impl State {
    fn insert(&mut self, id: u64, key: &[u8]) {
        if !self.clients.contains_key(&id) {
            return;
        }
        if let Some(ids) = self.keys.get_mut(key) {
            if ids.insert(id) {
                self.items += 1;
                self.bytes += ITEM_BYTES;
            }
        } else {
            self.keys.insert(key.into(), [id].into());
            self.items += 1;
            self.bytes += key.len() + KEY_BYTES + ITEM_BYTES;
        }
    }

    fn take(&mut self, key: &[u8]) -> Option<(Arc<[u8]>, BTreeSet<u64>)> {
        let (key, ids) = self.keys.remove_entry(key)?;
        self.forget(&key, &ids);
        Some((key, ids))
    }

    fn forget(&mut self, key: &[u8], ids: &BTreeSet<u64>) {
        self.items -= ids.len();
        self.bytes -= key.len() + KEY_BYTES + ids.len() * ITEM_BYTES;
    }

    fn clear(&mut self) {
        while let Some((key, ids)) = self.keys.pop_first() {
            self.forget(&key, &ids);
        }
    }

    /// Tells a client, or the one in its place; `None`: of all keys.
    fn tell(&mut self, clients: &Clients, id: u64, keys: Option<Arc<[Arc<[u8]>]>>) {
        let Some((options, client)) = self.clients.get_mut(&id).zip(clients.find(id)) else {
            return;
        };
        let is_third = || client.is_third_version.load(Ordering::Relaxed);
        let Some(other) = options.redirection else {
            if is_third() {
                let is_redirected = false;
                clients.send(
                    &client,
                    Message::Invalidated {
                        keys,
                        is_redirected,
                    },
                );
            }
            return;
        };
        if let Some(target) = clients.find(other) {
            let is_redirected = true;
            clients.send(
                &target,
                Message::Invalidated {
                    keys,
                    is_redirected,
                },
            );
        } else {
            options.is_broken = true;
            if is_third() {
                clients.send(&client, Message::BrokenRedirection(other));
            }
        }
    }

    /// Tells all who have read a key, but `writer` where it doesn't want to be told.
    fn invalidate(&mut self, clients: &Clients, key: &[u8], writer: Option<u64>) {
        let Some((key, ids)) = self.take(key) else {
            return;
        };
        let keys: Arc<[Arc<[u8]>]> = [key].into();
        for id in ids {
            let is_spared = self.clients.get(&id).is_none_or(|options| {
                options.is_broadcast || options.skips_own && writer == Some(id)
            });
            if !is_spared {
                self.tell(clients, id, Some(Arc::clone(&keys)));
            }
        }
    }

    /// Tells of changed keys by their prefixes.
    fn broadcast(&mut self, clients: &Clients, changed: &BTreeSet<&[u8]>, writer: Option<u64>) {
        let mut messages = Vec::new();
        for (prefix, ids) in &self.prefixes {
            let keys: Arc<[Arc<[u8]>]> = changed
                .iter()
                .filter(|key| key.starts_with(prefix))
                .map(|key| Arc::from(*key))
                .collect();
            if !keys.is_empty() {
                messages.extend(ids.iter().map(|id| (*id, Arc::clone(&keys))));
            }
        }
        for (id, keys) in messages {
            let skips_own = self.clients.get(&id).is_some_and(|of| of.skips_own);
            if !(skips_own && writer == Some(id)) {
                self.tell(clients, id, Some(keys));
            }
        }
    }

    fn give_one_up(&mut self, clients: &Clients) {
        let behind = (
            Bound::Excluded(Arc::clone(&self.given_up)),
            Bound::Unbounded,
        );
        let next = self.keys.range(behind).next();
        let Some((key, _)) = next.or_else(|| self.keys.first_key_value()) else {
            return;
        };
        let key = Arc::clone(key);
        self.invalidate(clients, &key, None);
        self.given_up = key;
    }
}

impl Tracking {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody tracks.
    pub fn is_on(&self) -> bool {
        self.client_count.load(Ordering::Relaxed) > 0
    }

    /// How often changes were told: to be asked before a snapshot is taken.
    pub fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Lets so many keys be in the table, and gives up those that are too many.
    pub fn set_keys_max(&self, keys: usize, clients: &Clients, memory: &ClientMemory) {
        self.keys_max.store(keys, Ordering::Relaxed);
        self.change(memory, |state| {
            while state.keys.len() > keys {
                state.give_one_up(clients);
            }
        });
    }

    /// Changes the state, and notes what it takes then.
    fn change<T>(&self, memory: &ClientMemory, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = state.bytes;
        let outcome = change(&mut state);
        memory.note(before, state.bytes);
        outcome
    }

    fn shrink(&self, state: &mut State, clients: &Clients, memory: &ClientMemory) {
        let keys_max = self.keys_max.load(Ordering::Relaxed);
        while state.keys.len() > keys_max {
            state.give_one_up(clients);
        }
        if memory.is_over() {
            // As many as a read may have brought.
            state.give_one_up(clients);
        }
    }

    /// A client tracks from here on, or otherwise than before: called with the writer held.
    pub fn enable(&self, id: u64, mut options: Options, memory: &ClientMemory) {
        self.change(memory, |state| {
            for prefix in &options.prefixes {
                let ids = state.prefixes.entry(Arc::clone(prefix)).or_default();
                if ids.insert(id) {
                    state.bytes += prefix.len() + KEY_BYTES;
                }
            }
            if let Some(before) = state.clients.remove(&id) {
                options.prefixes.extend(before.prefixes);
            }
            state.clients.insert(id, options);
            self.client_count
                .store(state.clients.len(), Ordering::Relaxed);
        });
    }

    /// A client tracks no more. The last one empties the table.
    pub fn disable(&self, id: u64, memory: &ClientMemory) {
        if !self.is_on() {
            return;
        }
        self.change(memory, |state| {
            let Some(options) = state.clients.remove(&id) else {
                return;
            };
            for prefix in &options.prefixes {
                state.bytes -= prefix.len() + KEY_BYTES;
                if let Some(ids) = state.prefixes.get_mut(prefix) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        state.prefixes.remove(prefix);
                    }
                }
            }
            if state.clients.is_empty() {
                state.clear();
            }
            self.client_count
                .store(state.clients.len(), Ordering::Relaxed);
        });
    }

    /// How a client is told; `None`: it doesn't track.
    pub fn options(&self, id: u64) -> Option<Options> {
        if !self.is_on() {
            return None;
        }
        self.lock().clients.get(&id).cloned()
    }

    /// A client is about to read keys from a snapshot that was taken behind this round.
    /// Answers whether the snapshot will do; if not, it may lack a change that was told.
    pub fn enter<'k>(
        &self,
        id: u64,
        keys: impl Iterator<Item = &'k [u8]>,
        round: u64,
        clients: &Clients,
        memory: &ClientMemory,
    ) -> bool {
        self.change(memory, |state| {
            if self.round() != round {
                return false;
            }
            for key in keys {
                state.insert(id, key);
                self.shrink(state, clients, memory);
            }
            true
        })
    }

    /// Tells of what a transaction has done, and takes what it has read into the table.
    pub fn tell<'t>(
        &self,
        writer: Option<u64>,
        touches: impl Iterator<Item = Touch<'t>>,
        clients: &Clients,
        memory: &ClientMemory,
    ) {
        self.change(memory, |state| {
            self.round.fetch_add(1, Ordering::Release);
            let mut changed = BTreeSet::new();
            for touch in touches {
                match touch {
                    Touch::Changed(key) => {
                        state.invalidate(clients, key, writer);
                        if !state.prefixes.is_empty() {
                            changed.insert(key);
                        }
                    }
                    Touch::Read(key) => {
                        if let Some(id) = writer {
                            state.insert(id, key);
                            self.shrink(state, clients, memory);
                        }
                    }
                    Touch::All => {
                        state.clear();
                        let ids: Vec<u64> = state.clients.keys().copied().collect();
                        for id in ids {
                            state.tell(clients, id, None);
                        }
                    }
                }
            }
            state.broadcast(clients, &changed, writer);
        });
    }

    /// How much is tracked.
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        Figures {
            clients: state.clients.len(),
            keys: state.keys.len(),
            items: state.items,
            prefixes: state.prefixes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(
        tracking: &Tracking,
        id: u64,
        keys: &[&str],
        round: u64,
        memory: &ClientMemory,
    ) -> bool {
        let keys = keys.iter().map(|key| key.as_bytes());
        tracking.enter(id, keys, round, &Clients::default(), memory)
    }

    #[test]
    fn a_snapshot_that_may_lack_a_change_will_not_do() {
        let (tracking, memory) = (Tracking::default(), ClientMemory::new(None, 0, 1));
        let clients = Clients::default();
        tracking.set_keys_max(10, &clients, &memory);
        tracking.enable(1, Options::default(), &memory);
        let round = tracking.round();
        assert!(enter(&tracking, 1, &["a"], round, &memory));
        tracking.tell(None, [Touch::Changed(b"b")].into_iter(), &clients, &memory);
        assert!(!enter(&tracking, 1, &["b"], round, &memory));
        assert!(enter(&tracking, 1, &["b"], tracking.round(), &memory));
    }

    #[test]
    fn the_table_has_its_bound_and_is_counted_until_it_is_empty() {
        let (tracking, memory) = (Tracking::default(), ClientMemory::new(None, 0, 1));
        let clients = Clients::default();
        tracking.set_keys_max(3, &clients, &memory);
        for id in [1, 2] {
            let prefixes = [Arc::from(&b"p"[..])].into();
            let options = Options {
                prefixes,
                ..Options::default()
            };
            tracking.enable(id, options, &memory);
            assert!(enter(&tracking, id, &["a", "b"], 0, &memory));
        }
        let figures = tracking.figures();
        assert_eq!((figures.keys, figures.items), (2, 4));
        assert!(enter(&tracking, 1, &["c", "d", "e"], 0, &memory));
        assert_eq!(tracking.figures().keys, 3);
        tracking.set_keys_max(1, &clients, &memory);
        assert_eq!(tracking.figures().keys, 1);
        let reads = [
            Touch::Changed(b"e"),
            Touch::Read(b"x"),
            Touch::All,
            Touch::Read(b"y"),
        ];
        tracking.tell(Some(2), reads.into_iter(), &clients, &memory);
        let figures = tracking.figures();
        assert_eq!((figures.keys, figures.items), (1, 1));
        assert!(memory.taken() > 0);
        tracking.disable(1, &memory);
        assert_eq!(tracking.figures().keys, 1);
        tracking.disable(2, &memory);
        assert_eq!((tracking.figures().keys, memory.taken()), (0, 0));
    }
}
