//! Transactions of a client: commands that are kept, and run together.

use super::{Batch, Progress, State};
use crate::access::Denial;
use crate::commands::{self, Command, Flags};
use crate::failure::Failure;
use crate::protocol::{Arguments, ReplyWriter};
use crate::store::{Execution, View};

impl Batch<'_> {
    /// Keeps a command for `EXEC`.
    pub(super) fn queue(
        &mut self,
        command: &'static Command,
        arguments: Arguments<'_>,
        begin: usize,
    ) {
        let limit = self.server.limits().query_bytes_max();
        if let Some(queue) = &mut self.client.queue {
            if command.flags.has(Flags::NO_MULTI) {
                queue.is_broken = true;
                self.write(begin, |reply| {
                    reply.error("ERR Command not allowed inside a transaction");
                });
                return;
            }
            queue.bytes += arguments.bytes();
            if queue.bytes > limit {
                queue.is_broken = true;
                self.write(begin, |reply| {
                    reply.error("ERR the transaction is larger than a client's requests may be (limits.max_query_bytes)");
                });
                return;
            }
            queue.takes_writer |= command.takes_writer();
            queue.has_writes |= command.is_held_with_writes();
            queue.commands.push(arguments.into());
        }
        self.client.note_state();
        self.write(begin, |reply| reply.simple("QUEUED"));
    }

    /// `EXEC`: all commands of the queue, in the transaction of the batch.
    pub(super) fn run_queue(&mut self, state: &mut State<'_, '_>, begin: usize) -> Progress {
        let Some(queue) = &self.client.queue else {
            return Progress::Done;
        };
        if queue.is_broken {
            self.end_queue();
            self.write(begin, |reply| {
                reply.error("EXECABORT Transaction discarded because of previous errors.");
            });
            return Progress::Done;
        }
        let is_touched = match self.is_touched(state) {
            Ok(is_touched) => is_touched,
            Err(Failure::WouldRead) => return Progress::WouldRead,
            Err(failure) => return Progress::Broken(failure),
        };
        if is_touched {
            self.end_queue();
            self.write(begin, |reply| reply.null_array());
            return Progress::Done;
        }
        if state.written_bytes > 0 {
            // It begins a transaction of its own, so that it can be taken back whole.
            return Progress::Full;
        }
        if !self.enter_queue(state) {
            return Progress::Stale;
        }
        let Some(queue) = self.client.queue.take() else {
            return Progress::Done;
        };
        ReplyWriter::new(self.out, self.client.version).array(queue.commands.len());
        let may_read = state.may_read;
        for command in &queue.commands {
            let arguments = command.arguments();
            let mut progress = self.run_queued(state, arguments);
            if matches!(progress, Progress::WouldRead) {
                // What went before can't be done again: this one waits here.
                state.may_read = true;
                progress = tokio::task::block_in_place(|| self.run_queued(state, arguments));
                state.may_read = may_read;
            }
            if !matches!(progress, Progress::Done) {
                return self.abort_queue(progress);
            }
            if self.out.len() > self.server.limits().output_bytes_max() {
                return self.abort_queue(Progress::Broken(Failure::LONG_REPLY));
            }
        }
        self.end_queue();
        self.keep_reply(begin);
        Progress::Done
    }

    fn run_queued(&mut self, state: &mut State<'_, '_>, arguments: Arguments<'_>) -> Progress {
        let command = match commands::resolve(arguments) {
            Ok(command) => command,
            Err(failure) => return Progress::Broken(failure),
        };
        // The user's rules may be others than when it was queued.
        if let Err(denial) = self.server.check_access(self.client, command, arguments) {
            let reason = match denial {
                Denial::Command => "no permission to execute the command or subcommand",
                Denial::Key(_) => "no permission to touch the specified keys",
                Denial::Channel(_) => {
                    "no permission to access one of the channels used as arguments to the command"
                }
            };
            ReplyWriter::new(self.out, self.client.version).error(&format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {reason}"
            ));
            return Progress::Done;
        }
        let progress = self.run_command(state, command, arguments);
        if matches!(progress, Progress::Done) {
            self.note_reads(state, command, arguments);
        }
        progress
    }

    fn abort_queue(&mut self, stopped: Progress) -> Progress {
        self.end_queue();
        Progress::Broken(match stopped {
            Progress::Broken(failure) => failure,
            _ => Failure::reply(format!(
                "EXECABORT Transaction discarded: it changes more than {} bytes (database.lsm_memtable_size_mb decides)",
                self.server.store().limits().transaction_bytes
            )),
        })
    }

    fn is_touched(&mut self, state: &mut State<'_, '_>) -> Result<bool, Failure> {
        if self.client.watches.is_empty() {
            return Ok(false);
        }
        let store = self.server.store();
        let Some(transaction) = state.transaction.as_deref() else {
            return Ok(false);
        };
        let mut view = View::Write(transaction);
        let now_ms = self.clock.now_ms();
        let changes = &mut self.scratch.changes;
        let may_read = state.may_read;
        let mut execution =
            Execution::new(store, state.tables, &mut view, may_read, changes, now_ms);
        self.client
            .watches
            .is_touched(|database, key| execution.exists(database, key))
    }

    pub(super) fn end_queue(&mut self) {
        self.client.queue = None;
        self.server
            .store()
            .watches
            .unwatch(&mut self.client.watches);
        self.client.note_state();
    }
}
