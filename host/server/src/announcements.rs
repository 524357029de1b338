//! Events on keys: what is told of changes, when, and in which order.
//!
//! # Protocol
//! Who listens may look at the key that it hears of, and reads see what is durable. So the
//! events of a transaction wait, from its commit to its durability, in the order of the
//! commits: they are put there with the writer held. Whoever learns first that a commit is
//! durable tells the events of all commits up to it, since they became so in their order.
//! They are told before the one who made the change has the reply.
//!
//! A connection has one transaction on its way at most, and what waits of it counts as
//! clients' memory.

use crate::client::Clients;
use crate::client_memory::ClientMemory;
use crate::store::{Change, Changes};
use crate::tracking::{Touch, Tracking};
use lightning_ops::configuration::EventClasses;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An event on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'e> {
    /// Its class.
    pub class: EventClasses,
    /// What has happened.
    pub name: &'static str,
    /// The database's number.
    pub database: usize,
    /// The key.
    pub key: &'e [u8],
}

#[derive(Debug)]
struct Placed {
    name: &'static str,
    database: usize,
    key: Range<usize>,
}

#[derive(Debug)]
enum PlacedTouch {
    Changed(Range<usize>),
    Read(Range<usize>),
    All,
}

/// What is to be told of one transaction, in its order: events, and for those who track,
/// keys.
#[derive(Debug, Default)]
pub struct Announcement {
    keys: Vec<u8>,
    events: Vec<Placed>,
    touches: Vec<PlacedTouch>,
    /// The client that has made it; `None`: the service.
    client: Option<u64>,
}

impl Announcement {
    fn place(&mut self, key: &[u8]) -> Range<usize> {
        let begin = self.keys.len();
        self.keys.extend_from_slice(key);
        begin..self.keys.len()
    }

    /// It is of this client.
    pub fn set_client(&mut self, id: u64) {
        self.client = Some(id);
    }

    /// Adds an event.
    pub fn add(&mut self, event: Event<'_>) {
        let key = self.place(event.key);
        self.events.push(Placed {
            name: event.name,
            database: event.database,
            key,
        });
    }

    /// Adds what happened to a key, for those who track.
    pub fn touch(&mut self, touch: Touch<'_>) {
        let placed = match touch {
            Touch::Changed(key) => PlacedTouch::Changed(self.place(key)),
            Touch::Read(key) => PlacedTouch::Read(self.place(key)),
            Touch::All => PlacedTouch::All,
        };
        self.touches.push(placed);
    }

    /// Adds the events of a command, and what it changes where somebody tracks.
    pub fn gather(&mut self, changes: &Changes, is_tracked: bool) {
        for event in changes.events() {
            self.add(event);
        }
        for change in changes.iter().filter(|_| is_tracked) {
            match change {
                Change::Put { key, .. } | Change::Delete { key, .. } => {
                    self.touch(Touch::Changed(key));
                }
                // FLUSHALL empties many; who keeps anything is told once.
                Change::Clear { .. } | Change::Swap { .. } => {
                    if !matches!(self.touches.last(), Some(PlacedTouch::All)) {
                        self.touch(Touch::All);
                    }
                }
            }
        }
    }

    fn touches(&self) -> impl Iterator<Item = Touch<'_>> {
        let key = |key: &Range<usize>| self.keys.get(key.clone()).unwrap_or_default();
        self.touches.iter().map(move |touch| match touch {
            PlacedTouch::Changed(range) => Touch::Changed(key(range)),
            PlacedTouch::Read(range) => Touch::Read(key(range)),
            PlacedTouch::All => Touch::All,
        })
    }

    /// Whether there is nothing to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.touches.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.events.clear();
        self.touches.clear();
    }

    fn bytes(&self) -> usize {
        self.keys.capacity()
            + self.events.capacity() * size_of::<Placed>()
            + self.touches.capacity() * size_of::<PlacedTouch>()
    }
}

#[derive(Debug)]
struct Waiting {
    /// The commit that has to be durable.
    sequence: u64,
    announcement: Announcement,
}

