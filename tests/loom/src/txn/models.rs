//! Models of versions and snapshots.
//!
//! What a version leads to (the pages of its generation, memtables, runs) is stood for
//! by cells of loom: who writes or reuses it changes the cell, who reads it looks. Two
//! threads take the parts of a reader and of the engine's maintenance, in the order in
//! which the core takes its steps.

use super::{Snapshot, SourceId, Sources, VersionState, Versions};
use crate::bench::{Watched, budget, wait};
use crate::format::page_ref::{PageKind, PageRef};
use crate::pager::Pager;
use crate::sync::{AtomicU64, Mutex, Ordering};
use alloc::sync::Arc;
use loom::thread;

/// What a cell of a generation, memtable or run holds while it may be read.
const LIVE: u64 = 100;
const ENGINE: u64 = 1;

struct Database {
    pager: Pager,
    versions: Versions,
    /// Who decides which memtables there are, and publishes.
    sequencer: Mutex<()>,
    watermark: AtomicU64,
    /// The pages that generation 0, 1 and 2 read.
    pages: [Watched; 3],
    memtables: [Watched; 2],
    run: Watched,
    /// The sequence of the older version that the run keeps, besides the newest.
    kept: AtomicU64,
}

fn state(generation: u64, sources: &[SourceId]) -> VersionState {
    let mut listed = Sources::default();
    for source in sources {
        assert!(listed.push(*source));
    }
    VersionState {
        generation,
        merged_sequence: 0,
        roots: Some(PageRef {
            address: generation + 1,
            birth_generation: 1,
            units: 1,
            level: 0,
            kind: PageKind::Leaf,
            check: [0; 16],
        }),
        sources: listed,
    }
}

fn memtable(index: u32) -> SourceId {
    SourceId::of_memtable(index)
}

fn run() -> SourceId {
    SourceId::of_run(5)
}

impl Database {
    /// Memtable 0 is live, and so are the pages of generation 0.
    fn new(readers: u32) -> Arc<Self> {
        let database = Self {
            pager: Pager::new(readers as usize),
            versions: Versions::new(&mut budget(), readers, &state(0, &[memtable(0)]), wait())
                .unwrap(),
            sequencer: Mutex::new((), wait()),
            watermark: AtomicU64::new(1),
            pages: [Watched::new(), Watched::new(), Watched::new()],
            memtables: [Watched::new(), Watched::new()],
            run: Watched::new(),
            kept: AtomicU64::new(0),
        };
        database.pages[0].set(LIVE);
        database.memtables[0].set(LIVE);
        Arc::new(database)
    }

    fn begin(&self) -> Option<Snapshot> {
        let watermark = || self.watermark.load(Ordering::SeqCst);
        self.versions.begin(&self.pager, ENGINE, 0, watermark).ok()
    }

    fn publish(&self, state: &VersionState) {
        self.versions
            .publish(self.pager.epochs(), state, 0)
            .unwrap();
    }

    /// Looks at the pages of a snapshot's version.
    fn read_pages(&self, snapshot: &Snapshot) {
        let root = self.versions.roots(snapshot).unwrap();
        assert_eq!(self.pages[root.address as usize - 1].get(), LIVE);
    }

    /// Reuses the pages of a generation, if no version that is in use reads them.
    fn reclaim(&self, generation: u64) {
        if self.versions.oldest_generation(self.pager.epochs()) > generation {
            self.pages[generation as usize].set(0);
        }
    }

    /// Reads one source of a snapshot in an epoch of its own. Answers whether it was
    /// the run.
    fn read_source(&self, snapshot: &Snapshot, place: usize) -> bool {
        let _epoch = self.pager.enter();
        let source = self.versions.source(snapshot.version, place);
        let cell = match (source.memtable(), source.run()) {
            (Some(index), _) => &self.memtables[index as usize],
            (None, Some(_)) => &self.run,
            (None, None) => panic!("a place that names nothing"),
        };
        assert_eq!(cell.get(), LIVE);
        source.run().is_some()
    }

    /// Puts the run in memtable 0's place, as the engine does when it has written it, and
    /// empties the memtable if nobody can read it.
    fn make_run(&self) {
        self.run.set(LIVE);
        {
            let _sequencer = self.sequencer.lock();
            let current = self.versions.current();
            let exchanged = |source| {
                if source == memtable(0) {
                    Some(run())
                } else {
                    Some(source)
                }
            };
            self.publish(&VersionState {
                generation: 1,
                sources: current.sources.map(exchanged),
                ..current
            });
        }
        self.versions.exchange(0, 5);
        let retired = self.pager.epochs().retire();
        let is_listed = self.versions.lists(self.pager.epochs(), memtable(0));
        assert!(!is_listed, "a snapshot keeps a memtable for ever");
        if self.pager.epochs().is_unseen(retired) {
            self.memtables[0].set(0);
        }
    }

    /// Puts memtable 1 before the others, publishes a commit in it, and lets it be seen.
    fn freeze_and_commit(&self) {
        {
            let _sequencer = self.sequencer.lock();
            let current = self.versions.current();
            self.publish(&VersionState {
                sources: current.sources.with_newest(memtable(1)).unwrap(),
                ..current
            });
        }
        self.memtables[1].set(LIVE);
        self.watermark.store(2, Ordering::SeqCst);
    }
}

