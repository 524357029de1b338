//! The commit of a batch that wrote.

use super::writing::Writing;
use crate::failure::Failure;
use lightning_db::{CommitAttempt, Table, Ticket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Commits, waiting for room where there is none, but no longer than until `limit` has
/// passed since `started`.
pub(super) async fn commit(
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
