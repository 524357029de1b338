//! `load`: entries from a file, in durable batches.
//!
//! What `--ack` prints counts records of the input from its beginning, those
//! that `--skip` left out included, so that the last number printed is what to
//! skip when the load is resumed. A batch ends early where a transaction or a request
//! is full.

use super::arguments::{Format, LoadOptions};
use super::place::Purpose;
use super::store::{Store, Taken};
use super::{Context, DEFAULT_TABLE, print_json};
use crate::failure::{Exit, Failure};
use crate::formats::mdb::Header;
use crate::formats::{FormatError, Record, csv, json_lines, mdb, text};
use crate::terminal::Progress;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

const READ_BUFFER_BYTES: usize = 1 << 20;

pub(super) fn load(context: &Context<'_>, options: &LoadOptions) -> Result<Exit, Failure> {
    let file = options.file.as_deref().filter(|file| *file != "-");
    let (input, input_bytes): (Box<dyn BufRead>, Option<u64>) = match file {
        None => (Box::new(io::stdin().lock()), None),
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
            let metadata = file
                .metadata()
                .map_err(|error| Failure::file(path, &error))?;
            if metadata.is_dir() {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{}: a directory; give a file", path.display()),
                ));
            }
            let bytes = metadata.is_file().then_some(metadata.len());
            (
                Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)),
                bytes,
            )
        }
    };
    let table = context.table_name()?;
    let mut store = context.open(Purpose::Make)?;
    let mut loader = Loader {
        context,
        options,
        store: &mut *store,
        table,
        source: file,
        in_batch: 0,
        seen: 0,
        durable: 0,
        metadata_left_out: 0,
        progress: Progress::of_bytes(input_bytes, context.global.quiet),
    };
    let loaded = match options.format {
        Format::Jsonl => loader.load_json_lines(input),
        Format::Csv => loader.load_csv(input),
        Format::Mdb => loader.load_mdb(input),
    };
    let durable = loader.durable;
    let seen = loader.seen;
    let metadata_left_out = loader.metadata_left_out;
    drop(loader);
    if metadata_left_out > 0 {
        context.note(&format_args!(
            "{metadata_left_out} metadata bytes were left out: a service has no place for them"
        ));
    }
    if let Err(mut failure) = loaded {
        if durable > 0
            && let Some(message) = &mut failure.message
        {
            message.push_str(&format!(
                " ({durable} records are durable; go on with --skip {durable})"
            ));
        }
        return Err(failure);
    }
    store.close()?;
    if seen < options.skip {
        context.note(&format_args!(
            "the input has {seen} records, fewer than --skip {}: nothing was loaded",
            options.skip
        ));
    }
    if context.global.json {
        let loaded = seen.saturating_sub(options.skip);
        return print_json(&serde_json::json!({"records": seen, "loaded": loaded}));
    }
    Ok(Exit::Fine)
}

struct Loader<'a> {
    context: &'a Context<'a>,
    options: &'a LoadOptions,
    store: &'a mut dyn Store,
    table: String,
    source: Option<&'a Path>,
    in_batch: u64,
    /// Records of the input that were read.
    seen: u64,
    /// Records of the input that are durable, or were left out.
    durable: u64,
    metadata_left_out: u64,
    progress: Progress,
}

