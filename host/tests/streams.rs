//! Large values by stream, through the library.

mod support;

use lightning_db::{Database, EngineError, Reason};
use std::io::{self, Read, Seek, SeekFrom};
use std::thread;
use support::Directory;

/// Bytes that differ from place to place, without standing anywhere.
struct Content {
    seed: u64,
    at: u64,
    length: u64,
}

impl Content {
    fn new(seed: u64, length: u64) -> Self {
        Self {
            seed,
            at: 0,
            length,
        }
    }

    fn byte(seed: u64, at: u64) -> u8 {
        let mixed = (at / 64 + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> (at % 57)) as u8
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer
            .len()
            .min((self.length - self.at) as usize)
            .min(9_999);
        for byte in &mut buffer[..count] {
            *byte = Self::byte(self.seed, self.at);
            self.at += 1;
        }
        Ok(count)
    }
}

fn is_content(mut found: impl Read, seed: u64, length: u64) -> bool {
    let mut bytes = Vec::new();
    found.read_to_end(&mut bytes).unwrap();
    let mut expected = Vec::new();
    Content::new(seed, length)
        .read_to_end(&mut expected)
        .unwrap();
    bytes == expected
}

const LENGTH: u64 = 12_000_000;

#[test]
fn values_larger_than_memory_go_in_and_out_by_stream() {
    let directory = Directory::new("streams");
    {
        let database = Database::open(directory.path()).unwrap();
        let table = database.table("t").unwrap();
        assert!(database.streamed_value_bytes_max() > LENGTH);
        thread::scope(|scope| {
            for number in 0..4_u64 {
                let (database, table) = (&database, &table);
                scope.spawn(move || {
                    for round in 0..3 {
                        let mut write = database.begin_write().unwrap();
                        let key = number.to_be_bytes();
                        let source = Content::new(number + 10 * round, LENGTH);
                        let put = write.put_stream(table, &key, LENGTH, source);
                        assert_eq!(put.unwrap(), LENGTH);
                        write.put(table, b"round", &[round as u8]).unwrap();
                        match write.commit() {
                            Err(error) => assert!(error.is_conflict(), "{error}"),
                            Ok(()) if round == 2 => {}
                            Ok(()) => continue,
                        }
                        // Others write the round, too: the value alone never fails.
                        let mut write = database.begin_write().unwrap();
                        let source = Content::new(number + 20, LENGTH);
                        write.put_stream(table, &key, LENGTH, source).unwrap();
                        write.commit().unwrap();
                    }
                });
            }
        });
        let read = database.begin_read().unwrap();
        let reader = read.open(&table).unwrap();
        for number in 0..4_u64 {
            let value = reader.value_reader(&number.to_be_bytes()).unwrap().unwrap();
            assert_eq!(value.length(), LENGTH);
            assert!(is_content(value, number + 20, LENGTH));
        }
        drop(read);
        database.close().unwrap();
    }
    for read_only in [true, false] {
        let database = Database::builder()
            .read_only(read_only)
            .open(directory.path())
            .unwrap();
        let table = database.existing_table("t").unwrap().unwrap();
        let read = database.begin_read().unwrap();
        let reader = read.open(&table).unwrap();
        for number in 0..4_u64 {
            let key = number.to_be_bytes();
            let mut value = reader.value_reader(&key).unwrap().unwrap();
            value.seek(SeekFrom::Start(LENGTH / 2)).unwrap();
            value.seek(SeekFrom::Current(-5)).unwrap();
            let mut part = [0; 70_000];
            value.read_exact(&mut part).unwrap();
            for (at, byte) in (LENGTH / 2 - 5..).zip(part) {
                assert_eq!(byte, Content::byte(number + 20, at));
            }
            assert!(value.seek(SeekFrom::End(-1 - LENGTH as i64)).is_err());
            value.seek(SeekFrom::End(9)).unwrap();
            assert_eq!(value.read(&mut part).unwrap(), 0);
            value.rewind().unwrap();
            assert!(is_content(value, number + 20, LENGTH));
        }
        let mut short = reader.value_reader(b"round").unwrap().unwrap();
        assert_eq!(short.read(&mut [0; 8]).unwrap(), 1);
        assert!(reader.value_reader(b"none").unwrap().is_none());
        drop(read);
        database.verify().unwrap();
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::TimedOut, "gone away"))
    }
}

#[test]
fn a_source_that_fails_leaves_the_transaction_as_it_was() {
    let directory = Directory::new("streams-fail");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    let mut write = database.begin_write().unwrap();
    write.put(&table, b"a", b"1").unwrap();
    let source = Content::new(1, 500_000).chain(Failing);
    let error = write.put_stream(&table, b"b", 1 << 20, source).unwrap_err();
    assert_eq!(error.code(), 705);
    assert!(matches!(
        error.reason(),
        Reason::Source {
            kind: io::ErrorKind::TimedOut,
            ..
        }
    ));
    let source = Content::new(1, 500_000);
    let error = write.put_stream(&table, b"b", 499_999, source).unwrap_err();
    assert!(matches!(
        error.reason(),
        Reason::Engine(EngineError::OverLimit { .. })
    ));
    let put = write.put_stream(&table, b"empty", 10, io::empty());
    assert_eq!(put.unwrap(), 0);
    write.commit().unwrap();
    let read = database.begin_read().unwrap();
    assert_eq!(read.open(&table).unwrap().len().unwrap(), 2);
    assert!(database.get(&table, b"empty").unwrap().unwrap().is_empty());
}
