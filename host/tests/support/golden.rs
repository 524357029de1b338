//! What the databases of `tests/golden` hold: written by `examples/golden.rs`, compared by
//! `tests/golden.rs`.

use lightning_db::{
    Builder, Database, Durability, PutOptions, ReadTransaction, Result, Table, WriteTransaction,
};
use std::io::Read as _;
use std::ops::ControlFlow;

/// 1 January 2200, in milliseconds since 1970: what expires then is there to be found.
pub const FAR_FUTURE_MS: u64 = 7_258_118_400_000;
/// Entries of the table that makes trees of several levels.
const ROWS: u64 = 4_000;
const LARGE_BYTES: usize = 5_000;
const STREAMED_BYTES: u64 = 70_000;

/// Options that make every file small.
pub fn builder() -> Builder {
    Database::builder()
        .page_bytes(1024)
        .cache_bytes(2 << 20)
        .memtable_bytes(256 << 10)
        .log_segment_bytes(64 << 10)
        .durability(Durability::Sync)
}

/// How far the contents have come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// What the trees hold.
    Merged,
    /// With what only the log holds.
    Logged,
}

fn key(number: u64) -> Vec<u8> {
    format!("row:{number:06}").into_bytes()
}

fn value(number: u64) -> Vec<u8> {
    let length = usize::try_from(number % 23).unwrap() + 1;
    vec![b'a' + u8::try_from(number % 26).unwrap(); length]
}

fn large(seed: u8) -> Vec<u8> {
    (0..LARGE_BYTES)
        .map(|place| seed.wrapping_add((place % 251) as u8))
        .collect()
}

/// Writes what the trees are to hold.
pub fn write_merged(database: &Database) -> Result<()> {
    let rows = database.table("rows")?;
    let mut load = database.bulk_load(&rows)?;
    for number in 0..ROWS {
        load.push(&key(number), &value(number))?;
    }
    load.finish()?;
    let kinds = database.table("kinds")?;
    let mut write = database.begin_write()?;
    write.put(&kinds, b"", b"the empty key")?;
    write.put(&kinds, b"empty value", b"")?;
    write.put(&kinds, b"large", &large(1))?;
    let expiring = PutOptions {
        expiry_ms: Some(FAR_FUTURE_MS),
        ..PutOptions::default()
    };
    write.put_with(&kinds, b"expiring", b"until 2200", expiring)?;
    let labelled = PutOptions {
        metadata: Some(7),
        ..PutOptions::default()
    };
    write.put_with(&kinds, b"labelled", b"seven", labelled)?;
    let streamed = std::io::repeat(b's').take(STREAMED_BYTES);
    write.put_stream(&kinds, b"streamed", STREAMED_BYTES, streamed)?;
    write.commit()?;
    let dropped = database.table("dropped")?;
    database.put(&dropped, b"gone", b"with its table")?;
    let mut write = database.begin_write()?;
    write.drop_table("dropped")?;
    write.commit()
}

/// Writes what only the log is to hold: a record of each kind.
pub fn write_logged(database: &Database) -> Result<()> {
    let (rows, kinds) = (database.table("rows")?, database.table("kinds")?);
    let mut write: WriteTransaction = database.begin_write()?;
    write.delete_range(&rows, &key(100)[..]..&key(200)[..])?;
    write.put(&rows, &key(150), b"put behind the range delete")?;
    write.delete(&rows, &key(0))?;
    write.put(&kinds, b"large", &large(2))?;
    let both = PutOptions {
        expiry_ms: Some(FAR_FUTURE_MS),
        metadata: Some(9),
    };
    write.put_with(&kinds, b"both", b"expiry and metadata", both)?;
    let streamed = std::io::repeat(b't').take(STREAMED_BYTES);
    write.put_stream(&kinds, b"streamed in the log", STREAMED_BYTES, streamed)?;
    write.commit()?;
    let made = database.table("made in the log")?;
    database.put(&made, b"key", b"value")
}

fn expected_rows(stage: Stage) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    for number in 0..ROWS {
        match number {
            150 if stage == Stage::Logged => {
                rows.push((key(number), b"put behind the range delete".to_vec()));
            }
            0 | 100..200 if stage == Stage::Logged => {}
            _ => rows.push((key(number), value(number))),
        }
    }
    rows
}

type Kind = (&'static [u8], Vec<u8>, Option<u64>, Option<u8>);

fn expected_kinds(stage: Stage) -> Vec<Kind> {
    let streamed = |byte: u8| vec![byte; usize::try_from(STREAMED_BYTES).unwrap()];
    let seed = if stage == Stage::Logged { 2 } else { 1 };
    let mut kinds: Vec<Kind> = vec![
        (b"", b"the empty key".to_vec(), None, None),
        (b"empty value", Vec::new(), None, None),
        (
            b"expiring",
            b"until 2200".to_vec(),
            Some(FAR_FUTURE_MS),
            None,
        ),
        (b"labelled", b"seven".to_vec(), None, Some(7)),
        (b"large", large(seed), None, None),
        (b"streamed", streamed(b's'), None, None),
    ];
    if stage == Stage::Logged {
        let both = b"expiry and metadata".to_vec();
        kinds.push((b"both", both, Some(FAR_FUTURE_MS), Some(9)));
        kinds.push((b"streamed in the log", streamed(b't'), None, None));
        kinds.sort();
    }
    kinds
}

fn table_of(database: &Database, name: &str) -> Table {
    database.existing_table(name).unwrap().unwrap()
}

/// Panics where the database doesn't hold just what was written up to `stage`.
pub fn check(database: &Database, stage: Stage) {
    let names: Vec<String> = database
        .tables()
        .unwrap()
        .iter()
        .map(|table| table.name().to_owned())
        .collect();
    let expected: &[&str] = match stage {
        Stage::Merged => &["kinds", "rows"],
        Stage::Logged => &["kinds", "made in the log", "rows"],
    };
    assert_eq!(names, expected);
    let read: ReadTransaction = database.begin_read().unwrap();
    let rows = read.open(&table_of(database, "rows")).unwrap();
    let mut found = Vec::new();
    rows.for_each(.., |entry| {
        found.push((entry.key.to_vec(), entry.value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(found, expected_rows(stage));
    assert_eq!(rows.len().unwrap(), u64::try_from(found.len()).unwrap());
    let kinds = read.open(&table_of(database, "kinds")).unwrap();
    let mut found = Vec::new();
    kinds
        .for_each(.., |entry| {
            found.push((
                entry.key.to_vec(),
                entry.value.to_vec(),
                entry.expiry_ms,
                entry.metadata,
            ));
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected: Vec<_> = expected_kinds(stage)
        .into_iter()
        .map(|(key, value, expiry_ms, metadata)| (key.to_vec(), value, expiry_ms, metadata))
        .collect();
    assert!(found == expected, "the table \"kinds\" differs");
}
