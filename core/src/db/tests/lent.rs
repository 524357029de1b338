//! Quick ways of reading say what the usual ones say: plain entries, lent cursors.

use super::*;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything from a key on, by plain steps where there are any; and how many there were.
fn plainly(engine: &Engine, table: u32, from: &[u8]) -> (Pairs, usize) {
    let snapshot = engine.snapshot(0).unwrap();
    let view = engine.view(&snapshot, table, true).unwrap();
    let found = engine.with_cursor(&view, true, |cursor| {
        let (mut found, mut plain) = (Vec::new(), 0);
        cursor.seek(CursorPosition::AtOrAfter(from)).unwrap();
        while cursor.is_valid() {
            let entry = cursor.entry().unwrap();
            let usual = (entry.key.to_vec(), whole(engine, &view, entry.value));
            if let Some((key, value)) = cursor.plain_entry() {
                assert_eq!((key.to_vec(), value.to_vec()), usual);
                assert_eq!((entry.expiry_ms, entry.metadata), (None, None));
            }
            found.push(usual);
            while let Some((key, value)) = cursor.advance_plain() {
                found.push((key.to_vec(), value.to_vec()));
                plain += 1;
            }
            // An entry that isn't plain may have been moved to all the same.
            match cursor.entry() {
                Some(entry) if found.last().is_some_and(|(key, _)| key != entry.key) => {}
                _ => cursor.advance().unwrap(),
            }
        }
        (found, plain)
    });
    engine.end(snapshot);
    found.unwrap()
}

#[test]
fn plain_steps_come_to_what_usual_ones_come_to() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    for number in 0..200 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    let all = |engine: &Engine| rows(engine, 16).unwrap().into_iter().collect::<Pairs>();
    let (found, plain) = plainly(&engine, 16, b"");
    assert_eq!(found, all(&engine));
    assert!(plain > 150, "{plain}");
    let (found, _) = plainly(&engine, 16, b"key00150");
    assert_eq!(found, all(&engine)[150..]);
    // Some entries carry more than their value.
    let options = PutOptions {
        expiry_ms: Some(1 << 40),
        metadata: Some(3),
    };
    for key in [b"key00000", b"key00050", b"key00051", b"key00199"] {
        let _ = engine.put(16, key, b"marked", options, 0).unwrap();
    }
    drain(&engine).unwrap();
    let (found, plain) = plainly(&engine, 16, b"");
    assert_eq!(found, all(&engine));
    assert!(plain > 50, "{plain}");
    // Nothing is plain while something stands above the tree.
    put_number(&engine, 7, 1);
    engine.flush_step(true).unwrap();
    let (found, plain) = plainly(&engine, 16, b"");
    assert_eq!(found, all(&engine));
    assert_eq!(plain, 0);
}

#[test]
fn a_cursor_that_was_lent_is_free_again() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    put_number(&engine, 1, 0);
    engine.flush_step(true).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    {
        let view = engine.view(&snapshot, 16, true).unwrap();
        for _ in 0..3 * options.cursors {
            let entry = engine.with_cursor(&view, true, |cursor| {
                cursor.seek(CursorPosition::First).unwrap();
                cursor.entry().map(|entry| entry.key.to_vec())
            });
            assert_eq!(entry.unwrap().unwrap(), b"key00001");
        }
        let held: Vec<_> = (0..options.cursors)
            .map(|_| engine.cursor(&view, true).unwrap())
            .collect();
        let refused = engine.with_cursor(&view, true, |_| ());
        let limit = crate::error::Limit::Cursors;
        let maximum = u64::from(options.cursors);
        let value = maximum + 1;
        assert_eq!(
            refused,
            Err(Error::OverLimit {
                limit,
                value,
                maximum
            })
        );
        drop(held);
    }
    engine.end(snapshot);
}

/// The estimate is the trees' count, whatever stands above them.
#[test]
fn an_estimate_counts_the_tree() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let counts = |engine: &Engine| {
        let snapshot = engine.snapshot(0).unwrap();
        let view = engine.view(&snapshot, 16, true).unwrap();
        let counts = (engine.count_estimate(&view), engine.count(&view).unwrap());
        engine.end(snapshot);
        counts
    };
    assert_eq!(counts(&engine), (0, 0));
    for number in 0..20 {
        put_number(&engine, number, 0);
    }
    engine.flush_step(true).unwrap();
    assert_eq!(counts(&engine), (0, 20));
    drain(&engine).unwrap();
    assert_eq!(counts(&engine), (20, 20));
    let _ = engine.delete(16, b"key00003", 0).unwrap();
    engine.flush_step(true).unwrap();
    assert_eq!(counts(&engine), (20, 19));
}
