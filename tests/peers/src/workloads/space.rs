//! What writing costs on the device, and what the data occupies there.

use std::time::Duration;

use anyhow::Result;

use super::steps::{BATCH, Updates, checked_get, checked_miss, commit_in_batches, load, put};
use super::{Context, Figures, MEBIBYTE, Target, Unit, Workload, figures, less, plain};
use crate::data::{ENTRY_BYTES, key, wrong};
use crate::engines::{Change, Durability, Engine};
use crate::system::{
    Device, KeepAwake, PeakWatch, allocated_bytes, bytes_of_write_calls, sync_file_system,
};

/// Fronts that the data of the amplification workload would fill.
const FRONTS_OF_DATA: u64 = 10;
/// A sync after every eighth of a front bounds what an engine may keep from the
/// device, and is far below the data at every scale.
const SYNCS_PER_FRONT: u64 = 8;
/// At scale 1; shorter at a smaller scale.
const SETTLE: Duration = Duration::from_secs(60);
const SHORTEST_SETTLE: Duration = Duration::from_secs(3);

/// Bytes written for each byte updated.
pub const AMPLIFICATION: Workload = Workload {
    name: "amplification",
    about: "write amplification of uniform updates, data 10 times the front, log included",
    stages: &[plain(run_amplification)],
    figures: &[
        less(
            "amplification_calls",
            "write amplification, bytes of write calls",
            Unit::Number,
            &[Target::of_fjall(1.0)],
        ),
        less(
            "amplification_device",
            "write amplification, bytes at the device",
            Unit::Number,
            &[Target::of_fjall(1.0)],
        ),
    ],
};

/// Sizes on disk through load, overwriting and deleting.
pub const SIZES: Workload = Workload {
    name: "sizes",
    about: "allocated blocks right after load and overwriting all, and 60 s after each and \
            after deleting half; peak",
    stages: &[plain(run_sizes)],
    figures: &[
        less(
            "size_loaded",
            "size right after load",
            Unit::Mebibytes,
            &[Target::of_best(1.3)],
        ),
        less(
            "size_loaded_settled",
            "size 60 s after load",
            Unit::Mebibytes,
            &[Target::of_best(1.3)],
        ),
        less(
            "size_overwritten",
            "size right after overwriting all",
            Unit::Mebibytes,
            &[Target::of_best(1.3)],
        ),
        less(
            "size_overwritten_settled",
            "size 60 s after overwriting all",
            Unit::Mebibytes,
            &[Target::of_best(1.3)],
        ),
        less(
            "size_halved",
            "size 60 s after deleting half",
            Unit::Mebibytes,
            &[Target::of_best(1.3)],
        ),
        less(
            "size_peak",
            "peak size, as a multiple of the data",
            Unit::Number,
            &[Target::absolute(2.0)],
        ),
    ],
};

fn run_amplification(context: &Context) -> Result<Figures> {
    let entries = FRONTS_OF_DATA * context.entries_per_front();
    let engine = context.open(Durability::OnRequest)?;
    load(engine.as_ref(), entries)?;
    let mut updates = Updates::new(entries, 0xa3);
    // The first round brings the engine to the state in which it goes on.
    update_all(engine.as_ref(), &mut updates, context)?;

    sync_file_system(&context.directory)?;
    let device = Device::of(&context.directory)?;
    let calls_before = bytes_of_write_calls()?;
    let device_before = device.as_ref().map(Device::counters).transpose()?;
    update_all(engine.as_ref(), &mut updates, context)?;
    sync_file_system(&context.directory)?;
    let updated_bytes = (entries * ENTRY_BYTES) as f64;
    let call_bytes = bytes_of_write_calls()? - calls_before;
    let mut found = figures([("amplification_calls", call_bytes as f64 / updated_bytes)]);
    if let (Some(device), Some(before)) = (&device, device_before) {
        let device_bytes = device.counters()?.since(before).written_bytes;
        let amplification = device_bytes as f64 / updated_bytes;
        found.insert("amplification_device".to_owned(), amplification);
    }
    updates.check(engine.as_ref())?;
    engine.close()?;
    Ok(found)
}

/// Makes as many updates as there are entries.
fn update_all(engine: &dyn Engine, updates: &mut Updates, context: &Context) -> Result<()> {
    let entries_per_front = context.entries_per_front();
    let batches_per_sync = (entries_per_front / SYNCS_PER_FRONT / BATCH).max(1);
    let changes = (0..FRONTS_OF_DATA * entries_per_front).map(|_| updates.next());
    commit_in_batches(engine, changes, |batches| {
        if batches % batches_per_sync == 0 {
            engine.sync()
        } else {
            Ok(())
        }
    })?;
    engine.sync()
}

fn run_sizes(context: &Context) -> Result<Figures> {
    // An even number of batches, each of which has one half deleted.
    let entries = context.entries() / (2 * BATCH) * (2 * BATCH);
    let _keep_awake = KeepAwake::start();
    let engine = context.open(Durability::EveryCommit)?;
    let engine = engine.as_ref();
    let peak = PeakWatch::start(&context.directory);
    load(engine, entries)?;
    let loaded = size(engine, context)?;
    let loaded_settled = settled_size(engine, context)?;

    let overwrites = (0..entries).map(|index| put(index, 1));
    commit_in_batches(engine, overwrites, |_| Ok(()))?;
    let overwritten = size(engine, context)?;
    let overwritten_settled = settled_size(engine, context)?;

    let deletes = (0..entries).step_by(2).map(|index| Change {
        key: key(index),
        value: None,
    });
    commit_in_batches(engine, deletes, |_| Ok(()))?;
    let halved = settled_size(engine, context)?;
    let peak_bytes = peak.peak_bytes();
    drop(peak);

    check_halved(engine, entries)?;
    let mebibytes = |bytes: u64| bytes as f64 / MEBIBYTE as f64;
    Ok(figures([
        ("size_loaded", mebibytes(loaded)),
        ("size_loaded_settled", mebibytes(loaded_settled)),
        ("size_overwritten", mebibytes(overwritten)),
        ("size_overwritten_settled", mebibytes(overwritten_settled)),
        ("size_halved", mebibytes(halved)),
        (
            "size_peak",
            peak_bytes as f64 / (entries * ENTRY_BYTES) as f64,
        ),
    ]))
}

/// The size once everything written so far has its blocks.
fn size(engine: &dyn Engine, context: &Context) -> Result<u64> {
    engine.sync()?;
    sync_file_system(&context.directory)?;
    allocated_bytes(&context.directory)
}

/// The size after a pause, in which the engine may tidy up by itself.
fn settled_size(engine: &dyn Engine, context: &Context) -> Result<u64> {
    std::thread::sleep(SETTLE.mul_f64(context.scale.min(1.0)).max(SHORTEST_SETTLE));
    size(engine, context)
}

/// Odd entries stand at version 1, even ones are gone.
fn check_halved(engine: &dyn Engine, entries: u64) -> Result<()> {
    let mut reader = engine.reader()?;
    for index in (0..entries).step_by(14) {
        checked_miss(reader.as_mut(), index)?;
    }
    let mut count = 0;
    let found = reader.scan(&[], usize::MAX, &mut |_, _| count += 1)?;
    if found as u64 != entries / 2 || count != entries / 2 {
        wrong!("{found} entries are left of {entries}, of which half were deleted");
    }
    for index in (1..entries).step_by(14) {
        let version = checked_get(reader.as_mut(), index)?;
        if version != 1 {
            wrong!("entry {index} has version {version}, and 1 was written last");
        }
    }
    Ok(())
}
