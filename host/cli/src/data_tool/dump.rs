//! `dump`: all entries of one table, or of all, to a file.
//!
//! All tables of one dump are read in one transaction. A file gets its name when
//! it is complete and durable; what is there before stays until then.

use super::arguments::{DumpOptions, Format};
use super::{Context, DEFAULT_TABLE, mdb_headers};
use crate::failure::{Exit, Failure};
use crate::formats::mdb::{self, Header, LMDB_KEY_BYTES_MAX, MapEstimate};
use crate::formats::{RecordRef, json_lines};
use crate::terminal::Progress;
use lightning_db::{Database, ReadTransaction, Table};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const WRITE_BUFFER_BYTES: usize = 1 << 20;

pub(super) fn dump(context: &Context<'_>, options: &DumpOptions) -> Result<Exit, Failure> {
    if options.all_tables && options.format != Format::Mdb {
        return Err(Failure::usage(
            "--all-tables needs --format mdb: JSON Lines have no place for a table's name",
        ));
    }
    let database = context.open_read_only()?;
    let tables = if options.all_tables {
        database.tables()?
    } else {
        vec![context.existing_table(&database)?]
    };
    let read = database.begin_read()?;
    let mut entries = 0;
    for table in &tables {
        entries += read.open(table)?.len_estimate();
    }
    let mut dump = Dump {
        context,
        database: &database,
        read: &read,
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
    database: &'a Database,
    read: &'a ReadTransaction,
    progress: Progress,
    written: u64,
    left_out: LeftOut,
}

impl Dump<'_> {
    fn write_tables(
        &mut self,
        tables: &[Table],
        format: Format,
        out: &mut impl Write,
        fault: &dyn Fn(&io::Error) -> Failure,
    ) -> Result<(), Failure> {
        for table in tables {
            match format {
                Format::Jsonl => self.write_json_lines(table, out, fault)?,
                Format::Mdb => self.write_mdb(table, out, fault)?,
            }
        }
        out.flush().map_err(|error| fault(&error))
    }

    fn write_json_lines(
        &mut self,
        table: &Table,
        out: &mut impl Write,
        fault: &dyn Fn(&io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let always_hex = self.context.global.hex;
        self.for_each(table, fault, |_, record| {
            json_lines::write(out, record, always_hex)
        })
    }

    fn write_mdb(
        &mut self,
        table: &Table,
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
    fn mdb_header(&self, table: &Table) -> Result<Header, Failure> {
        let kept = mdb_headers::kept(self.database, self.read, table.name())?;
        let mut estimate = MapEstimate::default();
        self.read.open(table)?.for_each(.., |entry| {
            estimate.add(entry.key.len(), entry.value.len());
            ControlFlow::Continue(())
        })?;
        let Some(header) = kept else {
            let name = Some(table.name()).filter(|name| *name != DEFAULT_TABLE);
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
        table: &Table,
        fault: &dyn Fn(&io::Error) -> Failure,
        mut write: impl FnMut(&mut LeftOut, RecordRef<'_>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut failure = None;
        self.read.open(table)?.for_each(.., |entry| {
            let record = RecordRef {
                key: entry.key,
                value: entry.value,
                expiry_ms: entry.expiry_ms,
                metadata: entry.metadata,
            };
            if let Err(error) = write(&mut self.left_out, record) {
                failure = Some(fault(&error));
                return ControlFlow::Break(());
            }
            self.written += 1;
            self.progress.set(self.written, self.written);
            ControlFlow::Continue(())
        })?;
        failure.map_or(Ok(()), Err)
    }
}
