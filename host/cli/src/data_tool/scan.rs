//! `scan` and `count`.

use super::arguments::ScanOptions;
use super::place::Purpose;
use super::store::Selection;
use super::{Context, print_json, write_out};
use crate::failure::{Exit, Failure};
use crate::formats::{RecordRef, json_lines};
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::ControlFlow;

pub(super) fn scan(context: &Context<'_>, options: &ScanOptions) -> Result<Exit, Failure> {
    let selection = selection_of(context, options)?;
    let table = context.table_name()?;
    let mut store = context.open(Purpose::Read)?;
    let mut failure = None;
    write_out(|out| {
        let mut written = Ok(());
        let scanned = store.scan(&table, &selection, &mut |record| {
            written = print_entry(context, out, record);
            if written.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        failure = scanned.err();
        written
    })?;
    failure.map_or(Ok(Exit::Fine), Err)
}

/// The entries that the command line means.
pub(super) fn selection_of(
    context: &Context<'_>,
    options: &ScanOptions,
) -> Result<Selection, Failure> {
    let bytes_of = |name: &str, given: &Option<OsString>| {
        given
            .as_deref()
            .map(|given| context.bytes_of(name, given))
            .transpose()
    };
    let mut selection = match bytes_of("--prefix", &options.prefix)? {
        Some(prefix) => Selection::with_prefix(prefix),
        None => Selection::between(
            bytes_of("--from", &options.from)?,
            bytes_of("--to", &options.to)?,
        ),
    };
    selection.limit = options.limit;
    selection.reverse = options.reverse;
    Ok(selection)
}

fn print_entry(
    context: &Context<'_>,
    out: &mut impl Write,
    record: RecordRef<'_>,
) -> io::Result<()> {
    if context.global.json {
        return json_lines::write(out, record, context.global.hex);
    }
    let key = context.text_of(record.key);
    writeln!(out, "{key}\t{}", context.text_of(record.value))
}

pub(super) fn count(context: &Context<'_>) -> Result<Exit, Failure> {
    let table = context.table_name()?;
    let entries = context.open(Purpose::Read)?.count(&table)?;
    if context.global.json {
        print_json(&serde_json::json!({"table": table, "entries": entries}))
    } else {
        write_out(|out| writeln!(out, "{entries}"))
    }
}