/// Runs `own` on this thread beside `others`.
fn in_threads(database: &Arc<Database>, others: &[fn(&Database)], own: fn(&Database)) {
    let threads: Vec<_> = others
        .iter()
        .map(|other| {
            let (database, other) = (Arc::clone(database), *other);
            thread::spawn(move || other(&database))
        })
        .collect();
    own(database);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// With all threads done: nothing is held any more.
fn end(database: &Database) {
    assert_eq!(database.versions.open_snapshots(), 0);
    for generation in 10..16 {
        database.publish(&state(generation, &[]));
    }
    let oldest = database.versions.oldest_generation(database.pager.epochs());
    assert_eq!(oldest, 15, "a version is held for ever");
}

/// The pages that a snapshot reads are not used again while it is open, and the slot of
/// its version isn't given to another one.
pub fn pages() {
    let database = Database::new(1);
    in_threads(
        &database,
        &[|database| {
            let snapshot = database.begin().unwrap();
            database.read_pages(&snapshot);
            database.read_pages(&snapshot);
            database.versions.end(snapshot);
        }],
        |database| {
            for generation in [1, 2] {
                database.pages[generation as usize].set(LIVE);
                database.publish(&state(generation, &[memtable(0)]));
                database.reclaim(generation - 1);
            }
        },
    );
    end(&database);
}

/// A snapshot that may see a commit has a version that lists the memtable it is in.
pub fn watermark() {
    let database = Database::new(1);
    in_threads(
        &database,
        &[|database| {
            let snapshot = database.begin().unwrap();
            let sources = database.versions.sources(&snapshot);
            let newest = sources.memtables().next();
            if snapshot.sequence == 2 {
                assert_eq!(newest, Some(1), "a commit that may be seen is not listed");
                database.read_source(&snapshot, 0);
            }
            let oldest = sources.count() - 1;
            database.read_source(&snapshot, oldest);
            database.versions.end(snapshot);
        }],
        Database::freeze_and_commit,
    );
    end(&database);
}

/// A memtable is emptied while a snapshot is open that lists the run in its place, and
/// never while somebody reads it.
pub fn exchange() {
    let database = Database::new(1);
    in_threads(
        &database,
        &[|database| {
            let snapshot = database.begin().unwrap();
            let was_run = database.read_source(&snapshot, 0);
            let is_run = database.read_source(&snapshot, 0);
            assert!(is_run || !was_run, "a word that names a run stays");
            database.versions.end(snapshot);
        }],
        Database::make_run,
    );
    end(&database);
}

/// Both at once: the current version lists the new memtable and the run, and a snapshot
/// reads either from whole sources.
pub fn freeze() {
    let database = Database::new(1);
    let read: fn(&Database) = |database| {
        let snapshot = database.begin().unwrap();
        let oldest = database.versions.sources(&snapshot).count() - 1;
        database.read_source(&snapshot, oldest);
        database.versions.end(snapshot);
    };
    in_threads(
        &database,
        &[read, Database::freeze_and_commit],
        Database::make_run,
    );
    let current = database.versions.current().sources;
    assert!(current.iter().eq([memtable(1), run()]));
    end(&database);
}

/// A run is written when all snapshots that began without the memtable's last commit are
/// known: it keeps what they need.
pub fn needed() {
    let database = Database::new(1);
    in_threads(
        &database,
        &[|database| {
            let snapshot = database.begin().unwrap();
            if database.read_source(&snapshot, 0) && snapshot.sequence == 1 {
                let kept = database.kept.load(Ordering::Relaxed);
                assert_eq!(kept, 1, "an older version that is needed is not kept");
            }
            database.versions.end(snapshot);
        }],
        |database| {
            // What the memtable holds has become durable.
            database.watermark.store(2, Ordering::SeqCst);
            let stamp = database.pager.epochs().retire();
            if database.pager.epochs().is_unseen(stamp) {
                if database.versions.sequences().any(|needed| needed == 1) {
                    database.kept.store(1, Ordering::Relaxed);
                }
                database.make_run();
            }
        },
    );
    end(&database);
}

/// A snapshot that is rebased holds the newer version and not the older one; its place
/// among the registered ones stays.
pub fn rebase() {
    let database = Database::new(1);
    in_threads(
        &database,
        &[|database| {
            let mut snapshot = database.begin().unwrap();
            let sequence = snapshot.sequence;
            database.versions.rebase(&database.pager, &mut snapshot);
            database.read_pages(&snapshot);
            assert!(database.versions.sequences().eq([sequence]));
            database.versions.end(snapshot);
        }],
        |database| {
            for generation in [1, 2] {
                database.pages[generation as usize].set(LIVE);
                database.publish(&state(generation, &[memtable(0)]));
                database.reclaim(generation - 1);
            }
        },
    );
    end(&database);
}

/// Of two readers one may find no place; who has one reads what it may.
pub fn places() {
    let database = Database::new(1);
    let read: fn(&Database) = |database| {
        if let Some(snapshot) = database.begin() {
            database.read_pages(&snapshot);
            assert!(database.versions.sequences().eq([1]));
            database.versions.end(snapshot);
        }
    };
    in_threads(&database, &[read, read], |database| {
        database.pages[1].set(LIVE);
        database.publish(&state(1, &[memtable(0)]));
        database.reclaim(0);
    });
    end(&database);
}
