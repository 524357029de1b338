//! Opening with less than a database was written with: it opens, or says what it lacks, and
//! changes nothing.

use super::*;

fn written_with() -> Options {
    Options {
        memtable_bytes: 96 << 10,
        transaction_bytes: 24 << 10,
        value_bytes_max: 12 << 10,
        log_buffer_bytes: 32 << 10,
        segment_bytes: 128 << 10,
        range_bytes: 8 << 10,
        ..busy_options()
    }
}

type Change = fn(&mut Options);

#[test]
fn a_log_opens_with_less_or_says_what_it_lacks() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &written_with()).unwrap();
    let put = PutOptions::default();
    for number in 0..6_u8 {
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        for part in 0..2_u8 {
            let key = [b'k', number, part];
            let value = std::vec![number; 9_000];
            engine
                .transaction_put(&mut transaction, 16, &key, &value, put)
                .unwrap();
        }
        for part in 0..6_u8 {
            let (from, to) = ([b'a', number, part], [b'a', number, part + 1]);
            engine
                .transaction_delete_range(&mut transaction, 16, &from, Some(&to))
                .unwrap();
        }
        while let Err(error) = engine.try_commit(&mut transaction, 0, 0) {
            make_room(&engine, error).unwrap();
        }
        engine.rollback(transaction);
        engine.flush_step(true).unwrap();
    }
    streams::put_stream(&engine, b"streamed", &streams::content(1, 30_000)).unwrap();
    engine.flush_step(true).unwrap();
    let expected = rows(&engine, 16).unwrap();
    assert_eq!(expected.len(), 13);
    drop(engine);
    let storage = storage.restart();
    let smaller: [(Change, bool); 6] = [
        (|options| options.log_buffer_bytes = 4 << 10, true),
        (|options| options.range_bytes = 600, true),
        (
            |options| {
                options.memtable_bytes = 8 << 10;
                options.transaction_bytes = 2 << 10;
                options.value_bytes_max = 1_500;
            },
            true,
        ),
        (
            |options| {
                options.runs = 0;
                options.value_bytes_max = 0;
            },
            true,
        ),
        (|options| options.max_memory_bytes = 64 << 10, true),
        (|options| options.memtables = 2, false),
    ];
    let (mut refused, mut opened) = (0, 0);
    for (index, (change, may_be_refused)) in smaller.iter().enumerate() {
        for read_only in [false, true] {
            let mut options = Options {
                read_only,
                ..written_with()
            };
            change(&mut options);
            let storage = storage.fork();
            match open(&storage, &options) {
                Ok(engine) => {
                    assert_eq!(rows(&engine, 16).unwrap(), expected, "case {index}");
                    opened += 1;
                }
                Err(Error::MemoryPlan {
                    needed_bytes,
                    limit_bytes,
                }) if *may_be_refused => {
                    assert!(needed_bytes > limit_bytes, "case {index}");
                    refused += 1;
                }
                Err(error) => panic!("case {index}: {error}"),
            }
            // Whatever became of it, nothing is lost for who has room.
            let engine = open(&storage.restart(), &written_with()).unwrap();
            assert_eq!(rows(&engine, 16).unwrap(), expected, "case {index}");
            drain(&engine).unwrap();
            assert_eq!(rows(&engine, 16).unwrap(), expected, "case {index}");
            verify(&engine);
        }
    }
    assert!(refused > 1 && opened > 1, "{refused} {opened}");
}
