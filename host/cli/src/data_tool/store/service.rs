//! The database of a running service.
//!
//! Tables are the service's databases: `default` is 0, `db1` is 1, and so on. `SCAN`
//! gives the keys in their order, so that entries come as they would from a directory;
//! but each part is read by itself, and what changes meanwhile may be seen or not.
//! Values are fetched a few at a time and given on as they come, so that one value
//! is held at once. The service has one pattern to look by, so a range is looked for
//! by what its bounds begin with, and the rest is left out here; and no order but the
//! one, so that reading in reverse collects the keys of the range first.

use super::{Selection, Store, Taken, Visit};
use crate::failure::{Exit, Failure};
use crate::formats::mdb::Header;
use crate::formats::{Record, RecordRef, text};
use crate::redis::{Address, Connection, Reply, Requests, Security};
use lightning_db::Database;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Keys that the service looks at for one part of a scan.
const SCAN_COUNT: u64 = 1000;
/// Values that are asked for at once.
const VALUES_AT_ONCE: usize = 128;
/// The most bytes of requests that are collected, unless one has more.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// What is done with a part of the keys.
type VisitKeys<'v> = dyn FnMut(&mut Service, Vec<Vec<u8>>) -> Result<ControlFlow<()>, Failure> + 'v;

/// A service that was connected to.
pub(crate) struct Service {
    connection: Connection,
    security: Security,
    pending: Requests,
    /// The keys of the requests that are pending, for messages.
    pending_keys: Vec<Vec<u8>>,
}

/// The number of the database that is the table called `name`.
fn database_of(name: &str) -> Result<u32, Failure> {
    let number = match name {
        "default" => Some(0),
        name => name
            .strip_prefix("db")
            .filter(|digits| !digits.starts_with(['0', '+']))
            .and_then(|digits| digits.parse().ok()),
    };
    number.ok_or_else(|| {
        Failure::usage(format!(
            "there can be no table \"{}\" on a service, whose tables are its databases: default \
             (which is 0), db1, db2, …",
            text::escape(name.as_bytes())
        ))
    })
}

/// The table that is the database of this number.
pub(crate) fn table_of(database: u32) -> String {
    match database {
        0 => "default".to_owned(),
        number => format!("db{number}"),
    }
}

