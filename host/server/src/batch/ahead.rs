//! Looking ahead in a pipeline: the lookups of several commands wait for memory together.

use super::{Batch, State};
use crate::commands::{self, Flags};
use crate::store::AHEAD_KEYS_MAX;

impl Batch<'_> {
    /// Asks for the memory that the next commands are about to wait for, as long as they
    /// only read. Those that read several keys do it themselves. Answers the first
    /// command that it didn't look at, which isn't the next one.
    pub(super) fn look_ahead(&self, state: &mut State<'_, '_>) -> usize {
        let mut next = self.index;
        let mut keys: [&[u8]; AHEAD_KEYS_MAX] = [&[]; AHEAD_KEYS_MAX];
        let mut count = 0;
        while next < self.end && count < keys.len() && self.client.queue.is_none() {
            let arguments = self.arguments(next);
            let command = commands::find(arguments.at(0));
            let Some(command) = command.filter(|command| command.flags.has(Flags::READONLY)) else {
                break;
            };
            let mut places = command.key_places(arguments.len());
            if let (Some(place), None) = (places.next(), places.next()) {
                keys[count] = arguments.at(place);
                count += 1;
            }
            next += 1;
        }
        // A lookup by itself waits no shorter.
        if count > 1
            && let Some(view) = &mut state.view
        {
            let keys = keys[..count].iter().copied();
            view.prefetch(state.tables, self.client.database, keys);
        }
        next.max(self.index + 1)
    }
}
