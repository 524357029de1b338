//! Running what a client has sent: see [`crate::store`] for the protocol of a batch.
//!
//! [`run`] takes all whole commands of a parser and appends their replies to `out`. It is
//! the only place that knows of transactions of the database: it begins them, applies
//! what commands want changed, commits, and waits.

mod ahead;
mod clock;
mod commit;
mod queue;
mod reads;
mod writing;

use crate::announcements::Announcement;
use crate::client::{Client, ReplyMode};
use crate::commands::{self, Call, Command, Flags, Operation};
use crate::failure::Failure;
use crate::observe::Tally;
use crate::pause::Held;
use crate::protocol::{Arguments, ReplyWriter, RequestParser};
use crate::server::Server;
use crate::store::{Changes, Execution, View};
use clock::Clock;
use lightning_db::{ReadTransaction, Table, WriteTransaction};
use lightning_ops::configuration::EventClasses;

/// Replies that stand in memory before they are sent on, in bytes: a pipeline goes on
/// when its client has taken them.
const REPLY_BYTES_SOFT: usize = 256 * 1024;

/// How far a run of commands came.
enum Progress {
    /// As far as it was to go.
    Done,
    /// To a command that has to read from the device.
    WouldRead,
    /// To a command that doesn't fit into the transaction behind the others.
    Full,
    /// To a command that a pause holds back.
    Held,
    /// To a command that needs a newer snapshot.
    Stale,
    /// A change was refused half way: nothing of the transaction may be committed.
    Broken(Failure),
}

/// What is used again from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    changes: Changes,
    /// Events that are told when what the batch has written is durable.
    announcement: Announcement,
    /// Operations of the batch, whose time is known when they are durable.
    operations: Vec<Operation>,
}

/// The commands of one client.
struct Batch<'b> {
    server: &'b Server,
    client: &'b mut Client,
    parser: &'b RequestParser,
    buffer: &'b [u8],
    out: &'b mut Vec<u8>,
    scratch: &'b mut Scratch,
    clock: Clock,
    tally: Tally<'b>,
    /// The next command.
    index: usize,
    end: usize,
    /// A command that was looked up by its name, and its number.
    found: Option<(usize, Option<&'static Command>)>,
    /// A pause holds the next command back.
    is_held: bool,
}

/// How far [`run`] came.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// The number of the first command that was not run.
    pub next: usize,
    /// A pause holds it back.
    pub is_held: bool,
}

