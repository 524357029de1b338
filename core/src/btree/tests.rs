//! Trees against a sorted map, over the simulator, with flips and power cuts.

mod faults;
mod ranges;
mod rot;
mod threads;

use super::*;
use crate::format::branch::Branch;
use crate::format::catalogue::RootRecord;
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::pager::Pager;
use crate::pager::testing::{Bench, Setup, StoreSink};
use alloc::sync::Arc;
use lightning_sim::{CrashMode, Random, SimOptions, SimStorage, TestCipher, TestCodec};
use std::collections::BTreeMap;
use std::vec::Vec;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Walks every page and checks the invariants of `mod.rs`; answers {entries, units}.
fn walk_in_frames(
    pager: &Pager,
    table: u32,
    page: &PageRef,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    pages: &mut Vec<PageRef>,
) -> u64 {
    pages.push(*page);
    let pin = pager.page(page, table).unwrap();
    let mut key = std::vec![0; 65_536];
    if page.level == 0 {
        let leaf = Leaf::new(pin.bytes());
        assert!(leaf.count() > 0, "an empty leaf");
        for index in 0..leaf.count() {
            let length = leaf.copy_key(index, &mut key);
            assert!(low.is_none_or(|low| &key[..length] >= low));
            assert!(high.is_none_or(|high| &key[..length] < high));
        }
        return leaf.count() as u64;
    }
    let branch = Branch::new(pin.bytes());
    let mut entries = 0;
    for index in 0..branch.count() {
        let child = branch.child(index);
        assert_eq!(child.page.level + 1, page.level);
        let separator = |index: usize| {
            let mut buffer = std::vec![0; 65_536];
            let length = branch.copy_separator(index, &mut buffer);
            buffer.truncate(length);
            buffer
        };
        let from = if index == 0 {
            low.map(<[u8]>::to_vec)
        } else {
            Some(separator(index - 1))
        };
        let to = if index + 1 == branch.count() {
            high.map(<[u8]>::to_vec)
        } else {
            Some(separator(index))
        };
        let below = walk_in_frames(
            pager,
            table,
            &child.page,
            from.as_deref(),
            to.as_deref(),
            pages,
        );
        assert_eq!(below, child.count);
        entries += below;
    }
    entries
}

fn check(bench: &Bench, record: &RootRecord, model: &Model) -> usize {
    let root = Root {
        page: record.root,
        table: 16,
    };
    assert_eq!(record.entries, model.len() as u64);
    let mut pages = Vec::new();
    if let Some(page) = &record.root {
        assert_eq!(
            walk_in_frames(&bench.pager, 16, page, None, None, &mut pages),
            record.entries
        );
    }
    let level = record.root.map_or(0, |page| page.level);
    let mut buffer = std::vec![0; check_buffer_bytes(bench.pager.layout(), level)];
    let mut visited = 0;
    let found = super::check_tree(&bench.pager, &root, &mut buffer, &mut |_| {
        visited += 1;
        Ok(())
    });
    assert_eq!((found.unwrap(), visited), (*record, pages.len()));
    let mut cursor = TreeCursor::new(&bench.pager, root, true);
    let mut buffer = std::vec![0; 65_536];
    cursor.seek(CursorPosition::First).unwrap();
    for (key, value) in model {
        let length = cursor.copy_key(&mut buffer);
        assert_eq!(&buffer[..length], key.as_slice());
        assert_eq!(cursor.entry().unwrap().value, value.as_slice());
        cursor.advance().unwrap();
    }
    assert!(!cursor.is_valid());
    cursor.seek(CursorPosition::Last).unwrap();
    for key in model.keys().rev() {
        let length = cursor.copy_key(&mut buffer);
        assert_eq!(&buffer[..length], key.as_slice());
        cursor.retreat().unwrap();
    }
    assert!(!cursor.is_valid());
    pages.len()
}

