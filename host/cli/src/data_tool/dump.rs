//! `dump`: all entries of one table, or of all, to a file.
//!
//! A directory doesn't change while it is open for reading, so that all tables of one
//! dump are of one moment; a service goes on meanwhile. A file gets its name when it is
//! complete and durable; what is there before stays until then.

use super::arguments::{DumpOptions, Format};
use super::place::Purpose;
use super::store::{Selection, Store};
use super::{Context, DEFAULT_TABLE};
use crate::failure::{Exit, Failure};
use crate::formats::mdb::{self, Header, LMDB_KEY_BYTES_MAX, MapEstimate};
use crate::formats::{RecordRef, csv, json_lines};
use crate::terminal::Progress;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const WRITE_BUFFER_BYTES: usize = 1 << 20;

pub(super) fn dump(context: &Context<'_>, options: &DumpOptions) -> Result<Exit, Failure> {
    if options.all_tables && options.format != Format::Mdb {
        return Err(Failure::usage(
            "--all-tables needs --format mdb: the others have no place for a table's name",
        ));
    }
    let table = context.table_name()?;
    let mut store = context.open(Purpose::Read)?;
    let tables = if options.all_tables {
        store.tables()?
    } else {
        vec![table]
    };
    let mut entries = 0;
    for table in &tables {
        entries += store.count_estimate(table)?;
    }
    let mut dump = Dump {
        context,
        store: &mut *store,
        progress: Progress::of_entries(entries, context.global.quiet),
        written: 0,
        left_out: LeftOut::default(),
    };
    match options.file.as_deref().filter(|file| *file != "-") {
        Some(path) if !is_special(path) => write_file(path, |out| {
            dump.write_tables(&tables, options.format, out, &|error| {
                Failure::file(path, error)
            })
        })?,
        Some(path) => {
            let fault = |error: &io::Error| Failure::file(path, error);
            let file = File::create(path).map_err(|error| fault(&error))?;
            let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
            dump.write_tables(&tables, options.format, &mut out, &fault)?;
        }
        None => {
            let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, io::stdout().lock());
            dump.write_tables(&tables, options.format, &mut out, &Failure::output)?;
        }
    }
    dump.left_out.tell(context);
    Ok(Exit::Fine)
}

/// Whether `path` is a device or pipe, which is written where it is.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Writes a file that has its name only when it is complete.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let fault = |error: io::Error| Failure::file(&partial, &error);
    let file = File::create(&partial).map_err(fault)?;
    let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
    let written = write(&mut out).and_then(|()| {
        out.flush()
            .and_then(|()| out.get_ref().sync_all())
            .map_err(fault)?;
        fs::rename(&partial, path).map_err(|error| Failure::file(path, &error))
    });
    if written.is_err() {
        // The failure that is told is the one that matters.
        let _removed = fs::remove_file(&partial);
    }
    written
}

/// What the mdb form has no place for.
#[derive(Default)]
struct LeftOut {
    expiries: u64,
    metadata: u64,
    keys: u64,
}

impl LeftOut {
    fn tell(&self, context: &Context<'_>) {
        if self.expiries > 0 {
            context.note(&format_args!(
                "{} expiry times were left out: the mdb form has no place for them",
                self.expiries
            ));
        }
        if self.metadata > 0 {
            context.note(&format_args!(
                "{} metadata bytes were left out: the mdb form has no place for them",
                self.metadata
            ));
        }
        if self.keys > 0 {
            context.note(&format_args!(
                "{} keys are empty or longer than {LMDB_KEY_BYTES_MAX} bytes: mdb_load refuses them",
                self.keys
            ));
        }
    }
}

struct Dump<'a> {
    context: &'a Context<'a>,
    store: &'a mut dyn Store,
    progress: Progress,
    written: u64,
    left_out: LeftOut,
}

impl Dump<'_> {
    fn write_tables(
        &mut self,
        tables: &[String],
        format: Format,
        out: &mut impl Write,
        fault: &dyn Fn(&io::Error) -> Failure,
    ) -> Result<(), Failure> {
        for table in tables {
            match format {
                Format::Jsonl => self.write_json_lines(table, out, fault)?,
                Format::Csv => self.write_csv(table, out, fault)?,
                Format::Mdb => self.write_mdb(table, out, fault)?,
            }
        }
        out.flush().map_err(|error| fault(&error))
    }

    fn write_json_lines(
        &mut self,
        table: &str,
        out: &mut impl Write,
        fault: &dyn Fn(&io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let always_hex = self.context.global.hex;
        self.for_each(table, fault, |_, record| {
            json_lines::write(out, record, always_hex)
        })
    }

    fn write_csv(
        &mut self,
        table: &str,
        out: &mut impl Write,
        fault: &dyn Fn(&io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let always_hex = self.context.global.hex;
        let mut writer = csv::Writer::new(out, always_hex).map_err(|error| fault(&error))?;
        self.for_each(table, fault, |_, record| writer.write(record))?;
        writer.finish().map_err(|error| fault(&error))
    }

    fn write_mdb(
        &mut self,
        table: &str,
        out: &mut impl Write,
        fault: &dyn Fn(&io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let header = self.mdb_header(table)?;
        let mut writer = mdb::Writer::new(out, &header).map_err(|error| fault(&error))?;
        self.for_each(table, fault, |left_out, record| {
            left_out.expiries += u64::from(record.expiry_ms.is_some());
            left_out.metadata += u64::from(record.metadata.is_some());
            let key_bytes = record.key.len();
            left_out.keys += u64::from(key_bytes == 0 || key_bytes > LMDB_KEY_BYTES_MAX);
            writer.write(record.key, record.value)
        })?;
        writer.finish().map_err(|error| fault(&error))
    }

    /// The header that came with the table, or a new one. A map that the table
    /// has outgrown is enlarged.
    fn mdb_header(&mut self, table: &str) -> Result<Header, Failure> {
        let kept = self.store.kept_header(table)?;
        let mut estimate = MapEstimate::default();
        self.store
            .scan(table, &Selection::default(), &mut |record| {
                estimate.add(record.key.len(), record.value.len());
                ControlFlow::Continue(())
            })?;
        let Some(header) = kept else {
            let name = Some(table).filter(|name| *name != DEFAULT_TABLE);
            return Ok(Header::new(name, estimate.map_bytes()));
        };
        match header.map_bytes() {
            Some(map_bytes) if map_bytes < estimate.least_bytes() => {
                let larger = estimate.map_bytes();
                self.context.note(&format_args!(
                    "the table has outgrown its mapsize of {map_bytes}; it is now {larger}"
                ));
                Ok(header.with_map_bytes(larger))
            }
            _ => Ok(header),
        }
    }

    fn for_each(
        &mut self,
        table: &str,
        fault: &dyn Fn(&io::Error) -> Failure,
        mut write: impl FnMut(&mut LeftOut, RecordRef<'_>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut failure = None;
        let (left_out, progress, written) =
            (&mut self.left_out, &mut self.progress, &mut self.written);
        self.store
            .scan(table, &Selection::default(), &mut |record| {
                if let Err(error) = write(left_out, record) {
                    failure = Some(fault(&error));
                    return ControlFlow::Break(());
                }
                *written += 1;
                progress.set(*written, *written);
                ControlFlow::Continue(())
            })?;
        failure.map_or(Ok(()), Err)
    }
}
