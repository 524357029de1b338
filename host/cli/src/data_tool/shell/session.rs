//! What one shell works on, and how it follows commands.

use super::commands::{ExpireOptions, Line, SettingName, ShellCommand, When};
use super::output::{self, Entries, Form, Style};
use super::words::Words;
use crate::data_tool::arguments::{GlobalOptions, ScanOptions};
use crate::data_tool::store::{Store, Taken};
use crate::data_tool::{Context, inspect, point, print_json, scan, write_out};
use crate::failure::{Exit, Failure};
use crate::formats::{Record, json_lines};
use clap::{CommandFactory as _, Parser as _};
use std::ffi::OsStr;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::time::Duration;

/// A shell's database, table and settings.
pub(super) struct Session {
    global: GlobalOptions,
    store: Box<dyn Store>,
    table: String,
    is_in_transaction: bool,
    style: Style,
}

/// What is to be done after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To go on; the command ended so.
    GoOn(Exit),
    Leave,
}

impl Session {
    /// A session that begins with `table`.
    pub(super) fn new(
        global: GlobalOptions,
        store: Box<dyn Store>,
        table: String,
        style: Style,
    ) -> Self {
        Self {
            global,
            store,
            table,
            is_in_transaction: false,
            style,
        }
    }

    /// The store and its table, for completion.
    pub(super) fn parts(&mut self) -> (&mut dyn Store, &str) {
        (&mut *self.store, &self.table)
    }

    /// Whether keys and values are digits.
    pub(super) fn is_hex(&self) -> bool {
        self.global.hex
    }

    /// What stands before a line.
    pub(super) fn prompt(&self) -> String {
        let name = self.store.name();
        let short = name
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let mark = if self.is_in_transaction { "*" } else { "" };
        format!("{short} {}{mark}> ", self.table)
    }

    /// Tables are as wide as the terminal.
    pub(super) fn set_width(&mut self, width: Option<u16>) {
        self.style.width = width;
    }

    /// Ends; what was not committed is forgotten, which `true` says.
    pub(super) fn close(mut self) -> Result<bool, Failure> {
        let was_open = self.is_in_transaction;
        self.store.rollback();
        self.store.close()?;
        Ok(was_open)
    }

    /// Follows one command.
    pub(super) fn follow(&mut self, command: &Words) -> Result<Next, Failure> {
        let line = Line::try_parse_from(&command.words).map_err(|error| {
            // What clap says, without the usage line of a program.
            let told = error.to_string();
            let told = told.trim_start_matches("error: ");
            let told = told.split("\n\nUsage:").next().unwrap_or_default();
            let told = told.split("\n\nFor more").next().unwrap_or_default();
            Failure::usage(format!("{}; `help` lists the commands", told.trim()))
        })?;
        if let ShellCommand::Exit = line.command {
            return Ok(Next::Leave);
        }
        self.run(line.command).map(Next::GoOn)
    }

