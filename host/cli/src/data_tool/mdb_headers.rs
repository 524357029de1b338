//! The headers of tables that came from LMDB.
//!
//! Kept in a table whose name begins with a zero byte, so that lists of tables
//! leave it out: the key is the name of the table that came, the value its
//! header's lines. Written in the transaction of the table's first records, so
//! that it is there when they are.

use crate::failure::Failure;
use crate::formats::mdb::Header;
use lightning_db::{Database, ReadTransaction, WriteTransaction};

/// The table of headers.
const HEADERS_TABLE: &str = "\0lightning-db mdb headers";

/// Keeps `header` for the table called `name`.
pub(super) fn keep(
    write: &mut WriteTransaction,
    name: &str,
    header: &Header,
) -> Result<(), Failure> {
    let headers = write.table(HEADERS_TABLE)?;
    Ok(write.put(&headers, name.as_bytes(), header.as_bytes())?)
}

/// The header that was kept for the table called `name`.
pub(super) fn kept(
    database: &Database,
    read: &ReadTransaction,
    name: &str,
) -> Result<Option<Header>, Failure> {
    let Some(headers) = database.existing_table(HEADERS_TABLE)? else {
        return Ok(None);
    };
    let lines = read.get(&headers, name.as_bytes())?;
    // One that can't be read any more is as good as none: a new one is made.
    Ok(lines.and_then(|lines| Header::from_bytes(&lines).ok()))
}