fn check_points(
    bench: &Bench,
    record: &RootRecord,
    model: &Model,
    random: &mut Random,
    shape: Shape,
) {
    let root = Root {
        page: record.root,
        table: 16,
    };
    let mut cursor = TreeCursor::new(&bench.pager, root, true);
    let mut buffer = std::vec![0; 65_536];
    for _ in 0..50 {
        let key = shape.key(random);
        let found = get(&bench.pager, &root, &key, true).unwrap();
        assert_eq!(
            found.as_ref().map(Found::value),
            model.get(&key).map(Vec::as_slice)
        );
        assert_eq!(
            count_below(&bench.pager, &root, &key).unwrap(),
            model.range(..key.clone()).count() as u64
        );
        cursor.seek(CursorPosition::AtOrAfter(&key)).unwrap();
        let expected = model
            .range(key.clone()..)
            .next()
            .map(|(key, _)| key.clone());
        let got = cursor.is_valid().then(|| {
            let length = cursor.copy_key(&mut buffer);
            buffer[..length].to_vec()
        });
        assert_eq!(got, expected);
        cursor.seek(CursorPosition::Before(&key)).unwrap();
        let expected = model
            .range(..key.clone())
            .next_back()
            .map(|(key, _)| key.clone());
        let got = cursor.is_valid().then(|| {
            let length = cursor.copy_key(&mut buffer);
            buffer[..length].to_vec()
        });
        assert_eq!(got, expected);
    }
}

#[derive(Clone, Copy)]
struct Shape {
    key_bytes: usize,
    keys: u64,
    value_bytes: usize,
    prefix: &'static [u8],
}

impl Shape {
    fn key(&self, random: &mut Random) -> Vec<u8> {
        let number = random.below(self.keys);
        let mut key = self.prefix.to_vec();
        if number > 0 {
            key.extend_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
            key.resize(
                self.key_bytes - random_like(number, self.key_bytes.min(6)),
                7,
            );
        }
        key
    }
}

fn random_like(number: u64, below: usize) -> usize {
    (number.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as usize % below.max(1)
}

fn edit(
    bench: &mut Bench,
    editor: &mut Editor,
    record: &RootRecord,
    changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
) -> crate::error::Result<RootRecord> {
    let Bench { pager, store, .. } = bench;
    let mut sink = StoreSink { pager, store };
    editor.begin(
        &Root {
            page: record.root,
            table: 16,
        },
        false,
    )?;
    for (key, value) in changes {
        let change = match value {
            Some(value) => Change::Put {
                kind: EntryKind::Put,
                expiry_ms: None,
                metadata: None,
                sequence: 0,
                value,
            },
            None => Change::Delete,
        };
        editor.apply(pager, &mut sink, key, change)?;
    }
    if changes.is_empty() {
        Ok(*record)
    } else {
        editor.finish(pager, &mut sink)
    }
}

fn random_changes(
    random: &mut Random,
    shape: Shape,
    count: u64,
    deletes_of_ten: u64,
) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    (0..count)
        .map(|_| {
            let key = shape.key(random);
            let value = (random.below(10) >= deletes_of_ten).then(|| {
                let length = random.below(shape.value_bytes as u64 + 1) as usize;
                std::vec![random.below(256) as u8; length]
            });
            (key, value)
        })
        .collect()
}

fn apply_to(model: &mut Model, changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn run_model(setup: &Setup, options: SimOptions, shape: Shape, seed: u64, rounds: usize) {
    let mut storage = SimStorage::new(options);
    let mut random = Random::new(seed);
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024).unwrap();
    let mut model = Model::new();
    let mut record = RootRecord::default();
    for round in 0..rounds {
        let sizes = [1, 3, 30, 400];
        let count = sizes[random.below(4) as usize];
        let deletes = [1, 5, 9][round / 7 % 3];
        let changes = random_changes(&mut random, shape, count, deletes);
        record = edit(&mut bench, &mut editor, &record, &changes).unwrap();
        apply_to(&mut model, &changes);
        let generation = bench.flip(record.root).unwrap();
        while bench.store.reclaim(&bench.pager, generation).unwrap() {}
        check_points(&bench, &record, &model, &mut random, shape);
        let pages = check(&bench, &record, &model) as u64;
        let statistics = bench.store.statistics(bench.pager.layout());
        // Live pages, bitmaps, catalogues, and what one flip replaced.
        let allowed = (pages * 4 + 64) * bench.pager.layout().block_bytes as u64;
        assert!(
            statistics.used_bytes <= allowed,
            "{statistics:?} for {pages} pages"
        );
        if round % 10 == 9 {
            assert!(
                storage.violations().is_empty(),
                "{:?}",
                storage.violations()
            );
            storage = storage.restart();
            bench = setup.open(&storage).unwrap();
            editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024).unwrap();
            assert_eq!(bench.store.published().roots, record.root);
        }
    }
    assert!(
        storage.violations().is_empty(),
        "{:?}",
        storage.violations()
    );
}