    fn run(&mut self, command: ShellCommand) -> Result<Exit, Failure> {
        match command {
            ShellCommand::Get(options) => {
                let key = self.bytes_of("KEY", &options.key)?;
                self.get(&key, options.raw)
            }
            ShellCommand::Put(options) => {
                let record = point::record_of(&self.context(), &options)?;
                self.put(&record)
            }
            ShellCommand::Delete(options) => {
                let key = self.bytes_of("KEY", &options.key)?;
                let was_there = self.store.delete(&self.table, &key)?;
                self.commit_alone()?;
                Ok(found(was_there))
            }
            ShellCommand::Scan(options) => self.scan(&options),
            ShellCommand::Count => {
                let entries = self.store.count(&self.table)?;
                if self.style.form == Form::Json {
                    return print_json(
                        &serde_json::json!({"table": self.table, "entries": entries}),
                    );
                }
                write_out(|out| writeln!(out, "{entries}"))
            }
            ShellCommand::Tables => self.tables(),
            ShellCommand::Use { table } => {
                // A service says at once whether there can be one of this name.
                if !self.store.has_transactions() {
                    self.store.count_estimate(&table)?;
                }
                self.table = table;
                Ok(Exit::Fine)
            }
            ShellCommand::Expire(options) => self.expire(&options),
            ShellCommand::Ttl { key } => self.ttl(&key),
            ShellCommand::Begin => self.begin(),
            ShellCommand::Commit => {
                self.in_transaction("commit")?;
                self.is_in_transaction = false;
                self.store.commit()?;
                Ok(Exit::Fine)
            }
            ShellCommand::Rollback => {
                self.in_transaction("rollback")?;
                self.is_in_transaction = false;
                self.store.rollback();
                Ok(Exit::Fine)
            }
            ShellCommand::Info => {
                let context = Context {
                    global: &self.global,
                };
                inspect::info_of(&context, &mut *self.store)
            }
            ShellCommand::Verify => match self.store.database() {
                Some(database) => inspect::verify_database(&self.context(), database),
                None => Err(Failure::usage(
                    "a service checks its data when lightning-cli asks it to: `lightning-cli \
                     verify integrity`",
                )),
            },
            ShellCommand::Set { name, value } => self.set(name, value.as_deref()),
            ShellCommand::Help { command } => help(command.as_deref()),
            ShellCommand::Exit => Ok(Exit::Fine),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            global: &self.global,
        }
    }

    fn bytes_of(&self, name: &str, given: &OsStr) -> Result<Vec<u8>, Failure> {
        self.context().bytes_of(name, given)
    }

    fn get(&mut self, key: &[u8], raw: bool) -> Result<Exit, Failure> {
        let Some(record) = self.store.get(&self.table, key)? else {
            return Ok(Exit::Finding);
        };
        let context = self.context();
        write_out(|out| {
            if raw {
                out.write_all(&record.value)
            } else if self.style.form == Form::Json {
                json_lines::write(out, record.borrow(), self.style.hex)
            } else {
                writeln!(out, "{}", context.text_of(&record.value))
            }
        })
    }

    fn put(&mut self, record: &Record) -> Result<Exit, Failure> {
        match self.store.put(&self.table, record.borrow()) {
            Ok(Taken::Yes) => self.commit_alone(),
            Ok(Taken::Full) => Err(Failure::new(
                Exit::Failed,
                "the transaction has no more room: `commit` what it has, and begin another one",
            )),
            Err(failure) => {
                if !self.is_in_transaction {
                    self.store.rollback();
                }
                Err(failure)
            }
        }
    }

    fn commit_alone(&mut self) -> Result<Exit, Failure> {
        if !self.is_in_transaction {
            self.store.commit()?;
        }
        Ok(Exit::Fine)
    }

