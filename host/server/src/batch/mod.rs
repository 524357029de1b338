//! Running what a client has sent: see [`crate::store`] for the protocol of a batch.
//!
//! [`run`] takes all whole commands of a parser and appends their replies to `out`. It is
//! the only place that knows of transactions of the database: it begins them, applies
//! what commands want changed, commits, and waits.

mod queue;

use crate::client::{Client, ReplyMode};
use crate::commands::{self, Call, Command, Flags, Operation};
use crate::failure::Failure;
use crate::protocol::{Arguments, ReplyWriter, RequestParser};
use crate::server::Server;
use crate::store::{Change, Changes, Execution, View};
use lightning_db::{CommitAttempt, ReadTransaction, Table, Ticket, WriteTransaction};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// A change was refused half way: nothing of the transaction may be committed.
    Broken(Failure),
}

/// What is used again from batch to batch.
#[derive(Debug, Default)]
pub struct Scratch {
    changes: Changes,
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
    /// The next command.
    index: usize,
    end: usize,
}

/// Runs the commands from `first` on that are whole, and answers the number of the first
/// that was not run: the caller sends the replies and goes on there.
pub async fn run(
    server: &Server,
    client: &mut Client,
    parser: &RequestParser,
    buffer: &[u8],
    first: usize,
    out: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> usize {
    let mut batch = Batch {
        server,
        client,
        parser,
        buffer,
        out,
        scratch,
        index: first,
        end: parser.commands(),
    };
    while batch.index < batch.end
        && batch.out.len() < REPLY_BYTES_SOFT
        && !batch.client.is_leaving
        && !batch
            .client
            .shared
            .is_killed
            .load(std::sync::atomic::Ordering::Relaxed)
    {
        if batch.writes(batch.index) {
            batch.run_writing().await;
        } else {
            batch.run_reading();
        }
    }
    batch.index
}

impl<'b> Batch<'b> {
    fn arguments(&self, index: usize) -> Arguments<'b> {
        self.parser.arguments(self.buffer, index)
    }

    /// Whether a command needs the writer: it changes the keyspace, or watches it.
    fn writes(&self, index: usize) -> bool {
        let name = self.arguments(index).at(0);
        let Some(command) = commands::find(name) else {
            return false;
        };
        match &self.client.queue {
            None => command.is_write() || command.name == "watch",
            Some(queue) => {
                command.name == "exec" && (queue.has_writes || !self.client.watches.is_empty())
            }
        }
    }

    /// Commands that only read, up to the first that doesn't.
    fn run_reading(&mut self) {
        let transaction = match self.server.store().database().begin_read() {
            Ok(transaction) => transaction,
            Err(error) => return self.refuse(Failure::from(error)),
        };
        let tables = self.server.store().tables();
        let mut may_read = false;
        loop {
            let mut reading = Reading {
                transaction: &transaction,
                tables: &tables,
            };
            let progress = if may_read {
                tokio::task::block_in_place(|| self.run_reads(&mut reading, true))
            } else {
                self.run_reads(&mut reading, false)
            };
            match progress {
                Progress::WouldRead => may_read = true,
                Progress::Done => return,
                Progress::Full => return self.refuse(Failure::WouldRead),
                Progress::Broken(failure) => return self.refuse(failure),
            }
        }
    }

    /// One command where it may read from the device, else as many as don't have to.
    fn run_reads(&mut self, reading: &mut Reading<'_>, may_read: bool) -> Progress {
        let mut last = None;
        while self.index < self.end && self.out.len() < REPLY_BYTES_SOFT {
            if self.writes(self.index) || self.client.is_leaving {
                break;
            }
            let arguments = self.arguments(self.index);
            if !may_read && self.is_slow(arguments) {
                return Progress::WouldRead;
            }
            let view = View::Read {
                transaction: reading.transaction,
                last: last.take(),
            };
            let mut state = State {
                view: Some(view),
                transaction: None,
                tables: reading.tables,
                written_bytes: 0,
                may_read,
            };
            match self.run_one(&mut state, arguments) {
                Progress::Done => {}
                stopped => return stopped,
            }
            if let Some(View::Read { last: kept, .. }) = state.view {
                last = kept;
            }
            self.index += 1;
            if may_read {
                break;
            }
        }
        Progress::Done
    }

    /// Commands from one that writes on, in one transaction.
    async fn run_writing(&mut self) {
        let server = self.server;
        let first = self.index;
        let begin = self.out.len();
        let started = Instant::now();
        let limit = server.request_timeout();
        let Ok(writer) = tokio::time::timeout(limit, server.store().writer.lock()).await else {
            return self.refuse(Failure::reply(
                "ERR timed out while other clients' writes were under way (limits.request_timeout_sec); nothing was changed",
            ));
        };
        let tables = server.store().tables();
        let transaction = match server.store().database().begin_write() {
            Ok(transaction) => transaction,
            Err(error) => return self.refuse(Failure::from(error)),
        };
        let mut writing = Writing {
            first,
            transaction,
            tables: Arc::clone(&tables),
            written_bytes: 0,
            swapped: None,
        };
        let mut may_read = false;
        let progress = loop {
            let progress = if may_read {
                tokio::task::block_in_place(|| self.run_writes(&mut writing, true))
            } else {
                self.run_writes(&mut writing, false)
            };
            match progress {
                Progress::WouldRead => may_read = true,
                stopped => break stopped,
            }
        };
        if let Progress::Broken(failure) = progress {
            drop(writing);
            drop(writer);
            self.server
                .store()
                .watches
                .unwatch(&mut self.client.watches);
            return self.replace_replies(first, begin, &failure);
        }
        let committed = commit(writing, started, limit, |swapped| {
            server.store().set_tables(swapped);
        })
        .await;
        drop(writer);
        let outcome = match committed {
            Ok(ticket) => ticket.await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => self.observe(started.elapsed()),
            Err(failure) => {
                self.scratch.operations.clear();
                self.replace_replies(first, begin, &failure);
            }
        }
    }

    fn run_writes(&mut self, writing: &mut Writing, may_read: bool) -> Progress {
        let commands_max = self.server.write_batch_commands_max();
        while self.index < self.end && self.out.len() < REPLY_BYTES_SOFT {
            if self.client.is_leaving || self.index - writing.first >= commands_max {
                break;
            }
            let arguments = self.arguments(self.index);
            if !may_read && self.is_slow(arguments) {
                return Progress::WouldRead;
            }
            let tables = Arc::clone(writing.swapped.as_ref().unwrap_or(&writing.tables));
            let mut state = State {
                view: None,
                transaction: Some(&mut writing.transaction),
                tables: &tables,
                written_bytes: writing.written_bytes,
                may_read,
            };
            match self.run_one(&mut state, arguments) {
                Progress::Done => {}
                stopped => return stopped,
            }
            writing.written_bytes = state.written_bytes;
            for change in self.scratch.changes.iter() {
                if let Change::Swap { first, second } = change {
                    let mut swapped = tables.to_vec();
                    swapped.swap(first, second);
                    writing.swapped = Some(swapped.into());
                }
            }
            self.index += 1;
            if may_read || writing.swapped.is_some() {
                // What comes next may be quick again; and behind a swap the numbers
                // are others for everybody.
                break;
            }
        }
        Progress::Done
    }

    fn is_slow(&self, arguments: Arguments<'_>) -> bool {
        let is_slow = |command: &Command| command.flags.has(Flags::SLOW_HERE);
        self.client.queue.is_none() && commands::find(arguments.at(0)).is_some_and(is_slow)
    }

    /// One command with its reply. Where it stops short, nothing of it was done.
    fn run_one(&mut self, state: &mut State<'_, '_>, arguments: Arguments<'b>) -> Progress {
        self.scratch.changes.reset();
        let begin = self.out.len();
        let resolved = commands::resolve(arguments);
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
        self.client.shared.labels().last_command = command.name;
        if let Err(failure) = self.server.may_run(self.client, command, arguments) {
            if let Some(queue) = &mut self.client.queue {
                queue.is_broken = true;
            }
            self.server.note_refusal(arguments, &failure);
            self.write(begin, |reply| reply.error(&failure.message()));
            return Progress::Done;
        }
        let is_queued = self.client.queue.is_some()
            && !matches!(
                command.name,
                "discard" | "multi" | "watch" | "quit" | "reset"
            );
        if is_queued && command.name == "exec" {
            let started = Instant::now();
            let progress = self.run_queue(state, begin);
            if matches!(progress, Progress::Done) {
                let took = started.elapsed();
                self.server
                    .note_command(self.client, command, arguments, took, false);
            }
            return progress;
        }
        if is_queued {
            self.queue(command, arguments, begin);
            return Progress::Done;
        }
        let progress = self.run_command(state, command, arguments);
        if matches!(progress, Progress::Done) {
            let is_pushed = command.flags.has(Flags::PUSHES);
            self.keep_reply(if is_pushed { self.out.len() } else { begin });
        }
        progress
    }

    fn run_command(
        &mut self,
        state: &mut State<'_, '_>,
        command: &'static Command,
        arguments: Arguments<'_>,
    ) -> Progress {
        let begin = self.out.len();
        let started = Instant::now();
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
        let took = started.elapsed();
        self.server
            .note_command(self.client, command, arguments, took, failed);
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
        let changes = &mut self.scratch.changes;
        let version = self.client.version;
        (command.run)(&mut Call {
            server: self.server,
            client: self.client,
            store: &mut Execution::new(store, tables, view, may_read, changes),
            arguments,
            reply: &mut ReplyWriter::new(self.out, version),
        })
    }

    /// Writes what the last command wanted changed into the transaction.
    fn apply(&mut self, state: &mut State<'_, '_>) -> Progress {
        let changes = &self.scratch.changes;
        if changes.is_empty() {
            return Progress::Done;
        }
        let Some(transaction) = state.transaction.as_deref_mut() else {
            return Progress::Broken(Failure::reply(
                "ERR a command that only reads wanted to change something: a defect in Lightning DB",
            ));
        };
        let store = self.server.store();
        if state.written_bytes > 0 && !store.fits(state.written_bytes, changes) {
            return Progress::Full;
        }
        if let Err(failure) = store.apply(transaction, state.tables, changes) {
            return Progress::Broken(failure);
        }
        state.written_bytes += store.bytes_of(changes);
        Progress::Done
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

    /// Nothing of a batch was done, or nobody knows: all its commands are told so, and
    /// so is the one at which it stopped.
    fn replace_replies(&mut self, first: usize, begin: usize, failure: &Failure) {
        self.server.note_failure(failure);
        if self.index == first {
            self.index += 1;
        }
        self.out.truncate(begin);
        for _ in first..self.index {
            let begin = self.out.len();
            self.write(begin, |reply| reply.error(&failure.message()));
        }
    }

    /// Notes how long the writes of a batch took, until they were durable.
    fn observe(&mut self, took: Duration) {
        self.server.observations().note_event("commit", took);
        for operation in self.scratch.operations.drain(..) {
            self.server.metrics().note_operation(operation, took);
        }
    }
}

struct Reading<'t> {
    transaction: &'t ReadTransaction,
    tables: &'t [Table],
}

