//! Which changes of others are conflicts: every kind of own write and noted read, against
//! every kind of change, wherever that stands.

use super::*;

/// Keys between two bounds, in an order in which between any two keys there is another.
#[derive(Debug, Clone, Copy)]
struct Keys {
    from: u8,
    /// `None`: to the table's end.
    to: Option<u8>,
    is_inclusive: bool,
}

impl Keys {
    fn one(key: u8) -> Self {
        Self {
            from: key,
            to: Some(key),
            is_inclusive: true,
        }
    }

    fn range(from: u8, to: Option<u8>) -> Self {
        Self {
            from,
            to,
            is_inclusive: false,
        }
    }

    fn is_before_end(&self, key: u8) -> bool {
        match self.to {
            None => true,
            Some(to) if self.is_inclusive => key <= to,
            Some(to) => key < to,
        }
    }

    fn overlap(&self, other: &Self) -> bool {
        let start = self.from.max(other.from);
        self.is_before_end(start) && other.is_before_end(start)
    }
}

#[derive(Debug, Clone, Copy)]
enum Own {
    Put(u8),
    Delete(u8),
    DeleteRange(u8, Option<u8>),
    /// Inclusive.
    Read(u8, Option<u8>),
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Put(u8),
    Delete(u8),
    DeleteRange(u8, Option<u8>),
}

impl Own {
    const EVERY: [Self; 9] = [
        Self::Put(2),
        Self::Delete(3),
        Self::DeleteRange(1, Some(3)),
        Self::DeleteRange(3, Some(4)),
        Self::DeleteRange(3, None),
        Self::Read(2, Some(2)),
        Self::Read(1, Some(3)),
        Self::Read(0, Some(1)),
        Self::Read(3, None),
    ];

    fn keys(self) -> Keys {
        match self {
            Self::Put(key) | Self::Delete(key) => Keys::one(key),
            Self::DeleteRange(from, to) => Keys::range(from, to),
            Self::Read(from, to) => Keys {
                from,
                to,
                is_inclusive: true,
            },
        }
    }

    fn write(self, engine: &Engine, transaction: &mut Transaction) -> Result<()> {
        let end = |to: &Option<u8>| to.map(|to| [to]);
        match self {
            Self::Put(key) => {
                engine.transaction_put(transaction, 16, &[key], b"own", PutOptions::default())
            }
            Self::Delete(key) => engine.transaction_delete(transaction, 16, &[key]),
            Self::DeleteRange(from, to) => {
                let to = end(&to);
                let to = to.as_ref().map(|to| to.as_slice());
                engine.transaction_delete_range(transaction, 16, &[from], to)
            }
            Self::Read(from, to) => {
                let to = end(&to);
                let to = to.as_ref().map(|to| to.as_slice());
                engine.transaction_note_read(transaction, 16, &[from], to)?;
                // Who has written nothing has nothing to order.
                engine.transaction_put(transaction, 17, b"own", b"", PutOptions::default())
            }
        }
    }
}

impl Change {
    fn every() -> impl Iterator<Item = Self> {
        let points = (0..6).flat_map(|key| [Self::Put(key), Self::Delete(key)]);
        let ranges = [
            (0, Some(2)),
            (1, Some(2)),
            (2, Some(4)),
            (3, Some(4)),
            (4, Some(5)),
            (4, None),
            (0, None),
        ];
        points.chain(ranges.map(|(from, to)| Self::DeleteRange(from, to)))
    }

    fn keys(self) -> Keys {
        match self {
            Self::Put(key) | Self::Delete(key) => Keys::one(key),
            Self::DeleteRange(from, to) => Keys::range(from, to),
        }
    }

    fn commit(self, engine: &Engine) {
        let put = PutOptions::default();
        loop {
            let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
            match self {
                Self::Put(key) => {
                    engine.transaction_put(&mut transaction, 16, &[key], b"other", put)
                }
                Self::Delete(key) => engine.transaction_delete(&mut transaction, 16, &[key]),
                Self::DeleteRange(from, to) => {
                    let to = to.map(|to| [to]);
                    let to = to.as_ref().map(|to| to.as_slice());
                    engine.transaction_delete_range(&mut transaction, 16, &[from], to)
                }
            }
            .unwrap();
            match engine.commit(transaction, 0, 0) {
                Ok(_) => return,
                Err(error) => make_room(engine, error).unwrap(),
            }
        }
    }
}

