//! `get`, `put` and `delete`.

use super::arguments::{DeleteOptions, GetOptions, PutOptions};
use super::place::Purpose;
use super::store::{Store, Taken};
use super::{Context, print_json, write_out};
use crate::failure::{Exit, Failure};
use crate::formats::{Record, json_lines};
use std::io::Write;
use std::time::{Duration, SystemTime};

pub(super) fn get(context: &Context<'_>, options: &GetOptions) -> Result<Exit, Failure> {
    if options.raw && context.global.json {
        return Err(Failure::usage(
            "--raw prints bytes, and --json text: leave out one",
        ));
    }
    let key = context.bytes_of("KEY", &options.key)?;
    let table = context.table_name()?;
    let mut store = context.open(Purpose::Read)?;
    let Some(record) = store.get(&table, &key)? else {
        return Ok(Exit::Finding);
    };
    write_out(|out| {
        if context.global.json {
            json_lines::write(out, record.borrow(), context.global.hex)
        } else if options.raw {
            out.write_all(&record.value)
        } else {
            writeln!(out, "{}", context.text_of(&record.value))
        }
    })
}

pub(super) fn put(context: &Context<'_>, options: &PutOptions) -> Result<Exit, Failure> {
    let record = record_of(context, options)?;
    let table = context.table_name()?;
    let mut store = context.open(Purpose::Make)?;
    take(&mut *store, &table, &record)?;
    store.commit()?;
    store.close()?;
    if context.global.json {
        return print_json(&serde_json::json!({"table": table, "stored": 1}));
    }
    Ok(Exit::Fine)
}

/// The entry that the command line gives.
pub(super) fn record_of(context: &Context<'_>, options: &PutOptions) -> Result<Record, Failure> {
    Ok(Record {
        key: context.bytes_of("KEY", &options.key)?,
        value: context.bytes_of("VALUE", &options.value)?,
        expiry_ms: options.expire.map(expiry_in),
        metadata: None,
    })
}

/// The time of expiry, in milliseconds since 1970, of what expires `duration` from now.
pub(super) fn expiry_in(duration: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let at = now.unwrap_or_default().saturating_add(duration);
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// Takes an entry, with what was taken before it committed where there is no room.
pub(super) fn take(store: &mut dyn Store, table: &str, record: &Record) -> Result<(), Failure> {
    while store.put(table, record.borrow())? == Taken::Full {
        store.commit()?;
    }
    Ok(())
}

pub(super) fn delete(context: &Context<'_>, options: &DeleteOptions) -> Result<Exit, Failure> {
    let key = context.bytes_of("KEY", &options.key)?;
    let table = context.table_name()?;
    let mut store = context.open(Purpose::Change)?;
    let was_there = store.delete(&table, &key)?;
    store.commit()?;
    store.close()?;
    if context.global.json {
        let deleted = u8::from(was_there);
        print_json(&serde_json::json!({"table": table, "deleted": deleted}))?;
    }
    Ok(if was_there { Exit::Fine } else { Exit::Finding })
}
