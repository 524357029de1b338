//! Lightning DB: an embedded, ordered, transactional key-value database.
//!
//! A database is a directory with any number of named tables. A table maps keys
//! to values, both bytes, ordered by key; [`TypedTable`] puts types over them.
//!
//! ```
//! use lightning_db::Database;
//!
//! # let directory = std::env::temp_dir().join("lightning-doc-first");
//! # std::fs::remove_dir_all(&directory).ok();
//! let database = Database::open(&directory)?;
//! let users = database.table("users")?;
//!
//! // One change, durable when the call returns.
//! database.put(&users, b"ada", b"1815")?;
//! assert_eq!(&*database.get(&users, b"ada")?.unwrap(), b"1815");
//!
//! // Many changes, together or not at all.
//! let mut write = database.begin_write()?;
//! write.put(&users, b"grace", b"1906")?;
//! write.delete(&users, b"ada")?;
//! write.commit()?;
//!
//! // A view that doesn't change, however long it is read.
//! let read = database.begin_read()?;
//! for entry in read.open(&users)?.iter()? {
//!     let (name, born) = entry?;
//!     println!("{} {}", name.escape_ascii(), born.escape_ascii());
//! }
//! # drop(read);
//! # drop(database);
//! # std::fs::remove_dir_all(&directory).ok();
//! # Ok::<(), lightning_db::Error>(())
//! ```
//!
//! # Typed tables
//!
//! ```
//! use lightning_db::Database;
//! use std::ops::ControlFlow;
//!
//! # let directory = std::env::temp_dir().join("lightning-doc-typed");
//! # std::fs::remove_dir_all(&directory).ok();
//! # let database = Database::open(&directory)?;
//! let orders = database.typed_table::<(&str, u64), f64>("orders")?;
//! database.put(&orders, ("ada", 1), 9.5)?;
//! database.put(&orders, ("ada", 2), 20.0)?;
//! database.put(&orders, ("grace", 1), 7.25)?;
//!
//! // A tuple's first part is a beginning to search by; entries are lent.
//! let read = database.begin_read()?;
//! let mut sum = 0.0;
//! read.open(&orders)?.for_each(("ada", 0)..=("ada", u64::MAX), |order| {
//!     sum += order.value;
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(sum, 29.5);
//! assert_eq!(read.open(&orders)?.prefix("ada")?.count(), 2);
//! # drop(read);
//! # drop(database);
//! # std::fs::remove_dir_all(&directory).ok();
//! # Ok::<(), lightning_db::Error>(())
//! ```
//!
//! # Conflicts
//!
//! Any number of write transactions run at once. The first to commit wins;
//! another that changed the same key is told so and runs again:
//!
//! ```
//! use lightning_db::{Database, Result, TypedTable};
//!
//! fn increment(database: &Database, counters: &TypedTable<&str, u64>) -> Result<()> {
//!     loop {
//!         let mut write = database.begin_write()?;
//!         let count = write.get(counters, "visits")?.map_or(0, |count| count.value());
//!         write.put(counters, "visits", count + 1)?;
//!         match write.commit() {
//!             Err(error) if error.is_conflict() => continue,
//!             outcome => return outcome,
//!         }
//!     }
//! }
//! # let directory = std::env::temp_dir().join("lightning-doc-conflict");
//! # std::fs::remove_dir_all(&directory).ok();
//! # let database = Database::open(&directory)?;
//! # let counters = database.typed_table("counters")?;
//! # std::thread::scope(|scope| {
//! #     for _ in 0..4 {
//! #         scope.spawn(|| increment(&database, &counters).unwrap());
//! #     }
//! # });
//! # assert_eq!(database.get(&counters, "visits")?.unwrap().value(), 4);
//! # drop(database);
//! # std::fs::remove_dir_all(&directory).ok();
//! # Ok::<(), lightning_db::Error>(())
//! ```
//!
//! # Durability
//!
//! With [`Durability::Sync`], the default, a commit returns when it survives a
//! power cut, and nobody reads it before. Commits of several threads share one
//! flush; [`WriteTransaction::commit_async`] gives a [`Ticket`] instead of
//! waiting, which is a future, too.
//!
//! # What is absent
//! One process opens a database for writing, or several for reading. Keys are
//! ordered bytewise, for ever: there are no comparators of the user's own.

mod bulk;
mod codec;
mod commit;
mod database;
mod encoding;
mod error;
mod guard;
mod helpers;
mod machine;
mod maintenance;
mod options;
mod platform;
mod range;
mod read;
mod read_log;
mod room;
mod scrub;
mod shared;
mod slowing;
mod statistics;
mod stream;
mod table;
mod verify;
mod write;

pub use bulk::BulkLoad;
pub use database::Database;
pub use encoding::{EncodeBuffer, Key, KeyPart, KeyPrefix, Value};
pub use error::{EncodedPart, Error, Reason, Result};
pub use guard::{Entry, KeyGuard, ValueGuard};
pub use lightning_core::db::{PutOptions, Scrubbed, Statistics as EngineStatistics};
pub use lightning_core::error::{
    CorruptionReason, Error as EngineError, IoAction, KeySample, Limit, OptionProblem,
};
pub use lightning_platform::{
    File, HugePages, IoError, IoErrorKind, MachineGrants, MachineMemory, MachineWishes,
    MemoryNodes, ProcessUse,
};
#[doc(hidden)]
pub use machine::{FileSystemRoom, LocalListener, LocalStream, ServiceState};
pub use options::{Builder, Compression, Durability};
#[doc(hidden)]
pub use platform::{
    address_reuse_is_safe, connect_local, file_system_room, give_back_large_allocations,
    is_readable_by_others, keep_to_nodes, keep_to_processors, listen_local, machine_memory,
    process_use, raise_open_files_limit, replace_file, tell_service_manager, watchdog_period,
};
pub use range::Range;
pub use read::ReadTransaction;
pub use scrub::Scrub;
pub use statistics::Statistics;
pub use stream::ValueReader;
pub use table::{Table, TableReader, TypedTable};
pub use verify::Verification;
pub use write::{CommitAttempt, Ticket, WriteTransaction};

const _: () = {
    const fn is_shared_between_threads<T: Send + Sync>() {}
    is_shared_between_threads::<Database>();
    is_shared_between_threads::<ReadTransaction>();
    is_shared_between_threads::<Ticket>();
    is_shared_between_threads::<Table>();
    is_shared_between_threads::<Error>();
};
