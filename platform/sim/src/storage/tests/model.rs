//! Crash images against a naive oracle, block by block.
//!
//! The oracle holds for each block of a file of fixed length every value that
//! it may have after a power cut: the last surely synced one, and all later ones.

use super::*;
use std::collections::BTreeSet;

const BLOCKS: u64 = 24;

#[derive(Clone)]
struct BlockModel {
    current: u8,
    /// What a power cut may leave; the first is what is surely durable.
    possible: Vec<u8>,
    /// Whether it changed since the last attempt to sync.
    dirty: bool,
}

struct Model {
    blocks: Vec<BlockModel>,
}

impl Model {
    fn set(&mut self, from: u64, to: u64, value: u8) {
        for block in &mut self.blocks[from as usize..to as usize] {
            block.current = value;
            block.possible.push(value);
            block.dirty = true;
        }
    }

    fn sync(&mut self, success: bool) {
        for block in &mut self.blocks {
            if block.dirty && success {
                block.possible = vec![block.current];
            }
            block.dirty = false;
        }
    }
}

#[test]
fn images_hold_only_possible_values() {
    let mut values_of_choice = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let storage = disk_of(BLOCKS as usize);
        let start = BlockModel {
            current: 1,
            possible: vec![1],
            dirty: false,
        };
        let mut model = Model {
            blocks: vec![start; BLOCKS as usize],
        };
        for step in 0..150_u8 {
            let value = step + 2;
            let from = random.below(BLOCKS);
            let to = from + 1 + random.below(BLOCKS - from);
            let (offset, bytes) = (from * BLOCK_BYTES, (to - from) * BLOCK_BYTES);
            match random.below(16) {
                0 | 1 => {
                    storage.sync(PAGES).unwrap();
                    model.sync(true);
                }
                2 => {
                    storage.fail_syncs(Some(IoErrorKind::Device));
                    assert_eq!(storage.sync(PAGES), DEVICE);
                    storage.fail_syncs(None);
                    model.sync(false);
                }
                3 => {
                    storage.erase(PAGES, offset, bytes).unwrap();
                    model.set(from, to, 0);
                }
                4 => {
                    storage.punch_hole(PAGES, offset, bytes).unwrap();
                    model.set(from, to, 0);
                }
                _ => {
                    let written = vec![value; bytes as usize];
                    storage.write(PAGES, offset, &written).unwrap();
                    model.set(from, to, value);
                }
            }
            let current: Vec<u8> = model.blocks.iter().map(|block| block.current).collect();
            assert_eq!(values(&storage), current);
            for mode in CrashMode::EVERY {
                let image = values(&storage.crash_image(mode, u64::from(step)));
                assert_eq!(image.len(), BLOCKS as usize);
                for (value, block) in image.iter().zip(&model.blocks) {
                    match mode {
                        CrashMode::Synced => assert_eq!(*value, block.possible[0]),
                        CrashMode::All => assert_eq!(*value, block.current),
                        _ => assert!(block.possible.contains(value), "seed {seed}"),
                    }
                }
            }
        }
        let last = model.blocks.iter().map(|block| block.possible.len());
        values_of_choice += last.collect::<BTreeSet<_>>().len();
    }
    assert!(values_of_choice > 60, "the oracle had choices");
}

/// Every cut point of a small protocol that promises atomic replacement: two
/// copies are written and synced in turn, so that one of them is always whole.
#[test]
fn a_right_protocol_survives_every_cut_and_a_wrong_one_does_not() {
    let run = |storage: &SimStorage, syncs: bool| -> Result<u8, (u8, IoError)> {
        let mut acknowledged = 1;
        for round in 2..6_u8 {
            let offset = u64::from(round % 2) * 4 * BLOCK_BYTES;
            let written = storage.write(PAGES, offset, &[round; 4 * BLOCK]);
            written.map_err(|error| (acknowledged, error))?;
            if syncs {
                let synced = storage.sync(PAGES);
                synced.map_err(|error| (acknowledged, error))?;
                acknowledged = round;
            }
        }
        Ok(acknowledged)
    };
    let mut broken = [0, 0];
    for syncs in [true, false] {
        for cut in 0..10 {
            for during in [false, true] {
                let storage = disk_of(8);
                let point = storage.operation_count() + cut;
                if during {
                    storage.cut_during(point + 1);
                } else {
                    storage.cut_after(point);
                }
                let acknowledged = match run(&storage, syncs) {
                    Ok(acknowledged) | Err((acknowledged, _)) => acknowledged,
                };
                for mode in CrashMode::EVERY {
                    for seed in 0..20 {
                        let values = values(&storage.crash_image(mode, seed));
                        let whole = |copy: &&[u8]| copy.iter().all(|value| *value == copy[0]);
                        let newest = values.chunks(4).filter(whole).map(|copy| copy[0]).max();
                        let right = newest.is_some_and(|newest| newest >= acknowledged);
                        broken[usize::from(syncs)] += usize::from(!right);
                    }
                }
            }
        }
    }
    assert_eq!(broken[1], 0, "with syncs, one copy is always whole");
    assert!(
        broken[0] > 0,
        "without, the simulator finds images without one"
    );
}