impl Loader<'_> {
    fn load_json_lines(&mut self, input: impl BufRead) -> Result<(), Failure> {
        let table = self.table.clone();
        self.store.make_table(&table)?;
        let mut reader = json_lines::Reader::new(input);
        let mut record = Record::default();
        while reader
            .next(&mut record)
            .map_err(|error| self.input_failure(&error))?
        {
            self.take(&table, &record, reader.line())?;
            self.progress.set(reader.bytes_read(), self.seen);
        }
        self.commit()
    }

    fn load_csv(&mut self, input: impl BufRead) -> Result<(), Failure> {
        let table = self.table.clone();
        self.store.make_table(&table)?;
        let mut reader = csv::Reader::new(input, self.context.global.hex);
        let mut record = Record::default();
        while reader
            .next(&mut record)
            .map_err(|error| self.input_failure(&error))?
        {
            self.take(&table, &record, reader.line())?;
            self.progress.set(reader.bytes_read(), self.seen);
        }
        self.commit()
    }

    fn load_mdb(&mut self, input: impl BufRead) -> Result<(), Failure> {
        let mut reader = mdb::Reader::new(input);
        let mut record = Record::default();
        let mut tables = HashSet::new();
        while let Some(header) = reader
            .next_database()
            .map_err(|error| self.input_failure(&error))?
        {
            let name = self.table_for(&header, reader.line())?;
            if !tables.insert(name.clone()) {
                let message = format!(
                    "a second database for table \"{}\"; leave out --table to load each into its own",
                    text::escape(name.as_bytes())
                );
                return Err(self.failure_at(reader.line(), &message));
            }
            let table = name.clone();
            self.store.make_table(&table)?;
            self.store.keep_header(&table, &header)?;
            let mut last_key = None;
            while reader
                .next(&mut record)
                .map_err(|error| self.input_failure(&error))?
            {
                if header.has_duplicates() {
                    if last_key.as_deref() == Some(record.key.as_slice()) {
                        let message = format!(
                            "key \"{}\" has a second value; a table holds one value for each key, \
                             so a database with duplicates can't be loaded",
                            text::escape(&record.key)
                        );
                        // The line of the value was read last.
                        return Err(self.failure_at(reader.line() - 1, &message));
                    }
                    last_key = Some(record.key.clone());
                }
                self.take(&table, &record, reader.line())?;
                self.progress.set(reader.bytes_read(), self.seen);
            }
        }
        if tables.is_empty() {
            return Err(self.failure_at(
                1,
                "the input is empty; mdb_dump writes a header even for an empty database",
            ));
        }
        self.commit()
    }

    /// The table that a database goes into.
    fn table_for(&self, header: &Header, line: u64) -> Result<String, Failure> {
        if let Some(table) = self.context.named_table()? {
            return Ok(table);
        }
        let Some(name) = header.database() else {
            return Ok(DEFAULT_TABLE.to_owned());
        };
        String::from_utf8(name.to_vec()).map_err(|_| {
            let message = format!(
                "the database's name \"{}\" is not UTF-8; name a table with --table",
                text::escape(name)
            );
            self.failure_at(line, &message)
        })
    }

    /// Takes a record whose last line is `line`.
    fn take(&mut self, table: &str, record: &Record, line: u64) -> Result<(), Failure> {
        self.seen += 1;
        if self.seen <= self.options.skip {
            self.durable = self.seen;
            return Ok(());
        }
        if record.metadata.is_some() && !self.store.has_metadata() {
            self.metadata_left_out += 1;
        }
        loop {
            match self.store.put(table, record.borrow()) {
                Ok(Taken::Yes) => break,
                Ok(Taken::Full) => {
                    // This record is not in it.
                    self.seen -= 1;
                    self.commit()?;
                    self.seen += 1;
                }
                Err(failure) if failure.exit == Exit::Failed => {
                    return Err(self.failure_at(line, &failure.to_string()));
                }
                Err(failure) => return Err(failure),
            }
        }
        self.in_batch += 1;
        if self.in_batch == self.options.batch {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes durable what was taken.
    fn commit(&mut self) -> Result<(), Failure> {
        self.store.commit()?;
        if self.in_batch == 0 {
            return Ok(());
        }
        self.in_batch = 0;
        self.durable = self.seen;
        if self.options.ack {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", self.durable)
                .and_then(|()| out.flush())
                .map_err(|error| Failure::output(&error))?;
        }
        Ok(())
    }

    fn source(&self) -> String {
        self.source.map_or_else(
            || "standard input".to_owned(),
            |path| path.display().to_string(),
        )
    }

    fn failure_at(&self, line: u64, message: &str) -> Failure {
        Failure::new(
            Exit::Failed,
            format!("{}: line {line}: {message}", self.source()),
        )
    }

    fn input_failure(&self, error: &FormatError) -> Failure {
        Failure::new(Exit::Failed, format!("{}: {error}", self.source()))
    }
}