/// Runs the commands from `first` on that are whole, and answers how far that came: the
/// caller sends the replies and goes on there.
pub async fn run(
    server: &Server,
    client: &mut Client,
    parser: &RequestParser,
    buffer: &[u8],
    first: usize,
    out: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Ran {
    let mut batch = Batch {
        server,
        client,
        parser,
        buffer,
        out,
        scratch,
        clock: Clock::new(),
        tally: Tally::new(server.metrics()),
        index: first,
        end: parser.commands(),
        found: None,
        is_held: false,
    };
    while batch.index < batch.end
        && batch.out.len() < REPLY_BYTES_SOFT
        && !batch.client.is_leaving
        && !batch.is_held
        && !batch
            .client
            .shared
            .is_killed
            .load(std::sync::atomic::Ordering::Relaxed)
    {
        if batch.writes() {
            batch.run_writing().await;
        } else {
            batch.run_reading().await;
        }
    }
    Ran {
        next: batch.index,
        is_held: batch.is_held,
    }
}

impl<'b> Batch<'b> {
    fn arguments(&self, index: usize) -> Arguments<'b> {
        self.parser.arguments(self.buffer, index)
    }

    /// The command that the next one's name is of.
    fn command(&mut self) -> Option<&'static Command> {
        match self.found {
            Some((index, command)) if index == self.index => command,
            _ => {
                let command = commands::find(self.arguments(self.index).at(0));
                self.found = Some((self.index, command));
                command
            }
        }
    }

    /// Whether the next command needs the writer: it changes the keyspace, say, or watches
    /// it.
    fn writes(&mut self) -> bool {
        let Some(command) = self.command() else {
            return false;
        };
        match &self.client.queue {
            None if command.subcommands.is_empty() => command.takes_writer(),
            None => commands::named(self.arguments(self.index)).is_some_and(Command::takes_writer),
            Some(queue) => {
                command.name == "exec" && (queue.takes_writer || !self.client.watches.is_empty())
            }
        }
    }

    /// Commands that only read, up to the first that doesn't.
    async fn run_reading(&mut self) {
        let tables = self.server.store().tables();
        self.listen();
        let mut may_read = false;
        loop {
            // Before the snapshot is taken: see the module `tracking`.
            let round = self.server.tracking().round();
            let transaction = match self.server.store().database().begin_read() {
                Ok(transaction) => transaction,
                Err(error) => return self.refuse(Failure::from(error)),
            };
            let mut reading = Reading {
                transaction: &transaction,
                tables: &tables,
                round,
            };
            loop {
                let progress = if may_read {
                    let _permit = self.server.device_readers().acquire().await;
                    // Their replies are known to nobody yet.
                    self.server.client_memory().wait().await;
                    tokio::task::block_in_place(|| self.run_reads(&mut reading, true))
                } else {
                    self.run_reads(&mut reading, false)
                };
                match progress {
                    Progress::Stale => break,
                    Progress::WouldRead => may_read = true,
                    Progress::Done => return,
                    Progress::Held => {
                        self.is_held = true;
                        return;
                    }
                    Progress::Full => return self.refuse(Failure::WouldRead),
                    Progress::Broken(failure) => return self.refuse(failure),
                }
            }
        }
    }

    /// Takes note of the events that are told.
    fn listen(&mut self) {
        let classes = self.server.announcements().classes();
        self.scratch.changes.set_classes(classes);
    }

    /// One command where it may read from the device, else as many as don't have to.
    fn run_reads(&mut self, reading: &mut Reading<'_>, may_read: bool) -> Progress {
        let mut state = State {
            view: Some(View::Read {
                transaction: reading.transaction,
                last: None,
            }),
            transaction: None,
            tables: reading.tables,
            round: reading.round,
            written_bytes: 0,
            may_read,
        };
        let mut ahead = self.index;
        while self.index < self.end && self.out.len() < REPLY_BYTES_SOFT {
            if self.writes() || self.client.is_leaving {
                break;
            }
            if !may_read && self.is_slow() {
                return Progress::WouldRead;
            }
            if !may_read && self.index >= ahead {
                ahead = self.look_ahead(&mut state);
            }
            match self.run_one(&mut state, self.arguments(self.index)) {
                Progress::Done => self.forget_caching(),
                stopped => return stopped,
            }
            self.index += 1;
            if may_read {
                break;
            }
        }
        Progress::Done
    }

    /// Whether the next command may look at a whole database.
    fn is_slow(&mut self) -> bool {
        let is_slow = |command: &Command| command.flags.has(Flags::SLOW_HERE);
        self.client.queue.is_none() && self.command().is_some_and(is_slow)
    }

    /// One command with its reply. Where it stops short, nothing of it was done.
    fn run_one(&mut self, state: &mut State<'_, '_>, arguments: Arguments<'b>) -> Progress {
        self.scratch.changes.reset();
        let begin = self.out.len();
        let resolved = commands::resolve_found(self.command(), arguments);
        let command = match resolved {
            Ok(command) => command,
            Err(failure) => {
                self.server.note_refusal(arguments, &failure);
                let mut message = failure.message();
                if arguments.at(0).eq_ignore_ascii_case(b"exec") {
                    // The transaction ends all the same, where there is one.
                    let reason = message.strip_prefix("ERR ").unwrap_or_default();
                    message =
                        format!("EXECABORT Transaction discarded because of: {reason}").into();
                    self.end_queue();
                } else if let Some(queue) = &mut self.client.queue {
                    queue.is_broken = true;
                }
                self.write(begin, |reply| reply.error(&message));
                return Progress::Done;
            }
        };
        self.client.note_command(command.name);
        if let Err(failure) = self.server.may_run(self.client, command, arguments) {
            if let Some(queue) = &mut self.client.queue {
                queue.is_broken = true;
            }
            self.server.note_refusal(arguments, &failure);
            self.write(begin, |reply| reply.error(&failure.message()));
            return Progress::Done;
        }
        if self.is_held_back(command) {
            return Progress::Held;
        }
        let is_queued = self.client.queue.is_some()
            && !matches!(
                command.name,
                "discard" | "multi" | "watch" | "quit" | "reset"
            );
        if is_queued && command.name == "exec" {
            let started = self.clock.last();
            let progress = self.run_queue(state, begin);
            if matches!(progress, Progress::Done) {
                let took = self.clock.last().duration_since(started);
                self.tally.note(command, took, false);
                self.server
                    .note_command(self.client, command, arguments, took);
            }
            return progress;
        }
        if is_queued {
            self.queue(command, arguments, begin);
            return Progress::Done;
        }
        if !self.enter_keys(state, command, arguments) {
            return Progress::Stale;
        }
        let progress = self.run_command(state, command, arguments);
        if matches!(progress, Progress::Done) {
            self.note_reads(state, command, arguments);
            let is_pushed = command.flags.has(Flags::PUSHES);
            self.keep_reply(if is_pushed { self.out.len() } else { begin });
        }
        progress
    }

    /// Whether a pause holds the command back.
    fn is_held_back(&self, command: &Command) -> bool {
        match self.server.pause().held() {
            None => false,
            Some(Held::All) => true,
            Some(Held::Writes) => {
                let queue = self.client.queue.as_ref();
                let has_writes = queue.is_some_and(|queue| queue.has_writes);
                command.is_held_with_writes() || command.name == "exec" && has_writes
            }
        }
    }

    fn run_command(
        &mut self,
        state: &mut State<'_, '_>,
        command: &'static Command,
        arguments: Arguments<'_>,
    ) -> Progress {
        let begin = self.out.len();
        self.tally.prepare(command);
        let outcome = self.call(state, command, arguments);
        let failed = match outcome {
            Ok(()) => {
                match self.apply(state) {
                    Progress::Done => {}
                    stopped => {
                        self.out.truncate(begin);
                        return stopped;
                    }
                }
                false
            }
            Err(Failure::WouldRead) => {
                self.server.metrics().note_miss();
                self.out.truncate(begin);
                return Progress::WouldRead;
            }
            Err(failure) => {
                self.out.truncate(begin);
                self.server.note_failure(&failure);
                let message = failure.message();
                ReplyWriter::new(self.out, self.client.version).error(&message);
                true
            }
        };
        let took = self.clock.lap();
        self.tally.note(command, took, failed);
        self.server
            .note_command(self.client, command, arguments, took);
        match command.operation() {
            Some(operation) if state.transaction.is_none() => {
                self.server.metrics().note_operation(operation, took);
            }
            Some(operation) => self.scratch.operations.push(operation),
            None => {}
        }
        Progress::Done
    }

    /// Calls the handler; what it wants changed stands in the scratch.
    fn call(
        &mut self,
        state: &mut State<'_, '_>,
        command: &Command,
        arguments: Arguments<'_>,
    ) -> commands::Outcome {
        self.scratch.changes.reset();
        let (tables, may_read) = (state.tables, state.may_read);
        match (state.transaction.as_deref(), &mut state.view) {
            (Some(transaction), _) => {
                let mut view = View::Write(transaction);
                self.handle(&mut view, tables, may_read, command, arguments)
            }
            (None, Some(view)) => self.handle(view, tables, may_read, command, arguments),
            (None, None) => Ok(()),
        }
    }

    fn handle(
        &mut self,
        view: &mut View<'_>,
        tables: &[Table],
        may_read: bool,
        command: &Command,
        arguments: Arguments<'_>,
    ) -> commands::Outcome {
        let store = self.server.store();
        let now_ms = self.clock.now_ms();
        let changes = &mut self.scratch.changes;
        let version = self.client.version;
        let mut execution =
            Execution::new(store, tables, &mut *view, may_read, &mut *changes, now_ms);
        if command.tells_misses() {
            execution.tell_misses();
        }
        (command.run)(&mut Call {
            server: self.server,
            client: self.client,
            store: &mut execution,
            arguments,
            reply: &mut ReplyWriter::new(self.out, version),
        })?;
        if changes.tells(EventClasses::NEW) {
            Execution::new(store, tables, view, may_read, changes, now_ms).mark_new()?;
        }
        Ok(())
    }

    /// Writes what the last command wanted changed into the transaction.
    fn apply(&mut self, state: &mut State<'_, '_>) -> Progress {
        let is_tracked = self.server.tracking().is_on();
        let changes = &self.scratch.changes;
        if changes.is_empty() {
            self.scratch.announcement.gather(changes, is_tracked);
            if state.transaction.is_none() {
                self.tell_now();
            }
            return Progress::Done;
        }
        let Some(transaction) = state.transaction.as_deref_mut() else {
            return Progress::Broken(Failure::reply(
                "ERR a command that only reads wanted to change something: a defect in Lightning DB",
            ));
        };
        let store = self.server.store();
        if !state.may_read && store.has_long(changes) {
            // It is written to the device at once.
            return Progress::WouldRead;
        }
        if state.written_bytes > 0 && !store.fits(state.written_bytes, changes) {
            return Progress::Full;
        }
        if let Err(failure) = store.apply(transaction, state.tables, changes) {
            return Progress::Broken(failure);
        }
        state.written_bytes += store.bytes_of(changes);
        self.scratch.announcement.gather(changes, is_tracked);
        Progress::Done
    }

    /// Tells the events of a command that has changed nothing.
    fn tell_now(&mut self) {
        let announcement = &mut self.scratch.announcement;
        if !announcement.is_empty() {
            let announcements = self.server.announcements();
            announcements.publish(announcement, self.server.clients());
            announcement.clear();
        }
    }

    /// Takes back what was written since `begin` and writes a reply instead.
    fn write(&mut self, begin: usize, write: impl FnOnce(&mut ReplyWriter<'_>)) {
        self.out.truncate(begin);
        write(&mut ReplyWriter::new(self.out, self.client.version));
        self.keep_reply(begin);
    }

    /// Takes a reply back that the client doesn't want.
    fn keep_reply(&mut self, begin: usize) {
        match self.client.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off => self.out.truncate(begin),
            ReplyMode::SkipNext => {
                self.out.truncate(begin);
                self.client.reply_mode = ReplyMode::Skip;
            }
            ReplyMode::Skip => {
                self.out.truncate(begin);
                self.client.reply_mode = ReplyMode::On;
            }
        }
    }

    /// Refuses the next command, since no transaction could be had for it.
    fn refuse(&mut self, failure: Failure) {
        self.server.note_failure(&failure);
        let begin = self.out.len();
        self.write(begin, |reply| reply.error(&failure.message()));
        self.index += 1;
    }
}

struct Reading<'t> {
    transaction: &'t ReadTransaction,
    tables: &'t [Table],
    /// The round of tracking before the snapshot was taken.
    round: u64,
}

/// What a command reads and writes.
struct State<'s, 't> {
    /// Where it only reads.
    view: Option<View<'t>>,
    /// Where it may write.
    transaction: Option<&'s mut WriteTransaction>,
    tables: &'t [Table],
    /// The round of tracking before the snapshot was taken, where it only reads.
    round: u64,
    written_bytes: usize,
    may_read: bool,
}
