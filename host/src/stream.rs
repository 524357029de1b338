//! Large values, in and out piece by piece.
//!
//! A value that is written by stream never stands in memory whole: it goes to the page
//! file beside the log, and the transaction holds a reference to it. What waits for
//! somebody here waits for maintenance, which owns the page file for a step at a time.

use crate::error::{Error, Reason, Result};
use crate::room::{copied, zeroed};
use crate::shared::Shared;
use lightning_core::db::{TableView, ValueWriter, WrittenValue};
use lightning_core::error::{Error as EngineError, Result as EngineResult};
use lightning_core::format::extent::ExtentRef;
use lightning_core::txn::Stored;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes read from the source at a time.
const PIECE_BYTES: usize = 64 << 10;
/// How long the owner of maintenance is waited for at a time.
const OWNER_WAIT: Duration = Duration::from_micros(200);
/// How long it is waited for at most: it holds maintenance for one step, but a bulk load
/// holds it for all its time.
const OWNER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Reads `source` to its end into a value of the table, which nothing refers to yet.
/// Answers how long it is, too.
pub(crate) fn write_value<'s>(
    shared: &'s Shared,
    table: u32,
    bytes_max: u64,
    source: &mut dyn Read,
) -> Result<(WrittenValue<'s>, u64)> {
    let mut piece = zeroed(PIECE_BYTES).map_err(|error| shared.error(error))?;
    let mut writer = begin(shared, table, bytes_max)?;
    loop {
        match source.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => writer
                .write(piece.get(..count).unwrap_or(&piece))
                .map_err(|error| shared.error(error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Error::new(Reason::Source {
                    kind: error.kind(),
                    message: error.to_string(),
                }));
            }
        }
    }
    let length = writer.length();
    let finished = owned(|| writer.finish()).inspect_err(|error| shared.note_failure(*error));
    Ok((finished.map_err(|error| shared.error(error))?, length))
}

fn begin(shared: &Shared, table: u32, bytes_max: u64) -> Result<ValueWriter<'_>> {
    let engine = &shared.engine;
    let mut since = None;
    loop {
        match owned(|| engine.begin_value(table, bytes_max)) {
            Err(error @ (EngineError::FrontFull | EngineError::LogFull)) => shared
                .wait_for_room(&mut since, error)
                .map_err(|error| shared.error(error))?,
            outcome => return outcome.map_err(|error| shared.error(error)),
        }
    }
}

/// Tries again while somebody else owns maintenance.
pub(crate) fn owned<T>(mut step: impl FnMut() -> EngineResult<T>) -> EngineResult<T> {
    let started = Instant::now();
    loop {
        match step() {
            Err(EngineError::Busy) if started.elapsed() < OWNER_WAIT_MAX => {
                thread::sleep(OWNER_WAIT);
            }
            outcome => return outcome,
        }
    }
}

/// A value that is read piece by piece, from anywhere in it; made by
/// [`TableReader::value_reader`](crate::TableReader::value_reader).
///
/// What is read is checked piece by piece. It sees the value as its transaction does,
/// however long it takes.
pub struct ValueReader<'t> {
    shared: &'t Shared,
    view: TableView<'t>,
    place: Place,
    position: u64,
}

enum Place {
    /// One that is short enough to stand beside its key.
    Copied(Box<[u8]>),
    Extent(ExtentRef),
}

impl<'t> ValueReader<'t> {
    pub(crate) fn new(
        shared: &'t Shared,
        view: TableView<'t>,
        stored: Stored<'_>,
    ) -> EngineResult<Self> {
        let place = match stored {
            Stored::Inline(bytes) => Place::Copied(copied(bytes)?),
            Stored::Extent(extent) => Place::Extent(extent),
        };
        Ok(Self {
            shared,
            view,
            place,
            position: 0,
        })
    }

    fn stored(&self) -> Stored<'_> {
        match &self.place {
            Place::Copied(bytes) => Stored::Inline(bytes),
            Place::Extent(extent) => Stored::Extent(*extent),
        }
    }

    /// Bytes of the value.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.stored().length()
    }
}

impl Read for ValueReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length().saturating_sub(self.position);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if count == 0 {
            return Ok(0);
        }
        let (part, _) = buffer.split_at_mut(count);
        let engine = &self.shared.engine;
        engine
            .read_value(&self.view, self.stored(), self.position, part)
            .map_err(|error| io::Error::other(self.shared.error(error)))?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for ValueReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.length().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "before the value's start");
        self.position = position.ok_or_else(before)?;
        Ok(self.position)
    }
}

impl fmt::Debug for ValueReader<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ValueReader")
            .field("length", &self.length())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
