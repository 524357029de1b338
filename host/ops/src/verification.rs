//! The check of stored data: every page, or a sample.
//!
//! A sample reads stretches of entries that are spread over the keys of each table.
//! Pages that come from the device are checked as they always are: checksum, place and
//! order; those that are in memory were. So it finds damage that is spread, in a time
//! that doesn't grow with the data; one damaged page of many it finds by chance.

use crate::admin::{VerifyDepth, VerifyView};
use lightning_db::{Database, EngineError, Error, Reason, Result, Table, TableReader};
use std::ops::ControlFlow;
use std::time::SystemTime;

/// Stretches of entries of a table that a sample reads.
const STRETCHES: u64 = 64;
/// Entries of a stretch.
const STRETCH_ENTRIES: u64 = 64;
/// Entries from the first on that are read of every table.
const FIRST_ENTRIES: u64 = 4096;

/// Checks an open database; tells `progress` how many pages were read.
///
/// # Errors
/// What is no damage: the device fails, or there is no room to check in.
pub fn verify(
    database: &Database,
    depth: VerifyDepth,
    progress: impl FnMut(u64),
) -> Result<VerifyView> {
    let mut view = VerifyView {
        data: database.path().display().to_string(),
        depth,
        sound: true,
        damage: None,
        tables: 0,
        entries: 0,
        pages: None,
        leaked_units: 0,
    };
    let checked = match depth {
        VerifyDepth::Full => verify_all(database, &mut view, progress),
        VerifyDepth::Quick => verify_sample(database, &mut view),
    };
    match checked {
        Err(error) if is_damage(&error) => {
            view.sound = false;
            view.damage = Some(error.to_string());
            Ok(view)
        }
        outcome => outcome.map(|()| view),
    }
}

/// Whether an error says that stored bytes are damaged.
#[must_use]
pub fn is_damage(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::Engine(EngineError::Corruption { .. })
    )
}

fn verify_all(database: &Database, view: &mut VerifyView, progress: impl FnMut(u64)) -> Result<()> {
    let found = database.verify_with_progress(progress)?;
    view.tables = found.tables;
    view.entries = found.entries;
    view.pages = Some(found.pages);
    view.leaked_units = found.leaked_units;
    Ok(())
}

fn verify_sample(database: &Database, view: &mut VerifyView) -> Result<()> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // Where the stretches begin is another place each time.
    let shift = since.map_or(0, |since| u64::from(since.subsec_nanos()));
    for table in database.tables()? {
        view.tables += 1;
        view.entries += sample_table(database, &table, shift)?;
    }
    Ok(())
}

fn sample_table(database: &Database, table: &Table, shift: u64) -> Result<u64> {
    let read = database.begin_read()?;
    let reader = read.open(table)?;
    let (Some((first, _)), Some((last, _))) = (reader.first()?, reader.last()?) else {
        return Ok(0);
    };
    let mut entries = read_stretch(&reader, &first, FIRST_ENTRIES)?;
    if entries < FIRST_ENTRIES {
        return Ok(entries);
    }
    let shared = first.iter().zip(&*last).take_while(|(a, b)| a == b).count();
    let (low, high) = (number_at(&first, shared), number_at(&last, shared));
    let step = high.saturating_sub(low) / STRETCHES;
    for stretch in 0..STRETCHES {
        let offset = shift.checked_rem(step).unwrap_or(0);
        let number = low
            .saturating_add(step.saturating_mul(stretch))
            .saturating_add(offset);
        let mut from = first[..shared].to_vec();
        from.extend_from_slice(&number.to_be_bytes());
        entries += read_stretch(&reader, &from, STRETCH_ENTRIES)?;
    }
    Ok(entries)
}

/// The eight bytes from `start` on as a number, with zeroes behind the end.
fn number_at(key: &[u8], start: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = key.get(start..).unwrap_or_default();
    for (byte, from) in bytes.iter_mut().zip(rest) {
        *byte = *from;
    }
    u64::from_be_bytes(bytes)
}

fn read_stretch(
    reader: &TableReader<'_, &'static [u8], &'static [u8]>,
    from: &[u8],
    most: u64,
) -> Result<u64> {
    let mut entries = 0;
    reader.for_each(from.., |_| {
        entries += 1;
        if entries < most {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn filled(name: &str, entries: u32) -> Directory {
        let name = format!("lightning-verify-{name}-{}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        std::fs::remove_dir_all(&directory.0).ok();
        let database = Database::open(&directory.0).unwrap();
        let table = database.table("default").unwrap();
        let mut load = database.bulk_load(&table).unwrap();
        for number in 0..entries {
            let key = format!("user:{number:08}");
            load.push(key.as_bytes(), &[7; 100]).unwrap();
        }
        load.finish().unwrap();
        database.close().unwrap();
        directory
    }

    #[test]
    fn a_small_table_is_read_wholly_and_a_large_one_in_stretches() {
        for (entries, least, most) in [(0, 0, 0), (500, 500, 500), (9000, 4097, 8500)] {
            let directory = filled(&format!("sample-{entries}"), entries);
            let database = Database::open_read_only(&directory.0).unwrap();
            let view = verify(&database, VerifyDepth::Quick, |_| {}).unwrap();
            assert!(view.sound && view.pages.is_none());
            assert_eq!(view.tables, 1);
            assert!((least..=most).contains(&view.entries), "{view:?}");
            let full = verify(&database, VerifyDepth::Full, |_| {}).unwrap();
            assert_eq!(full.entries, u64::from(entries));
            assert!(full.sound && full.pages.is_some());
        }
    }

    #[test]
    fn damage_is_found_and_named() {
        let directory = filled("damage", 3000);
        let path = directory.0.join("pages.ldb");
        let mut bytes = std::fs::read(&path).unwrap();
        // A value's bytes, many times one after the other.
        let at = bytes.windows(60).position(|part| part == [7; 60]).unwrap();
        bytes[at + 30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let database = Database::open_read_only(&directory.0).unwrap();
        let view = verify(&database, VerifyDepth::Full, |_| {}).unwrap();
        assert!(!view.sound, "{view:?}");
        assert!(view.damage.unwrap().contains("pages.ldb"));
    }
}