const SMALL: Shape = Shape {
    key_bytes: 24,
    keys: 3_000,
    value_bytes: 60,
    prefix: b"",
};
const LONG: Shape = Shape {
    key_bytes: 200,
    keys: 900,
    value_bytes: 200,
    prefix: b"a long shared prefix/",
};

#[test]
fn random_edits_match_a_sorted_map() {
    for seed in 0..4 {
        run_model(
            &Setup::plain(1_024, 64),
            SimOptions::disk(512),
            SMALL,
            seed,
            25,
        );
        run_model(
            &Setup::plain(4_096, 64),
            SimOptions::disk(4_096),
            SMALL,
            seed,
            25,
        );
    }
    run_model(&Setup::plain(1_024, 24), SimOptions::disk(512), LONG, 9, 25);
}

#[test]
fn random_edits_on_flash_with_four_pages_a_block() {
    run_model(
        &Setup::plain(1_024, 24),
        SimOptions::flash(256, 4_096, 8 << 20),
        SMALL,
        11,
        25,
    );
}

#[test]
fn random_edits_with_codec_and_cipher() {
    let codec: Arc<dyn lightning_platform::Codec> = Arc::new(TestCodec);
    let cipher: Arc<dyn lightning_platform::Cipher> = Arc::new(TestCipher::new(5));
    let mut setup = Setup::plain(4_096, 64);
    setup.unit_bytes = 512;
    setup.codec = Some(Arc::clone(&codec));
    run_model(&setup, SimOptions::disk(512), SMALL, 21, 15);
    setup.cipher = Some(cipher);
    run_model(&setup, SimOptions::disk(4_096), SMALL, 22, 15);
}

#[test]
fn sorted_load_fills_pages() {
    let storage = SimStorage::new(SimOptions::disk(4_096));
    let setup = Setup::plain(4_096, 256);
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024).unwrap();
    let changes: BTreeMap<_, _> = (0..20_000_u64)
        .map(|number| (number.to_be_bytes().to_vec(), Some(std::vec![1; 100])))
        .collect();
    let record = edit(&mut bench, &mut editor, &RootRecord::default(), &changes).unwrap();
    bench.flip(record.root).unwrap();
    let model = changes
        .into_iter()
        .map(|(key, value)| (key, value.unwrap()))
        .collect();
    let pages = check(&bench, &record, &model);
    let least = 20_000 * 108 / 4_096;
    assert!(
        pages < least * 105 / 100 + 5,
        "{pages} pages where {least} would be full"
    );
}

#[test]
fn a_cursor_turns_around_in_a_deep_tree() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(1_024, 24).create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024).unwrap();
    // Neighbours that share much, of keys that share little, make long separators.
    let changes: BTreeMap<_, _> = (0..1_500_u64)
        .map(|number| {
            let mut key = std::vec![0; 200];
            for (index, byte) in key.iter_mut().enumerate() {
                *byte = (number.wrapping_shr(10 - (index as u32 / 20).min(10)) & 1) as u8;
            }
            key.extend_from_slice(&number.to_be_bytes());
            (key, Some(std::vec![number as u8; 100]))
        })
        .collect();
    let record = edit(&mut bench, &mut editor, &RootRecord::default(), &changes).unwrap();
    bench.flip(record.root).unwrap();
    let level = record.root.map_or(0, |page| page.level);
    assert!(level >= 3, "only {level} levels of branches");
    let keys: Vec<_> = changes.into_keys().collect();
    let root = Root {
        page: record.root,
        table: 16,
    };
    let mut cursor = TreeCursor::new(&bench.pager, root, true);
    let mut buffer = std::vec![0; 1_024];
    let mut random = Random::new(3);
    let mut within_leaves = 0;
    for start in (0..keys.len()).step_by(7) {
        cursor
            .seek(CursorPosition::AtOrAfter(&keys[start]))
            .unwrap();
        let mut at = start;
        for _ in 0..4 {
            let forward = random.below(2) == 0;
            for _ in 0..random.below(40) {
                if forward && at + 1 < keys.len() {
                    cursor.advance().unwrap();
                    at += 1;
                } else if !forward && at > 0 {
                    cursor.retreat().unwrap();
                    at -= 1;
                }
                let length = cursor.copy_key(&mut buffer);
                assert_eq!(buffer[..length], keys[at]);
                let beside = if forward { at + 1 } else { at.wrapping_sub(1) };
                if let Some(key_bytes) = cursor.step_within_leaf(forward, &mut buffer) {
                    at = beside;
                    assert_eq!(buffer[..key_bytes], keys[at]);
                    within_leaves += 1;
                }
                assert_eq!(cursor.plain_value(), Some(&[at as u8; 100][..]));
            }
        }
    }
    assert!(within_leaves > 1_000);
}

