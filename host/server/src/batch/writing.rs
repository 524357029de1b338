//! A part of a batch that writes: one transaction, from the writer to durability.

use super::commit::commit;
use super::{Batch, Progress, REPLY_BYTES_SOFT, State};
use crate::commands;
use crate::failure::Failure;
use crate::logging::CommitTimes;
use crate::store::Change;
use lightning_db::{Table, WriteTransaction};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The transaction of some commands.
pub(super) struct Writing {
    /// The first command.
    first: usize,
    pub(super) transaction: WriteTransaction,
    tables: Arc<[Table]>,
    written_bytes: usize,
    /// The tables by number as they are behind a swap, once it is committed.
    pub(super) swapped: Option<Arc<[Table]>>,
}

impl Batch<'_> {
    /// Commands from one that writes on, in one transaction.
    pub(super) async fn run_writing(&mut self) {
        let server = self.server;
        let first = self.index;
        let begin = self.out.len();
        let started = self.clock.last();
        let limit = server.limits().request_timeout().unwrap_or(Duration::MAX);
        let lock = &server.store().writer;
        let writer = match lock.try_lock() {
            Ok(writer) => writer,
            Err(_) => match tokio::time::timeout(limit, lock.lock()).await {
                Ok(writer) => writer,
                Err(_) => {
                    return self.refuse(Failure::reply(
                        "ERR timed out while other clients' writes were under way (limits.request_timeout_sec); nothing was changed",
                    ));
                }
            },
        };
        // What was waited for is no part of the commands' times.
        let writer_wait = self.clock.lap();
        self.listen();
        self.scratch.announcement.set_client(self.client.shared.id);
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
        if matches!(progress, Progress::Held) {
            self.is_held = true;
            if self.index == first {
                return;
            }
        }
        let announcement = std::mem::take(&mut self.scratch.announcement);
        if let Progress::Broken(failure) = progress {
            drop(writing);
            drop(writer);
            self.server
                .store()
                .watches
                .unwatch(&mut self.client.watches);
            return self.replace_replies(first, begin, &failure);
        }
        self.tally.tell();
        let committed = commit(writing, started, limit, |swapped| {
            server.store().set_tables(swapped);
        })
        .await;
        // Long values are not kept until the client's next command.
        self.scratch.changes.reset();
        if let Ok(ticket) = &committed {
            server.announce(ticket.sequence(), announcement);
        }
        drop(writer);
        let outcome = match committed {
            Ok(ticket) => {
                let acknowledgements = &server.store().acknowledgements;
                let sequence = ticket.sequence();
                let outcome = acknowledgements.wait(ticket).await;
                server.tell_outcome(sequence, outcome.is_ok());
                outcome.map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => self.observe(first, writer_wait, started),
            Err(failure) => {
                self.scratch.operations.clear();
                self.replace_replies(first, begin, &failure);
            }
        }
    }

    fn run_writes(&mut self, writing: &mut Writing, may_read: bool) -> Progress {
        let commands_max = self.server.limits().write_batch_commands_max();
        // Behind a swap, which gives the numbers to other tables, nothing more is run.
        let tables = Arc::clone(&writing.tables);
        while self.index < self.end && self.out.len() < REPLY_BYTES_SOFT {
            if self.client.is_leaving || self.index - writing.first >= commands_max {
                break;
            }
            if !may_read && self.is_slow() {
                return Progress::WouldRead;
            }
            let mut state = State {
                view: None,
                transaction: Some(&mut writing.transaction),
                tables: &tables,
                round: 0,
                written_bytes: writing.written_bytes,
                may_read,
            };
            match self.run_one(&mut state, self.arguments(self.index)) {
                Progress::Done => self.forget_caching(),
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

    /// Notes how long the writes of a batch that began with command `first` took, until
    /// they were durable.
    fn observe(&mut self, first: usize, writer_wait: Duration, started: Instant) {
        let durable_wait = self.clock.last().elapsed();
        let took = started.elapsed();
        self.server.observations().note_event("commit", took);
        let command = commands::find(self.arguments(first).at(0));
        self.server.slow_lines().note_commit(
            self.client,
            command.map_or("", |command| command.name),
            self.index - first,
            &CommitTimes {
                took,
                writer_wait,
                durable_wait,
            },
        );
        for operation in self.scratch.operations.drain(..) {
            self.server.metrics().note_operation(operation, took);
        }
    }
}
