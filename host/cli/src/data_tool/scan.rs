//! `scan` and `count`.

use super::arguments::ScanOptions;
use super::{Context, print_json, write_out};
use crate::failure::{Exit, Failure};
use crate::formats::{RecordRef, json_lines};
use lightning_db::{KeyGuard, Result as DatabaseResult, ValueGuard};
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::Bound;

type Bytes = &'static [u8];
type Item<'t> = DatabaseResult<(KeyGuard<Bytes>, ValueGuard<'t, Bytes>)>;

pub(super) fn scan(context: &Context<'_>, options: &ScanOptions) -> Result<Exit, Failure> {
    let bytes_of = |name: &str, given: &Option<OsString>| {
        given
            .as_deref()
            .map(|given| context.bytes_of(name, given))
            .transpose()
    };
    let from = bytes_of("--from", &options.from)?;
    let to = bytes_of("--to", &options.to)?;
    let prefix = bytes_of("--prefix", &options.prefix)?;

    let database = context.open_read_only()?;
    let table = context.existing_table(&database)?;
    let read = database.begin_read()?;
    let reader = read.open(&table)?;
    let range = match &prefix {
        Some(prefix) => reader.prefix(prefix)?,
        None => {
            let from = from.as_deref().map_or(Bound::Unbounded, Bound::Included);
            let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            reader.range((from, to))?
        }
    };
    let entries: Box<dyn Iterator<Item = Item<'_>>> = if options.reverse {
        Box::new(range.rev())
    } else {
        Box::new(range)
    };
    let limit = options.limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let mut failure = None;
    write_out(|out| {
        for entry in entries.take(limit) {
            match entry {
                Ok((key, value)) => print_entry(context, out, &key, &value)?,
                Err(error) => {
                    failure = Some(Failure::from(error));
                    break;
                }
            }
        }
        Ok(())
    })?;
    failure.map_or(Ok(Exit::Fine), Err)
}

fn print_entry(
    context: &Context<'_>,
    out: &mut impl Write,
    key: &[u8],
    value: &ValueGuard<'_, Bytes>,
) -> io::Result<()> {
    if context.global.json {
        let record = RecordRef {
            key,
            value,
            expiry_ms: value.expiry_ms(),
            metadata: value.metadata(),
        };
        return json_lines::write(out, record, context.global.hex);
    }
    writeln!(out, "{}\t{}", context.text_of(key), context.text_of(value))
}

pub(super) fn count(context: &Context<'_>) -> Result<Exit, Failure> {
    let database = context.open_read_only()?;
    let table = context.existing_table(&database)?;
    let entries = database.begin_read()?.open(&table)?.len()?;
    if context.global.json {
        print_json(&serde_json::json!({"table": table.name(), "entries": entries}))
    } else {
        write_out(|out| writeln!(out, "{entries}"))
    }
}