/// Every point of a flip where the power can go leaves the old tree or the new.
#[test]
fn a_power_cut_anywhere_in_a_flip_leaves_old_or_new() {
    let setup = Setup::plain(1_024, 64);
    let base = SimStorage::new(SimOptions::disk(512));
    let mut random = Random::new(77);
    let mut bench = setup.create(&base).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024).unwrap();
    let mut model = Model::new();
    let mut record = RootRecord::default();
    for _ in 0..3 {
        let changes = random_changes(&mut random, SMALL, 200, 3);
        record = edit(&mut bench, &mut editor, &record, &changes).unwrap();
        apply_to(&mut model, &changes);
        let generation = bench.flip(record.root).unwrap();
        while bench.store.reclaim(&bench.pager, generation).unwrap() {}
    }
    drop(bench);
    let changes = random_changes(&mut random, SMALL, 150, 3);
    let mut after = model.clone();
    apply_to(&mut after, &changes);
    let mut cases = 0;
    for cut in 1.. {
        let storage = base.fork();
        let start = storage.operation_count();
        storage.cut_after(start + cut);
        let outcome = (|| {
            let mut bench = setup.open(&storage)?;
            let generation = bench.store.published().generation;
            let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024)?;
            while bench.store.reclaim(&bench.pager, generation)? {}
            let record = edit(&mut bench, &mut editor, &record, &changes)?;
            bench.flip(record.root)?;
            Ok::<_, crate::error::Error>(record)
        })();
        for mode in CrashMode::EVERY {
            for seed in 0..4 {
                let image = storage.crash_image(mode, seed);
                let bench = setup.open(&image).unwrap();
                let roots = bench.store.published().roots;
                if roots == record.root {
                    assert!(outcome.is_err(), "a published flip was lost");
                    check(&bench, &record, &model);
                } else {
                    let mut pages = Vec::new();
                    let root = roots.unwrap();
                    let entries = walk_in_frames(&bench.pager, 16, &root, None, None, &mut pages);
                    let new = RootRecord {
                        root: Some(root),
                        entries,
                        ..record
                    };
                    check(&bench, &new, &after);
                }
                cases += 1;
            }
        }
        if outcome.is_ok() {
            break;
        }
    }
    assert!(cases > 300, "{cases}");
}

#[test]
fn a_key_is_put_once() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(1_024, 64).create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 256).unwrap();
    let root = Root {
        page: None,
        table: 16,
    };
    editor.begin(&root, false).unwrap();
    let Bench { pager, store, .. } = &mut bench;
    let mut sink = StoreSink { pager, store };
    let put = Change::Put {
        kind: EntryKind::Put,
        expiry_ms: None,
        metadata: None,
        sequence: 0,
        value: b"",
    };
    for change in [Change::Delete, Change::Delete, put] {
        editor.apply(pager, &mut sink, b"a", change).unwrap();
    }
    let refused = editor.apply(pager, &mut sink, b"a", put);
    assert!(matches!(
        refused,
        Err(crate::error::Error::NotAscending { .. })
    ));
}

#[test]
fn keys_must_ascend() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let setup = Setup::plain(1_024, 64);
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 256).unwrap();
    editor
        .begin(
            &Root {
                page: None,
                table: 16,
            },
            false,
        )
        .unwrap();
    let Bench { pager, store, .. } = &mut bench;
    let mut sink = StoreSink { pager, store };
    editor
        .apply(pager, &mut sink, b"b", Change::Delete)
        .unwrap();
    let refused = editor.apply(pager, &mut sink, b"a", Change::Delete);
    assert!(matches!(
        refused,
        Err(crate::error::Error::NotAscending { .. })
    ));
    assert_eq!(
        editor.finish(pager, &mut sink).unwrap(),
        RootRecord::default()
    );
}