fn pop_up_to(waiting: &mut VecDeque<Waiting>, sequence: u64) -> Option<Waiting> {
    if waiting.front()?.sequence > sequence {
        return None;
    }
    waiting.pop_front()
}

/// What is to be told, and what waits for it.
#[derive(Debug, Default)]
pub struct Announcements {
    /// The classes that are told, as a number.
    classes: AtomicU16,
    waiting: Mutex<VecDeque<Waiting>>,
    /// How many wait, so that commits cost nothing while there are none.
    count: AtomicUsize,
}

impl Announcements {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The classes of events that are told.
    pub fn classes(&self) -> EventClasses {
        EventClasses::of_bits(self.classes.load(Ordering::Relaxed))
    }

    /// Tells events of these classes from here on.
    pub fn set_classes(&self, classes: EventClasses) {
        self.classes.store(classes.told().bits(), Ordering::Relaxed);
    }

    /// Keeps what is to be told of a commit: called with the writer held.
    pub fn put(&self, sequence: u64, announcement: Announcement, memory: &ClientMemory) {
        memory.note(0, announcement.bytes());
        let mut waiting = self.lock();
        waiting.push_back(Waiting {
            sequence,
            announcement,
        });
        self.count.store(waiting.len(), Ordering::Relaxed);
    }

    /// Tells what waits for commits up to this one, which are durable.
    pub fn tell(
        &self,
        sequence: u64,
        clients: &Clients,
        tracking: &Tracking,
        memory: &ClientMemory,
    ) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Held while it is told, so that nobody tells of a later commit before.
        let mut waiting = self.lock();
        while let Some(first) = pop_up_to(&mut waiting, sequence) {
            memory.note(first.announcement.bytes(), 0);
            let announcement = &first.announcement;
            if !announcement.touches.is_empty() {
                tracking.tell(announcement.client, announcement.touches(), clients, memory);
            }
            self.publish(announcement, clients);
        }
        self.count.store(waiting.len(), Ordering::Relaxed);
    }

    /// Forgets what was to be told of commits up to this one, since it failed: so did, or
    /// will, all that are not durable.
    pub fn forget(&self, sequence: u64, memory: &ClientMemory) {
        let mut waiting = self.lock();
        while let Some(first) = pop_up_to(&mut waiting, sequence) {
            memory.note(first.announcement.bytes(), 0);
        }
        self.count.store(waiting.len(), Ordering::Relaxed);
    }

    /// Tells events that wait for nothing.
    pub fn publish(&self, announcement: &Announcement, clients: &Clients) {
        let classes = self.classes();
        for Placed {
            name,
            database,
            key,
        } in &announcement.events
        {
            let key = announcement.keys.get(key.clone()).unwrap_or_default();
            if classes.has(EventClasses::KEYSPACE) {
                let mut channel = format!("__keyspace@{database}__:").into_bytes();
                channel.extend_from_slice(key);
                clients.publish(&channel, name.as_bytes());
            }
            if classes.has(EventClasses::KEYEVENT) {
                clients.publish(format!("__keyevent@{database}__:{name}").as_bytes(), key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(key: &[u8]) -> Announcement {
        let mut announcement = Announcement::default();
        announcement.add(Event {
            class: EventClasses::STRING,
            name: "set",
            database: 0,
            key,
        });
        announcement
    }

    #[test]
    fn what_waits_is_counted_until_it_is_told_or_forgotten() {
        let memory = ClientMemory::new(None, 0, 1);
        let (announcements, clients) = (Announcements::default(), Clients::default());
        let tracking = Tracking::default();
        for sequence in 1..=3 {
            announcements.put(sequence, announcement(b"key"), &memory);
        }
        let all = memory.taken();
        assert!(all > 0);
        announcements.tell(0, &clients, &tracking, &memory);
        assert_eq!(memory.taken(), all);
        announcements.tell(2, &clients, &tracking, &memory);
        assert_eq!(memory.taken(), all / 3);
        announcements.forget(3, &memory);
        assert_eq!((memory.taken(), announcements.lock().len()), (0, 0));
    }
}