fn becomes_a_run(engine: &Engine) {
    assert!(engine.freeze_front().unwrap());
    engine.flush_step(true).unwrap();
    while engine.statistics().frozen_memtables > 0 {
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}

#[test]
fn a_change_is_a_conflict_where_it_meets_what_was_written_or_read() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 6,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let (mut conflicts, mut commits) = (0, 0);
    for own in Own::EVERY {
        for change in Change::every() {
            for in_a_run in [false, true] {
                for isolation in [Isolation::Snapshot, Isolation::Serializable] {
                    let case = (own, change, in_a_run, isolation);
                    drain(&engine).unwrap();
                    let mut transaction = engine.begin(0, isolation).unwrap();
                    own.write(&engine, &mut transaction).unwrap();
                    change.commit(&engine);
                    if in_a_run {
                        becomes_a_run(&engine);
                    }
                    let outcome = engine.commit(transaction, 0, 0);
                    let counts =
                        isolation == Isolation::Serializable || !matches!(own, Own::Read(..));
                    if counts && own.keys().overlap(&change.keys()) {
                        let found = matches!(outcome, Err(Error::Conflict { table: 16, .. }));
                        assert!(found, "{case:?}: {outcome:?}");
                        conflicts += 1;
                    } else {
                        assert!(outcome.is_ok(), "{case:?}: {outcome:?}");
                        commits += 1;
                    }
                }
            }
        }
    }
    assert!(conflicts > 150 && commits > 200, "{conflicts} {commits}");
    assert_eq!(engine.statistics().conflicts, conflicts);
}

/// More reads than are remembered one by one: any change of anything is a conflict then.
#[test]
fn reads_that_find_no_place_are_reads_of_everything() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 6,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let many = options.read_set_bytes as usize / 10;
    for in_a_run in [false, true] {
        for reads in [1, many] {
            for changes in [false, true] {
                drain(&engine).unwrap();
                let mut transaction = engine.begin(0, Isolation::Serializable).unwrap();
                for _ in 0..reads {
                    engine
                        .transaction_note_read(&mut transaction, 16, b"far", Some(b"far"))
                        .unwrap();
                }
                let put = PutOptions::default();
                engine
                    .transaction_put(&mut transaction, 16, b"own", b"", put)
                    .unwrap();
                if changes {
                    let _ = engine.put(20, b"elsewhere", b"", put, 0).unwrap();
                    if in_a_run {
                        becomes_a_run(&engine);
                    }
                }
                let outcome = engine.commit(transaction, 0, 0);
                if changes && reads == many {
                    assert!(
                        matches!(outcome, Err(Error::Conflict { .. })),
                        "{outcome:?}"
                    );
                } else {
                    assert!(outcome.is_ok(), "{outcome:?}");
                }
            }
        }
    }
}

/// What was merged into the trees since it began can't be told from what was there before.
#[test]
fn a_transaction_from_before_a_merge_is_too_old() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let put = PutOptions::default();
    let _ = engine.put(16, b"before", b"", put, 0).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_put(&mut transaction, 16, b"own", b"", put)
        .unwrap();
    let _ = engine.put(16, b"other", b"", put, 0).unwrap();
    drain(&engine).unwrap();
    let outcome = engine.commit(transaction, 0, 0);
    assert!(
        matches!(outcome, Err(Error::TransactionTooOld)),
        "{outcome:?}"
    );
    assert_eq!(rows(&engine, 16).unwrap().len(), 2);
    // Nothing was changed since this one began, though a merge ran.
    let _ = engine.put(16, b"more", b"", put, 0).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_put(&mut transaction, 16, b"own", b"", put)
        .unwrap();
    drain(&engine).unwrap();
    assert!(engine.commit(transaction, 0, 0).is_ok());
}
