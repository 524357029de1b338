//! What a client reads that keeps it: see [`crate::tracking`].

use super::{Batch, State};
use crate::commands::{self, Command, Flags};
use crate::protocol::Arguments;
use crate::tracking::Touch;

fn keys_of<'a>(command: &Command, arguments: Arguments<'a>) -> impl Iterator<Item = &'a [u8]> {
    let reads = command.flags.has(Flags::READONLY);
    let places = reads.then(|| command.key_places(arguments.len()));
    places
        .into_iter()
        .flatten()
        .map(move |place| arguments.at(place))
}

impl Batch<'_> {
    /// Enters the keys that a command is about to read from a snapshot; answers whether
    /// the snapshot will do.
    pub(super) fn enter_keys(
        &self,
        state: &State<'_, '_>,
        command: &Command,
        arguments: Arguments<'_>,
    ) -> bool {
        if state.transaction.is_some() || !self.client.tracks_reads() {
            return true;
        }
        let mut keys = keys_of(command, arguments).peekable();
        keys.peek().is_none()
            || self.server.tracking().enter(
                self.client.shared.id,
                keys,
                state.round,
                self.server.clients(),
                self.server.client_memory(),
            )
    }

    /// The same for all commands of a transaction, of which none may run twice.
    pub(super) fn enter_queue(&self, state: &State<'_, '_>) -> bool {
        if state.transaction.is_some() || !self.client.tracks_reads() {
            return true;
        }
        let commands = self.client.queue.iter().flat_map(|queue| &queue.commands);
        commands.into_iter().all(|queued| {
            let arguments = queued.arguments();
            commands::resolve(arguments)
                .is_ok_and(|command| self.enter_keys(state, command, arguments))
        })
    }

    /// Notes the keys that a command has read in a transaction: they are entered at the
    /// turn of its commit.
    pub(super) fn note_reads(
        &mut self,
        state: &State<'_, '_>,
        command: &Command,
        arguments: Arguments<'_>,
    ) {
        if state.transaction.is_some() && self.client.tracks_reads() {
            for key in keys_of(command, arguments) {
                self.scratch.announcement.touch(Touch::Read(key));
            }
        }
    }

    /// The next command is done: what `CLIENT CACHING` said counts no more, unless that was
    /// it, or a transaction is put together.
    pub(super) fn forget_caching(&mut self) {
        if self.client.is_caching && self.client.queue.is_none() {
            self.client.is_caching = self
                .command()
                .is_some_and(|command| command.name == "client");
        }
    }
}
