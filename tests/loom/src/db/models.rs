//! Models of commits, watermarks and the group commit.
//!
//! A commit is one key whose last byte is its sequence, and so large that each needs a
//! memtable of its own or shares one with one other. The log checks that it is
//! handed every commit once, in order, and that no flush states more as durable than is.

use super::{Durability, Engine, Ticket};
use crate::error::Error;
use crate::memtable::{Record, RecordKind};
use crate::sync::{Ordering, words};
use crate::txn::Snapshot;
use alloc::sync::Arc;
use loom::thread;

const TABLE: u32 = 16;

impl Engine {
    /// One commit of `key`, whose value of so many bytes makes the next one need a new memtable, or not.
    fn put_one(&self, key: &[u8], value_bytes: usize) -> Ticket {
        let record = Record {
            kind: RecordKind::Put,
            table: TABLE,
            key,
            value: &[7; 128][..value_bytes],
            expiry_ms: None,
            metadata: None,
        };
        self.append_one(&record, 0).unwrap()
    }

    /// Flushes until a commit is durable, as who waits for it does: where another one
    /// flushes, by waiting.
    fn wait_for(&self, ticket: Ticket) {
        let mut attempt = 0;
        while !self.is_durable(ticket).unwrap() {
            match self.flush_step(true) {
                Ok(_) => {}
                Err(Error::Busy) => {
                    self.wait.relax(attempt);
                    attempt += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(self.pager.storage().synced() >= ticket.sequence);
    }

    /// Whether a snapshot finds a key in the memtables that its version lists.
    fn finds(&self, snapshot: &Snapshot, key: &[u8]) -> bool {
        let _epoch = self.pager.enter();
        let sources = self.front.versions.sources(snapshot);
        sources.memtables().any(|index| {
            let memtable = &self.memtable(index).unwrap().memtable;
            memtable.get(TABLE, key, snapshot.sequence).is_some()
        })
    }

    /// With all threads done: everything can be made durable, once.
    fn finish(&self, commits: u64) {
        if self.log_sync.load(Ordering::Relaxed) == super::SYNC_RUNS {
            panic!("a sync that has ended still runs");
        }
        let durable = self.flush_step(true).unwrap();
        assert_eq!(durable, commits);
        assert_eq!(self.pager.storage().synced(), commits);
        assert_eq!(self.log_promised.load(Ordering::Relaxed), 0);
        words::forget();
    }
}

/// A snapshot sees all commits up to its own and no other one, whatever is committed,
/// frozen and flushed meanwhile; and what it sees is durable.
pub fn snapshots() {
    let engine = Engine::new(1, Durability::Sync);
    let other = Arc::clone(&engine);
    let writer = thread::spawn(move || {
        for key in [b"1", b"2"] {
            let _ticket = other.put_one(key, 100);
            other.flush_step(true).unwrap();
        }
    });
    let snapshot = engine.snapshot().unwrap();
    assert!(engine.pager.storage().synced() >= snapshot.sequence);
    for (key, sequence) in [(b"1", 1), (b"2", 2)] {
        let is_seen = engine.finds(&snapshot, key);
        assert_eq!(is_seen, sequence <= snapshot.sequence);
    }
    engine.front.versions.end(snapshot);
    writer.join().unwrap();
    engine.finish(2);
}

/// Two commit and wait: who finds the log owned waits for who flushes, and both end. A
/// flush may find a memtable's last commit and its successor together.
pub fn group() {
    let engine = Engine::new(1, Durability::Sync);
    let other = Arc::clone(&engine);
    let writer = thread::spawn(move || {
        let _small = other.put_one(b"a", 20);
        let ticket = other.put_one(b"b", 100);
        other.wait_for(ticket);
    });
    let ticket = engine.put_one(b"c", 20);
    engine.wait_for(ticket);
    writer.join().unwrap();
    engine.finish(3);
}

/// Where commits are acknowledged when they are written, one thread writes on while
/// another one syncs: what it wrote meanwhile is not taken for durable.
pub fn beside_a_sync() {
    let engine = Engine::new(1, Durability::Written);
    let first = engine.put_one(b"a", 20);
    let other = Arc::clone(&engine);
    let syncer = thread::spawn(move || other.wait_for(first));
    let second = engine.put_one(b"b", 20);
    match engine.flush_step(false) {
        Ok(_) => assert!(engine.is_written(second).unwrap()),
        Err(error) => assert_eq!(error, Error::Busy),
    }
    assert!(engine.durable.load(Ordering::SeqCst) <= engine.pager.storage().synced());
    let snapshot = engine.snapshot().unwrap();
    assert!(snapshot.sequence <= engine.pager.storage().written());
    engine.front.versions.end(snapshot);
    syncer.join().unwrap();
    engine.finish(2);
}