struct Writing {
    /// The first command of the batch.
    first: usize,
    transaction: WriteTransaction,
    tables: Arc<[Table]>,
    written_bytes: usize,
    /// The tables by number as they are behind a swap, once it is committed.
    swapped: Option<Arc<[Table]>>,
}

/// What a command reads and writes.
struct State<'s, 't> {
    /// Where it only reads.
    view: Option<View<'t>>,
    /// Where it may write.
    transaction: Option<&'s mut WriteTransaction>,
    tables: &'t [Table],
    written_bytes: usize,
    may_read: bool,
}

/// Commits, waiting for room where there is none, but no longer than until `limit` has
/// passed since `started`.
async fn commit(
    mut writing: Writing,
    started: Instant,
    limit: Duration,
    set_tables: impl FnOnce(Arc<[Table]>),
) -> Result<Ticket, Failure> {
    loop {
        match writing.transaction.try_commit_async()? {
            CommitAttempt::Committed(ticket) => {
                if let Some(swapped) = writing.swapped {
                    set_tables(swapped);
                }
                return Ok(ticket);
            }
            CommitAttempt::Later(wait) if started.elapsed() + wait < limit => {
                tokio::time::sleep(wait).await;
            }
            CommitAttempt::Later(_) => {
                return Err(Failure::reply(
                    "MISCONF no room in memory or log for as long as a request may take (limits.request_timeout_sec); nothing was changed. See lightning-cli health for what holds it up",
                ));
            }
        }
    }
}
