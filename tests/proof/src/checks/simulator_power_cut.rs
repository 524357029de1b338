//! The simulator's own promise: after a power cut each write block holds a
//! value that the storage contract allows, and the same seed the same one.
//!
//! Every other check stands on this one. The oracle is a list for each block:
//! its durable version first, then each version written since the last sync. A
//! block that is none of them, or a mixture of two, is bad.

use lightning_platform::{File, IoError, Storage, WriteRequest};
use lightning_sim::{CrashMode, Random, SimOptions, SimStorage, mix};

use super::{Check, Outcome, Settings};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "simulator-power-cut",
    about: "a crash image holds only what the storage contract allows",
    run,
};

const BLOCKS: u64 = 24;
const OPERATIONS: u64 = 60;

fn run(settings: &Settings) -> Outcome {
    let cases = if settings.is_long { 500_000 } else { 20_000 };
    let mut bad = 0;
    let mut first_bad = None;
    for case in 0..cases {
        let seed = mix(settings.seed ^ mix(case));
        let result = run_case(seed).unwrap_or_else(|error| Err(error.to_string()));
        if let Err(reason) = result {
            bad += 1;
            first_bad.get_or_insert_with(|| format!("case {case}: {reason}"));
        }
    }
    Outcome {
        cases,
        bad,
        first_bad,
        note: None,
    }
}

/// The versions that a block may hold, the durable one first.
type Allowed = Vec<Vec<u64>>;

/// The outer error is a call that failed though no fault was asked for.
fn run_case(seed: u64) -> Result<Result<(), String>, IoError> {
    let mut random = Random::new(seed);
    let block_bytes = 16_u32 << random.below(6);
    let storage = SimStorage::new(SimOptions::disk(block_bytes));
    let block_bytes = block_bytes as usize;
    storage.create(File::Pages)?;
    storage.set_length(File::Pages, BLOCKS * block_bytes as u64)?;
    storage.sync(File::Pages)?;
    storage.sync_directory()?;
    let mut allowed: Allowed = vec![vec![0]; BLOCKS as usize];
    for operation in 1..=OPERATIONS {
        if random.chance(1, 8) {
            storage.sync(File::Pages)?;
            settle(&mut allowed);
            continue;
        }
        let first = random.below(BLOCKS);
        let count = 1 + random.below((BLOCKS - first).min(4));
        let mut bytes = Vec::new();
        for block in first..first + count {
            let version = operation << 8 | block;
            bytes.extend(version.to_le_bytes().repeat(block_bytes / 8));
            allowed[block as usize].push(version);
        }
        let offset = first * block_bytes as u64;
        match random.below(3) {
            0 => storage.write(File::Pages, offset, &bytes)?,
            1 => {
                let request = WriteRequest {
                    offset,
                    bytes: &bytes,
                };
                storage.write_batch(File::Pages, &[request])?;
            }
            _ if random.chance(1, 4) => {
                storage.write_and_sync(File::Pages, offset, &bytes)?;
                settle(&mut allowed);
            }
            _ => storage.write(File::Pages, offset, &bytes)?,
        }
    }
    let violations = storage.violations();
    if !violations.is_empty() {
        return Ok(Err(format!("violations reported: {violations:?}")));
    }
    for mode in CrashMode::EVERY {
        let image_seed = random.next_u64();
        let image = storage
            .crash_image(mode, image_seed)
            .file_bytes(File::Pages);
        let again = storage
            .crash_image(mode, image_seed)
            .file_bytes(File::Pages);
        if image != again {
            return Ok(Err(format!("{mode:?}: one seed gave two images")));
        }
        let Some(image) = image else {
            return Ok(Err(format!("{mode:?}: the synced file is missing")));
        };
        if let Err(reason) = check_image(&image, block_bytes, mode, &allowed) {
            return Ok(Err(format!("{mode:?}: {reason}")));
        }
    }
    Ok(Ok(()))
}

/// After a sync the last version is the only one.
fn settle(allowed: &mut Allowed) {
    for versions in allowed {
        versions.drain(..versions.len() - 1);
    }
}

fn check_image(
    image: &[u8],
    block_bytes: usize,
    mode: CrashMode,
    allowed: &Allowed,
) -> Result<(), String> {
    if image.len() != block_bytes * allowed.len() {
        return Err(format!("{} bytes long", image.len()));
    }
    for (block, (bytes, versions)) in image.chunks(block_bytes).zip(allowed).enumerate() {
        let choice = match mode {
            CrashMode::Synced => &versions[..1],
            CrashMode::All => &versions[versions.len() - 1..],
            _ => versions,
        };
        let is_allowed = choice
            .iter()
            .any(|version| bytes.chunks(8).all(|word| word == version.to_le_bytes()));
        if !is_allowed {
            return Err(format!("block {block} holds none of {choice:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_finds_a_torn_and_a_stale_block() {
        let allowed: Allowed = vec![vec![1, 2]];
        let block = |first: u64, second: u64| [first.to_le_bytes(), second.to_le_bytes()].concat();
        assert!(check_image(&block(2, 2), 16, CrashMode::Random, &allowed).is_ok());
        assert!(check_image(&block(1, 2), 16, CrashMode::Random, &allowed).is_err());
        assert!(check_image(&block(3, 3), 16, CrashMode::Random, &allowed).is_err());
        assert!(check_image(&block(2, 2), 16, CrashMode::Synced, &allowed).is_err());
        assert!(check_image(&block(1, 1), 16, CrashMode::All, &allowed).is_err());
    }
}
