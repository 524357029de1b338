//! Walks over tables that stand in their trees alone, of every shape of leaf,
//! against a sorted map.

mod support;

use lightning_db::{Database, PutOptions, Table};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use support::Directory;

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u8>)>;

/// Lengths of keys and values, and which entries carry a metadata byte.
struct Shape {
    key_bytes: fn(u64) -> usize,
    value_bytes: fn(u64) -> usize,
    has_metadata: fn(u64) -> bool,
}

const SHAPES: [Shape; 6] = [
    Shape {
        key_bytes: |_| 8,
        value_bytes: |_| 100,
        has_metadata: |_| false,
    },
    Shape {
        key_bytes: |_| 70,
        value_bytes: |_| 3,
        has_metadata: |_| false,
    },
    Shape {
        key_bytes: |_| 20,
        value_bytes: |number| (number % 300) as usize,
        has_metadata: |_| false,
    },
    Shape {
        key_bytes: |number| 8 + (number % 60) as usize,
        value_bytes: |_| 0,
        has_metadata: |_| false,
    },
    Shape {
        key_bytes: |number| 8 + (number % 9) as usize,
        value_bytes: |number| (number % 17) as usize,
        has_metadata: |_| false,
    },
    // Leaves with and without, side by side.
    Shape {
        key_bytes: |_| 12,
        value_bytes: |_| 50,
        has_metadata: |number| number % 700 < 100,
    },
];

fn load(database: &Database, table: &Table, shape: &Shape) -> Model {
    let mut model = Model::new();
    for number in 0..3_000_u64 {
        let mut key = (number * 3).to_be_bytes().to_vec();
        key.resize((shape.key_bytes)(number), number as u8);
        let value = vec![number as u8; (shape.value_bytes)(number)];
        let metadata = (shape.has_metadata)(number).then_some(number as u8);
        model.insert(key, (value, metadata));
    }
    let mut load = database.bulk_load(table).unwrap();
    for (key, (value, metadata)) in &model {
        let options = PutOptions {
            metadata: *metadata,
            ..PutOptions::default()
        };
        load.push_with(key, value, options).unwrap();
    }
    assert_eq!(load.finish().unwrap(), model.len() as u64);
    model
}

#[test]
fn every_shape_of_leaf_is_walked_as_a_sorted_map() {
    for shape in &SHAPES {
        let directory = Directory::new("walks");
        let database = Database::open(directory.path()).unwrap();
        let table = database.table("t").unwrap();
        let model = load(&database, &table, shape);
        let read = database.begin_read().unwrap();
        let reader = read.open(&table).unwrap();
        let keys: Vec<&Vec<u8>> = model.keys().collect();
        let bounds = [
            (Bound::Unbounded, Bound::Unbounded),
            (
                Bound::Included(keys[10].as_slice()),
                Bound::Excluded(keys[2_000].as_slice()),
            ),
            (
                Bound::Excluded(keys[77].as_slice()),
                Bound::Included(keys[78].as_slice()),
            ),
            (Bound::Unbounded, Bound::Included(keys[1_234].as_slice())),
        ];
        for bounds in bounds {
            let expected: Vec<_> = model.range::<[u8], _>(bounds).collect();
            let mut at = 0;
            reader
                .for_each(bounds, |entry| {
                    let (key, (value, metadata)) = expected[at];
                    assert_eq!((entry.key, entry.value), (&key[..], &value[..]));
                    assert_eq!(entry.metadata, *metadata);
                    at += 1;
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(at, expected.len());
            let forth = reader.range(bounds).unwrap().map(|entry| {
                let (key, value) = entry.unwrap();
                (key.to_vec(), value.to_vec())
            });
            let expected = expected
                .iter()
                .map(|(key, (value, _))| ((*key).clone(), value.clone()));
            assert!(forth.eq(expected.clone()));
            let back = reader.range(bounds).unwrap().rev().map(|entry| {
                let (key, value) = entry.unwrap();
                (key.to_vec(), value.to_vec())
            });
            assert!(back.eq(expected.rev()));
        }
    }
}