    fn scan(&mut self, options: &ScanOptions) -> Result<Exit, Failure> {
        let selection = scan::selection_of(&self.context(), options)?;
        let context = Context {
            global: &self.global,
        };
        let text_of = |bytes: &[u8]| context.text_of(bytes);
        let mut failure = None;
        write_out(|out| {
            let now_ms = point::expiry_in(Duration::ZERO);
            let mut entries = Entries::new(out, self.style, &text_of, now_ms);
            let mut written = Ok(());
            let scanned = self.store.scan(&self.table, &selection, &mut |record| {
                written = entries.print(record);
                if written.is_ok() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            failure = scanned.err();
            written.and_then(|()| entries.finish())
        })?;
        failure.map_or(Ok(Exit::Fine), Err)
    }

    fn tables(&mut self) -> Result<Exit, Failure> {
        let mut tables = Vec::new();
        for name in self.store.tables()? {
            let entries = self.store.count(&name)?;
            tables.push((name, entries));
        }
        let context = self.context();
        let rows = || {
            let row = |(name, entries): &(String, u64)| {
                vec![context.text_of(name.as_bytes()), entries.to_string()]
            };
            tables.iter().map(row).collect::<Vec<_>>()
        };
        write_out(|out| match self.style.form {
            Form::Json => tables.iter().try_for_each(|(name, entries)| {
                let line = serde_json::json!({"table": name, "entries": entries});
                writeln!(out, "{line}")
            }),
            Form::Text => rows()
                .iter()
                .try_for_each(|row| writeln!(out, "{}", row.join("\t"))),
            Form::Table if tables.is_empty() => Ok(()),
            Form::Table => {
                let table = output::table(&["table", "entries"], rows(), self.style.width);
                writeln!(out, "{table}")
            }
        })
    }

    fn expire(&mut self, options: &ExpireOptions) -> Result<Exit, Failure> {
        let key = self.bytes_of("KEY", &options.key)?;
        let expiry_ms = match options.after {
            When::After(duration) => Some(point::expiry_in(duration)),
            When::Never => None,
        };
        let was_there = self.store.expire(&self.table, &key, expiry_ms)?;
        self.commit_alone()?;
        Ok(found(was_there))
    }

    fn ttl(&mut self, key: &OsStr) -> Result<Exit, Failure> {
        let key = self.bytes_of("KEY", key)?;
        let Some(record) = self.store.get(&self.table, &key)? else {
            return Ok(Exit::Finding);
        };
        if self.style.form == Form::Json {
            return print_json(&serde_json::json!({"expiry_ms": record.expiry_ms}));
        }
        let now_ms = point::expiry_in(Duration::ZERO);
        write_out(|out| match record.expiry_ms {
            Some(at) => writeln!(out, "{}", output::left_text(at.saturating_sub(now_ms))),
            None => writeln!(out, "it doesn't expire"),
        })
    }

    fn begin(&mut self) -> Result<Exit, Failure> {
        if self.is_in_transaction {
            return Err(Failure::usage(
                "a transaction is open already: `commit` or `rollback` ends it",
            ));
        }
        if !self.store.has_transactions() {
            return Err(Failure::usage(
                "a service has no transactions in which what was written is read; MULTI and EXEC \
                 of a client of Redis commit several writes together",
            ));
        }
        self.is_in_transaction = true;
        Ok(Exit::Fine)
    }

    fn in_transaction(&self, command: &str) -> Result<(), Failure> {
        if self.is_in_transaction {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "there is no transaction to {command}: `begin` begins one"
        )))
    }

    fn set(&mut self, name: Option<SettingName>, value: Option<&str>) -> Result<Exit, Failure> {
        let is_on = |value: &str| match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(Failure::usage("it is on or off")),
        };
        match (name, value) {
            (Some(SettingName::Output), Some(value)) => {
                self.style.form = [Form::Table, Form::Text, Form::Json]
                    .into_iter()
                    .find(|form| form.word() == value)
                    .ok_or_else(|| Failure::usage("output is table, text or json"))?;
                self.global.json = self.style.form == Form::Json;
            }
            (Some(SettingName::Hex), Some(value)) => {
                self.global.hex = is_on(value)?;
                self.style.hex = self.global.hex;
            }
            (Some(SettingName::Expiry), Some(value)) => self.style.expiry = is_on(value)?,
            (_, None) => {
                let word = |is_on: bool| if is_on { "on" } else { "off" };
                return write_out(|out| {
                    writeln!(out, "output  {}", self.style.form.word())?;
                    writeln!(out, "hex     {}", word(self.style.hex))?;
                    writeln!(out, "expiry  {}", word(self.style.expiry))
                });
            }
            (None, Some(_)) => {}
        }
        Ok(Exit::Fine)
    }
}

fn found(was_there: bool) -> Exit {
    if was_there { Exit::Fine } else { Exit::Finding }
}

fn help(command: Option<&str>) -> Result<Exit, Failure> {
    let mut line = Line::command();
    let text = match command {
        None => line.render_help(),
        Some(name) => {
            line.build();
            let command = line.find_subcommand_mut(name).ok_or_else(|| {
                Failure::usage(format!("there is no command {name:?}; `help` lists them"))
            })?;
            command.render_long_help()
        }
    };
    // The line has no program's name.
    let text = text.to_string().replace("Usage:  ", "Usage: ");
    write_out(|out| writeln!(out, "{}", text.trim_matches('\n')))
}
