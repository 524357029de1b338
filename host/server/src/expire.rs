//! Removes keys soon after they have expired, so that counts don't tell of them for long.
//!
//! # Protocol
//! One task sleeps until the next key that is known expires ([`crate::store::Expiries`]),
//! and no shorter than a tenth of a second after the last time. What is due it deletes as
//! a client would: in a transaction, under the writer, after it has asked whether the key
//! has expired. Where there is no room for that, or the device refuses it, it tries again
//! later: nobody sees a key that has expired meanwhile. A pause holds it back, too; who
//! waited for its end comes first then.

use crate::announcements::{Announcement, Event};
use crate::failure::Failure;
use crate::server::Server;
use crate::store::now_ms;
use crate::tracking::Touch;
use lightning_db::{CommitAttempt, Table, Ticket, WriteTransaction};
use lightning_ops::configuration::EventClasses;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The least time between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// Keys of one transaction: others who write wait for it.
const KEYS_AT_ONCE: usize = 128;
/// How long it stays away where it could remove nothing.
const RETRY_MS: u64 = 1000;

/// Removes keys until it is dropped; one task of the service does.
pub async fn serve(server: Arc<Server>) {
    let expiries = &server.store().expiries;
    loop {
        match expiries.next_ms() {
            None => expiries.changed().await,
            Some(next_ms) => {
                let left = Duration::from_millis(next_ms.saturating_sub(now_ms()));
                tokio::select! {
                    () = tokio::time::sleep(left) => while remove(&server).await {},
                    () = expiries.changed() => {}
                }
            }
        }
        server.pause().ended().await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Removes some of what has expired; answers whether there may be more.
async fn remove(server: &Server) -> bool {
    let store = server.store();
    let (due, removed) = {
        let _writer = store.writer.lock().await;
        // Asked with the writer held: a pause that was answered holds from then on.
        if server.pause().held().is_some() {
            return false;
        }
        let due = store.expiries.take_due(now_ms(), KEYS_AT_ONCE);
        if due.is_empty() {
            return false;
        }
        let removed = tokio::task::block_in_place(|| delete(server, &due));
        (due, removed)
    };
    let outcome = match removed {
        Ok(Some((ticket, count))) => {
            let sequence = ticket.sequence();
            let outcome = store.acknowledgements.wait(ticket).await;
            server.tell_outcome(sequence, outcome.is_ok());
            outcome.map(|()| count).map_err(Failure::from)
        }
        Ok(None) => Ok(0),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(count) => {
            server.metrics().expired.fetch_add(count, Ordering::Relaxed);
            due.len() == KEYS_AT_ONCE
        }
        Err(failure) => {
            tracing::debug!(reason = %failure.log_words(), "keys that have expired stay for now");
            for (database, key) in due {
                store.expiries.note(database, &key, now_ms() + RETRY_MS);
            }
            false
        }
    }
}

/// Deletes those of the keys that have expired; answers with how many they were.
fn delete(server: &Server, due: &[(usize, Arc<[u8]>)]) -> Result<Option<(Ticket, u64)>, Failure> {
    let store = server.store();
    let tables = store.tables();
    let mut transaction = store.database().begin_write()?;
    let tells = server.announcements().classes().has(EventClasses::EXPIRED);
    let mut announcement = Announcement::default();
    let mut count = 0;
    for (database, key) in due {
        let Some(table) = tables.get(*database) else {
            continue;
        };
        match expiry_of(&transaction, table, key)? {
            Found::Nothing => {
                transaction.delete(table, key)?;
                count += 1;
                if server.tracking().is_on() {
                    announcement.touch(Touch::Changed(key));
                }
                if tells {
                    announcement.add(Event {
                        class: EventClasses::EXPIRED,
                        name: "expired",
                        database: *database,
                        key,
                    });
                }
            }
            Found::Until(expiry_ms) => store.expiries.note(*database, key, expiry_ms),
            Found::Endless => {}
        }
    }
    if count == 0 {
        return Ok(None);
    }
    match transaction.try_commit_async()? {
        CommitAttempt::Committed(ticket) => {
            server.announce(ticket.sequence(), announcement);
            Ok(Some((ticket, count)))
        }
        CommitAttempt::Later(_) => Err(Failure::reply("ERR no room just now")),
    }
}

/// What became of a key that was to expire.
enum Found {
    /// Nobody sees it any more.
    Nothing,
    /// It expires later.
    Until(u64),
    /// It doesn't.
    Endless,
}

fn expiry_of(transaction: &WriteTransaction, table: &Table, key: &[u8]) -> Result<Found, Failure> {
    let found = transaction.get(table, key)?;
    Ok(match found.map(|value| value.expiry_ms()) {
        None => Found::Nothing,
        Some(None) => Found::Endless,
        Some(Some(expiry_ms)) => Found::Until(expiry_ms),
    })
}
