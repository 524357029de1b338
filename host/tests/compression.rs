//! Compression, as it is seen from outside: room on the disk, and who may open what.

mod support;

use lightning_db::{Builder, Compression, Database, EngineError, Reason};
use std::path::Path;
use std::time::Duration;
use support::Directory;

const ROWS: u64 = 20_000;
const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

fn builder() -> Builder {
    Database::builder()
        .cache_bytes(2 << 20)
        .memtable_bytes(1 << 20)
}

/// A row of JSON, the same each time; about 190 bytes.
fn row(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let city = ["Berlin", "Lisbon", "Nairobi", "Kyoto"][(mixed >> 62) as usize];
    format!(
        "{{\"id\":{number},\"name\":\"user {:08x}\",\"email\":\"{:06x}@example.com\",\"city\":\"{city}\",\
         \"active\":{},\"score\":{},\"tags\":[\"reader\",\"writer\"],\"address\":{{\"street\":\"{} Main Street\"}}}}",
        mixed >> 32,
        mixed >> 40 & 0xff_ffff,
        mixed & 1 == 1,
        mixed >> 8 & 0xffff,
        mixed >> 20 & 0x1ff,
    )
}

/// Writes all rows, in an order that is none, and has them merged.
fn fill(database: &Database, round: u64) {
    let table = database.table("users").unwrap();
    for batch in 0..ROWS / 500 {
        let mut write = database.begin_write().unwrap();
        for index in 0..500 {
            let number = (batch * 500 + index) * 7_919 % ROWS;
            let value = row(number + round);
            let key = format!("user:{number:08}");
            write.put(&table, key.as_bytes(), value.as_bytes()).unwrap();
        }
        write.commit().unwrap();
    }
    assert!(database.checkpoint(Duration::from_secs(60)).unwrap());
}

fn check(database: &Database, round: u64) {
    let table = database.table("users").unwrap();
    let read = database.begin_read().unwrap();
    let mut count = 0;
    for entry in read.open(&table).unwrap().iter().unwrap() {
        let (key, value) = entry.unwrap();
        assert_eq!(&*key, format!("user:{count:08}").as_bytes());
        assert_eq!(&*value, row(count + round).as_bytes());
        count += 1;
    }
    assert_eq!(count, ROWS);
}

fn file_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path.join("pages.ldb")).unwrap().blocks() * 512
}

/// The size of the page file on the disk when nothing is left to be done.
fn settled_bytes(path: &Path) -> u64 {
    let (mut least, mut still) = (u64::MAX, 0);
    // What is given back is given back step by step, some time after the last write.
    while still < 20 {
        std::thread::sleep(Duration::from_millis(250));
        let bytes = file_bytes(path);
        still = if bytes == least { still + 1 } else { 0 };
        least = bytes;
    }
    least
}

#[test]
fn text_takes_less_of_the_disk_by_lz4_and_still_less_by_zstd() {
    let sizes = std::thread::scope(|scope| {
        let sizes = CODECS.map(|codec| scope.spawn(move || sizes(codec)));
        sizes.map(|size| size.join().unwrap())
    });
    println!("bytes on the disk, new and changed all over: {sizes:?}");
    let [none, lz4, zstd] = sizes;
    for (none, lz4, zstd) in [(none.0, lz4.0, zstd.0), (none.1, lz4.1, zstd.1)] {
        assert!(lz4 * 5 < none * 3, "{sizes:?}");
        assert!(zstd * 10 < lz4 * 9, "{sizes:?}");
    }
}

/// New, and when everything was changed.
fn sizes(codec: Compression) -> (u64, u64) {
    let directory = Directory::new("compression-size");
    let database = builder().compression(codec).open(directory.path()).unwrap();
    assert_eq!(database.statistics().compression, codec);
    fill(&database, 0);
    check(&database, 0);
    database.verify().unwrap();
    let new = settled_bytes(directory.path());
    database.close().unwrap();
    // Whoever opens it reads in the superblock what it is compressed by.
    let database = Database::open_read_only(directory.path()).unwrap();
    assert_eq!(database.statistics().compression, codec);
    check(&database, 0);
    drop(database);
    let database = builder().open(directory.path()).unwrap();
    fill(&database, 1);
    check(&database, 1);
    database.verify().unwrap();
    (new, settled_bytes(directory.path()))
}

#[test]
fn a_database_keeps_the_compression_that_it_was_created_with() {
    for (created, opened) in [
        (Compression::Lz4, Compression::Zstd),
        (Compression::Zstd, Compression::None),
        (Compression::None, Compression::Lz4),
    ] {
        let directory = Directory::new("compression-kept");
        let open = |codec| builder().compression(codec).open(directory.path()).unwrap();
        open(created).close().unwrap();
        let database = open(opened);
        assert_eq!(database.statistics().compression, created);
        let unit = if created == Compression::None {
            4_096
        } else {
            512
        };
        assert_eq!(database.statistics().unit_bytes, unit);
    }
}

#[test]
fn a_damaged_compressed_page_is_told_and_never_served() {
    for codec in CODECS {
        let directory = Directory::new("compression-damage");
        let database = builder().compression(codec).open(directory.path()).unwrap();
        fill(&database, 0);
        // Nothing is left of it that isn't in use.
        settled_bytes(directory.path());
        database.close().unwrap();
        let path = directory.path().join("pages.ldb");
        let whole = std::fs::read(&path).unwrap();
        let mut found = 0;
        for case in 0..60_u64 {
            let mut bytes = whole.clone();
            // Behind the superblocks; few hit what is free.
            let at = 8_192
                + (case.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16) as usize % (bytes.len() - 8_192);
            bytes[at] ^= 1 << (case % 8);
            std::fs::write(&path, &bytes).unwrap();
            let opened = Database::open_read_only(directory.path());
            let outcome = opened.and_then(|database| {
                database.verify()?;
                let table = database.existing_table("users")?.unwrap();
                let read = database.begin_read()?;
                for entry in read.open(&table)?.iter()? {
                    let (key, value) = entry?;
                    let number = std::str::from_utf8(&key[5..]).unwrap().parse().unwrap();
                    assert_eq!(&*value, row(number).as_bytes());
                }
                Ok(())
            });
            if let Err(error) = outcome {
                let reason = error.reason().clone();
                assert!(
                    matches!(reason, Reason::Engine(EngineError::Corruption { .. })),
                    "{error}"
                );
                found += 1;
            }
        }
        println!("{codec:?}: {found} found, {} bytes", whole.len());
        assert!(found > 20, "{codec:?}: {found}");
        std::fs::write(&path, &whole).unwrap();
    }
}