impl Service {
    /// Connects to the service at `address`.
    pub(crate) fn open(address: &Address, security: Security) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::open(address, &security)?,
            security,
            pending: Requests::default(),
            pending_keys: Vec::new(),
        })
    }

    /// The connection, with the table's database chosen. One that has failed is made
    /// anew, so that a shell goes on when the service is there again.
    fn at(&mut self, table: &str) -> Result<&mut Connection, Failure> {
        let database = database_of(table)?;
        if self.connection.is_broken() {
            let address = self.connection.address().clone();
            self.connection = Connection::open(&address, &self.security)?;
        }
        self.connection.select(database)?;
        Ok(&mut self.connection)
    }

    /// A section of `INFO`, as names and values.
    pub(crate) fn info(&mut self, section: &str) -> Result<Vec<(String, String)>, Failure> {
        let reply = self.connection.ask(&[b"INFO", section.as_bytes()])?;
        let Reply::Bytes(Some(told)) = reply else {
            return Err(self.connection.unexpected(&reply));
        };
        let told = String::from_utf8_lossy(&told);
        let lines = told.lines().filter_map(|line| line.split_once(':'));
        Ok(lines
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// The next part of the keys from `cursor` on that begin as `pattern` says.
    fn scan_keys(
        &mut self,
        table: &str,
        cursor: &[u8],
        pattern: &[u8],
        count: u64,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), Failure> {
        let count = count.to_string();
        let connection = self.at(table)?;
        let words = [
            b"SCAN",
            cursor,
            b"MATCH",
            pattern,
            b"COUNT",
            count.as_bytes(),
        ];
        let reply = connection.ask(&words)?;
        if let Reply::List(parts) = &reply
            && let [Reply::Bytes(Some(next)), Reply::List(keys)] = &parts[..]
        {
            let keys = keys.iter().filter_map(|key| match key {
                Reply::Bytes(key) => key.clone(),
                _ => None,
            });
            return Ok((next.clone(), keys.collect()));
        }
        Err(connection.unexpected(&reply))
    }

    /// Gives the keys of `selection` to `visit`, in ascending order, parts at a time.
    fn for_each_part(
        &mut self,
        table: &str,
        selection: &Selection,
        visit: &mut VisitKeys<'_>,
    ) -> Result<(), Failure> {
        if selection.is_empty() {
            return Ok(());
        }
        let pattern = pattern_of(selection);
        let count = match selection.limit {
            Some(limit) if !selection.reverse => limit.min(SCAN_COUNT),
            _ => SCAN_COUNT,
        };
        let from = selection.from.as_deref().unwrap_or_default();
        let mut cursor = b"0".to_vec();
        loop {
            let (next, mut keys) = self.scan_keys(table, &cursor, &pattern, count)?;
            let is_behind = |key: &Vec<u8>| selection.to.as_ref().is_some_and(|to| key >= to);
            let is_last = next == b"0" || keys.last().is_some_and(is_behind);
            keys.retain(|key| &**key >= from && !is_behind(key));
            if visit(self, keys)?.is_break() || is_last {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Gives the entries of `keys` to `visit`; those that are gone meanwhile are left out.
    fn for_each_of(
        &mut self,
        table: &str,
        keys: &[Vec<u8>],
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        let connection = self.at(table)?;
        for part in keys.chunks(VALUES_AT_ONCE) {
            let mut requests = Requests::default();
            for key in part {
                requests.add(&[b"PEXPIRETIME", key]);
                requests.add(&[b"GET", key]);
            }
            connection.send(&requests)?;
            let mut flow = ControlFlow::Continue(());
            for key in part {
                let expiry = connection.receive()?;
                let value = connection.receive()?;
                if flow.is_break() {
                    // All replies are taken, so that the next one is that of its request.
                    continue;
                }
                let Reply::Integer(expiry) = expiry else {
                    return Err(connection.unexpected(&expiry));
                };
                let value = match value {
                    Reply::Bytes(Some(value)) => value,
                    Reply::Bytes(None) => continue,
                    other => return Err(connection.unexpected(&other)),
                };
                flow = visit(RecordRef {
                    key,
                    value: &value,
                    expiry_ms: u64::try_from(expiry).ok(),
                    metadata: None,
                });
            }
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The pattern for all keys that a selection may have.
fn pattern_of(selection: &Selection) -> Vec<u8> {
    let from = selection.from.as_deref().unwrap_or_default();
    // What is between two keys begins with what they both begin with; and so does
    // what begins with the first, where the second is the end of that.
    let common = match &selection.to {
        Some(to) if *to == super::end_of_prefix(from).unwrap_or_default() => from.len(),
        Some(to) => from.iter().zip(to).take_while(|(a, b)| a == b).count(),
        None if from.iter().all(|byte| *byte == u8::MAX) => from.len(),
        None => 0,
    };
    let mut pattern = Vec::new();
    for byte in &from[..common] {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

impl Store for Service {
    fn name(&self) -> String {
        self.connection.address().to_string()
    }

    fn tables(&mut self) -> Result<Vec<String>, Failure> {
        let databases = self.info("keyspace")?;
        let mut numbers: Vec<u32> = databases
            .iter()
            .filter_map(|(name, _)| name.strip_prefix("db")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers.into_iter().map(table_of).collect())
    }

    fn get(&mut self, table: &str, key: &[u8]) -> Result<Option<Record>, Failure> {
        let mut found = None;
        let _flow = self.for_each_of(table, &[key.to_vec()], &mut |record| {
            found = Some(Record {
                key: record.key.to_vec(),
                value: record.value.to_vec(),
                expiry_ms: record.expiry_ms,
                metadata: None,
            });
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn scan(
        &mut self,
        table: &str,
        selection: &Selection,
        visit: &mut Visit<'_>,
    ) -> Result<(), Failure> {
        if selection.reverse {
            let most = selection.limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            });
            let mut last = VecDeque::new();
            self.for_each_part(table, selection, &mut |_, keys| {
                for key in keys {
                    if last.len() == most {
                        last.pop_front();
                    }
                    last.push_back(key);
                }
                Ok(ControlFlow::Continue(()))
            })?;
            let keys: Vec<Vec<u8>> = last.into_iter().rev().collect();
            let _flow = self.for_each_of(table, &keys, visit)?;
            return Ok(());
        }
        let mut left = selection.limit.unwrap_or(u64::MAX);
        self.for_each_part(table, selection, &mut |store, mut keys| {
            keys.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            store.for_each_of(table, &keys, &mut |record| {
                left -= 1;
                if visit(record).is_break() || left == 0 {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        })
    }

    fn keys(&mut self, table: &str, prefix: &[u8], limit: u64) -> Result<Vec<Vec<u8>>, Failure> {
        let selection = Selection {
            limit: Some(limit),
            ..Selection::with_prefix(prefix.to_vec())
        };
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        self.for_each_part(table, &selection, &mut |_, keys| {
            found.extend(keys);
            found.truncate(most);
            Ok(if found.len() == most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        Ok(found)
    }

    fn count(&mut self, table: &str) -> Result<u64, Failure> {
        let connection = self.at(table)?;
        let reply = connection.ask(&[b"DBSIZE"])?;
        match reply {
            Reply::Integer(count) => Ok(u64::try_from(count).unwrap_or(0)),
            other => Err(connection.unexpected(&other)),
        }
    }

    fn count_estimate(&mut self, table: &str) -> Result<u64, Failure> {
        self.count(table)
    }

    fn make_table(&mut self, table: &str) -> Result<(), Failure> {
        self.at(table).map(drop)
    }

    fn put(&mut self, table: &str, record: RecordRef<'_>) -> Result<Taken, Failure> {
        let request_bytes = record.key.len() + record.value.len();
        if self.pending.count() > 0 && self.pending.bytes() + request_bytes > REQUEST_BYTES_MAX {
            return Ok(Taken::Full);
        }
        // Requests that are pending are of the database that is chosen.
        let database = database_of(table)?;
        if self.pending.count() > 0 && !self.connection.is_at(database) {
            return Ok(Taken::Full);
        }
        self.at(table)?;
        match record.expiry_ms {
            Some(expiry_ms) => {
                let expiry_ms = expiry_ms.to_string();
                let words = [
                    b"SET",
                    record.key,
                    record.value,
                    b"PXAT",
                    expiry_ms.as_bytes(),
                ];
                self.pending.add(&words);
            }
            None => self.pending.add(&[b"SET", record.key, record.value]),
        }
        self.pending_keys.push(record.key.to_vec());
        Ok(Taken::Yes)
    }

    fn delete(&mut self, table: &str, key: &[u8]) -> Result<bool, Failure> {
        self.commit()?;
        let connection = self.at(table)?;
        let reply = connection.ask(&[b"DEL", key])?;
        match reply {
            Reply::Integer(count) => Ok(count > 0),
            other => Err(connection.unexpected(&other)),
        }
    }

    fn expire(&mut self, table: &str, key: &[u8], expiry_ms: Option<u64>) -> Result<bool, Failure> {
        self.commit()?;
        let connection = self.at(table)?;
        let reply = match expiry_ms {
            Some(at) => connection.ask(&[b"PEXPIREAT", key, at.to_string().as_bytes()])?,
            None => {
                // That it was there is another answer than that it had a time.
                connection.ask(&[b"PERSIST", key])?;
                connection.ask(&[b"EXISTS", key])?
            }
        };
        match reply {
            Reply::Integer(count) => Ok(count > 0),
            other => Err(connection.unexpected(&other)),
        }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let sent = self.connection.send(&self.pending);
        let keys = std::mem::take(&mut self.pending_keys);
        self.pending.clear();
        sent?;
        let mut failure = None;
        for key in keys {
            let reply = self.connection.receive()?;
            if reply != Reply::Status("OK".to_owned()) {
                failure.get_or_insert((key, self.connection.unexpected(&reply)));
            }
        }
        match failure {
            None => Ok(()),
            Some((key, failure)) => Err(Failure::new(
                failure.exit,
                format!("key \"{}\": {failure}", text::escape(&key)),
            )),
        }
    }

    fn rollback(&mut self) {
        self.pending.clear();
        self.pending_keys.clear();
    }

    fn has_transactions(&self) -> bool {
        false
    }

    fn warning(&mut self) -> Result<Option<String>, Failure> {
        // Who may not ask goes on without.
        let asked = self.connection.ask(&[b"CONFIG", b"GET", b"appendfsync"]);
        let Ok(Reply::List(parts)) = asked else {
            return Ok(None);
        };
        Ok(match parts.get(1) {
            Some(Reply::Bytes(Some(when))) if when != b"always" => Some(
                "the service acknowledges before it has synced (wal_sync_mode is not sync): what \
                 it took last may be lost by a power cut"
                    .to_owned(),
            ),
            _ => None,
        })
    }

    fn keep_header(&mut self, table: &str, _: &Header) -> Result<(), Failure> {
        self.at(table).map(drop)
    }

    fn kept_header(&mut self, _: &str) -> Result<Option<Header>, Failure> {
        Ok(None)
    }

    fn has_metadata(&self) -> bool {
        false
    }

    fn database(&self) -> Option<&Database> {
        None
    }

    fn service(&mut self) -> Option<&mut Service> {
        Some(self)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        if self.pending.count() > 0 {
            return Err(Failure::new(Exit::Failed, "writes were not sent"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_databases() {
        for (name, number) in [("default", 0), ("db1", 1), ("db15", 15)] {
            assert_eq!(database_of(name).unwrap(), number);
            assert_eq!(table_of(number), name);
        }
        for name in ["db0", "db", "db01", "db+1", "users", "DEFAULT", ""] {
            let failure = database_of(name).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{name}");
        }
    }

    #[test]
    fn a_connection_that_has_failed_is_made_anew() {
        use std::io::{BufRead, BufReader, Write};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address {
            port: listener.local_addr().unwrap().port(),
            ..Address::default()
        };
        let answers = std::thread::spawn(move || {
            // CLIENT SETNAME takes seven lines, DBSIZE three.
            for replies in [&[(7, "+OK\r\n")][..], &[(7, "+OK\r\n"), (3, ":5\r\n")]] {
                let (stream, _) = listener.accept().unwrap();
                let mut stream = BufReader::new(stream);
                for (lines, reply) in replies {
                    for _ in 0..*lines {
                        stream.read_line(&mut String::new()).unwrap();
                    }
                    stream.get_mut().write_all(reply.as_bytes()).unwrap();
                }
            }
        });
        let mut service = Service::open(&address, Security::default()).unwrap();
        let failure = service.count("default").unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(service.count("default").unwrap(), 5);
        answers.join().unwrap();
    }

    #[test]
    fn patterns_have_all_keys_of_a_range() {
        let between = |from: &[u8], to: &[u8]| {
            let of = |key: &[u8]| Some(key.to_vec()).filter(|key| !key.is_empty());
            pattern_of(&Selection::between(of(from), of(to)))
        };
        assert_eq!(between(b"ab1", b"ab9"), b"ab*");
        assert_eq!(between(b"ab", b"ab9"), b"ab*");
        assert_eq!(between(b"a", b"b9"), b"*");
        assert_eq!(between(b"a", b""), b"*");
        assert_eq!(between(b"", b"b"), b"*");
        let prefix = |prefix: &[u8]| pattern_of(&Selection::with_prefix(prefix.to_vec()));
        assert_eq!(prefix(b"user:"), b"user:*");
        assert_eq!(prefix(b"a*[?\\"), b"a\\*\\[\\?\\\\*");
        assert_eq!(prefix(b"\xff"), b"\xff*");
        assert_eq!(prefix(b""), b"*");
    }
}
