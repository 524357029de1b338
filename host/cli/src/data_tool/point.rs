//! `get`, `put` and `delete`.

use super::arguments::{DeleteOptions, GetOptions, PutOptions};
use super::{Context, print_json, write_out};
use crate::failure::{Exit, Failure};
use crate::formats::{RecordRef, json_lines};
use std::io::Write;

pub(super) fn get(context: &Context<'_>, options: &GetOptions) -> Result<Exit, Failure> {
    let key = context.bytes_of("KEY", &options.key)?;
    let database = context.open_read_only()?;
    let table = context.existing_table(&database)?;
    let read = database.begin_read()?;
    let Some(value) = read.get(&table, &key)? else {
        return Ok(Exit::Finding);
    };
    write_out(|out| {
        if context.global.json {
            let record = RecordRef {
                key: &key,
                value: &value,
                expiry_ms: value.expiry_ms(),
                metadata: value.metadata(),
            };
            json_lines::write(out, record, context.global.hex)
        } else if options.raw {
            out.write_all(&value)
        } else {
            writeln!(out, "{}", context.text_of(&value))
        }
    })
}

pub(super) fn put(context: &Context<'_>, options: &PutOptions) -> Result<Exit, Failure> {
    let key = context.bytes_of("KEY", &options.key)?;
    let value = context.bytes_of("VALUE", &options.value)?;
    let database = context.open_or_create()?;
    let table = database.table(context.table_name())?;
    database.put(&table, &key, &value)?;
    database.close()?;
    if context.global.json {
        return print_json(&serde_json::json!({"table": table.name(), "stored": 1}));
    }
    Ok(Exit::Fine)
}

pub(super) fn delete(context: &Context<'_>, options: &DeleteOptions) -> Result<Exit, Failure> {
    let key = context.bytes_of("KEY", &options.key)?;
    let database = context.open_existing()?;
    let table = context.existing_table(&database)?;
    let mut write = database.begin_write()?;
    let was_there = write.open(&table)?.contains(&key)?;
    if was_there {
        write.delete(&table, &key)?;
    }
    write.commit()?;
    database.close()?;
    if context.global.json {
        let deleted = u8::from(was_there);
        print_json(&serde_json::json!({"table": table.name(), "deleted": deleted}))?;
    }
    Ok(if was_there { Exit::Fine } else { Exit::Finding })
}
