//! Models of the memtable: links, ranks, and what is published.
//!
//! Each commit's content is stood for by a cell of loom that the writer sets before
//! it inserts and a reader looks at when it has found the entry: a path to an entry
//! that doesn't order the two ends the model.

use crate::bench::{Watched, budget};
use crate::memtable::{Commit, CommitHead, CommitSize, Cursor, Memtable, Record, RecordKind};
use crate::sync::{AtomicU64, Ordering, words};
use alloc::sync::Arc;
use loom::thread;

const TABLE: u32 = 16;
const COMMITS: usize = 4;

/// A memtable, what stands for its commits, and what its readers may see.
struct Front {
    memtable: Memtable,
    contents: [Watched; COMMITS + 1],
    watermark: AtomicU64,
}

impl Front {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memtable: Memtable::new(&mut budget(), 512, 1).unwrap(),
            contents: std::array::from_fn(|_| Watched::new()),
            watermark: AtomicU64::new(0),
        })
    }

    /// One commit of `keys`, ascending; those who look at the watermark see it afterwards.
    fn commit(&self, sequence: u64, keys: &[&[u8]]) {
        self.contents[sequence as usize].set(sequence);
        let records: Vec<Record<'_>> = keys.iter().map(|key| record(key)).collect();
        let mut size = CommitSize::default();
        for record in &records {
            size.add(record);
        }
        let head = CommitHead {
            sequence,
            wall_time_ms: 1,
            origin: 0,
        };
        let mut writer = self.memtable.writer().unwrap();
        let mut commit: Commit<'_, '_> = writer.begin_commit(head, &size).unwrap();
        for record in &records {
            commit.insert(record).unwrap();
        }
        commit.publish().unwrap();
        self.watermark.store(sequence, Ordering::Release);
    }

    /// The sequence of a key's newest version that may be seen.
    fn get(&self, key: &[u8], seen: u64) -> Option<u64> {
        let entry = self.memtable.get(TABLE, key, seen)?;
        assert_eq!(entry.value(), key, "another value");
        self.look(entry.sequence());
        Some(entry.sequence())
    }

    fn look(&self, sequence: u64) {
        assert_eq!(self.contents[sequence as usize].get(), sequence);
    }

    /// Everything that may be seen, in order.
    fn scan(&self, seen: u64) -> Vec<(Vec<u8>, u64)> {
        let mut found = Vec::new();
        let mut cursor = Cursor::new();
        let mut stands = cursor.seek_first(&self.memtable);
        while stands {
            let entry = cursor.entry(&self.memtable).unwrap();
            self.look(entry.sequence());
            if entry.sequence() <= seen {
                found.push((entry.key().to_vec(), entry.sequence()));
            }
            stands = cursor.next(&self.memtable);
        }
        found
    }

    /// Runs `read` beside the writer's commits.
    fn run(self: &Arc<Self>, read: fn(&Self), commits: &[(u64, &[&[u8]])]) {
        let other = Arc::clone(self);
        let reader = thread::spawn(move || read(&other));
        for (sequence, keys) in commits {
            self.commit(*sequence, keys);
        }
        reader.join().unwrap();
        words::forget();
    }
}

fn record(key: &[u8]) -> Record<'_> {
    Record {
        kind: RecordKind::Put,
        table: TABLE,
        key,
        value: key,
        expiry_ms: None,
        metadata: None,
    }
}

/// A get finds every version up to the watermark, whatever is inserted meanwhile.
pub fn gets() {
    let front = Front::new();
    front.commit(1, &[b"m"]);
    front.run(
        |front| {
            let seen = front.watermark.load(Ordering::Acquire);
            assert_eq!(front.get(b"m", 1), Some(1));
            let expected = [None, None, Some(2), Some(2)];
            assert_eq!(front.get(b"c", seen), expected[seen as usize]);
            let expected = [None, None, None, Some(3)];
            assert_eq!(front.get(b"d", seen), expected[seen as usize]);
        },
        &[(2, &[b"c"]), (3, &[b"d"])],
    );
}

/// A scan sees, in order, all up to the watermark.
pub fn scans() {
    let front = Front::new();
    front.commit(1, &[b"b", b"m"]);
    front.run(
        |front| {
            let seen = front.watermark.load(Ordering::Acquire);
            let found = front.scan(seen);
            assert!(found.is_sorted_by(|(one, at), (other, before)| {
                one < other || (one == other && at > before)
            }));
            assert_eq!(found.len(), [0, 2, 4][seen as usize]);
        },
        &[(2, &[b"c", b"m"])],
    );
}

/// A walk over the commits meets whole ones, in order of sequence.
pub fn walks() {
    let front = Front::new();
    front.run(
        |front| {
            let mut next = 1;
            let mut position = front.memtable.first_position();
            for _ in 0..2 {
                let mut commits = front.memtable.commits_from(position).unwrap();
                for commit in &mut commits {
                    assert_eq!(commit.head().sequence, next);
                    front.look(next);
                    let keys: Vec<&[u8]> = commit.records().map(|record| record.key).collect();
                    assert_eq!(keys.len(), commit.record_count() as usize);
                    next += 1;
                }
                position = commits.position();
            }
        },
        &[(1, &[b"b"]), (2, &[b"a", b"c"])],
    );
}
