//! What the simulator does about a call besides carrying it out: counting,
//! injected faults, the moment at which the power goes, violations and trace.
//!
//! Calls and mutating operations are numbered from 1. Each element of a batch
//! is a call, and an operation if it writes, since a power cut may fall between
//! any two of them.

use lightning_platform::{File, IoError, IoErrorKind};
use std::fmt;

/// What of an unbounded stream of violations is kept.
const VIOLATIONS_MAX: usize = 100;

/// Which method of the storage contract was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    LogSlots,
    Length,
    Create,
    Remove,
    SetLength,
    Read,
    Write,
    Sync,
    SyncDirectory,
    Erase,
    PunchHole,
}

impl Verb {
    const fn mutates(self) -> bool {
        !matches!(self, Self::LogSlots | Self::Length | Self::Read)
    }

    const fn syncs(self) -> bool {
        matches!(self, Self::Sync | Self::SyncDirectory)
    }
}

/// One call, as far as it is counted and traced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) file: Option<File>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Call {
    pub(crate) const fn of(verb: Verb, file: Option<File>) -> Self {
        Self::on_range(verb, file, 0, 0)
    }

    pub(crate) const fn on_range(verb: Verb, file: Option<File>, offset: u64, bytes: u64) -> Self {
        Self {
            verb,
            file,
            offset,
            bytes,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.verb)?;
        if let Some(file) = self.file {
            write!(out, " {file:?}")?;
        }
        if self.offset != 0 || self.bytes != 0 {
            write!(out, " at {} bytes {}", self.offset, self.bytes)?;
        }
        Ok(())
    }
}

/// How much of a call that fails is done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Of a write or an erase leading blocks, none to all of them, by the number of the
    /// call; of any other call nothing, and a buffer to read into is left as it was.
    Blocks,
    /// It is *short*, as where a device fails or fills up in the middle: a write, an erase
    /// or a punch stops at any byte, the first block's and the last one included; a read
    /// brings that many bytes, and noise behind them; a create, a remove or a change of
    /// length may be done whole. The number of the call and this seed say how much.
    Bytes(u64),
}

/// How a call fails. Made [`from`](From::from) its error it is done in [`Done::Blocks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallFailure {
    /// What the caller is told.
    pub kind: IoErrorKind,
    /// What was done before.
    pub done: Done,
}

impl CallFailure {
    /// A call that is cut short, where `seed` says.
    #[must_use]
    pub const fn short(kind: IoErrorKind, seed: u64) -> Self {
        Self {
            kind,
            done: Done::Bytes(seed),
        }
    }
}

impl From<IoErrorKind> for CallFailure {
    fn from(kind: IoErrorKind) -> Self {
        Self {
            kind,
            done: Done::Blocks,
        }
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Proceed,
    /// It fails, perhaps having been done in part.
    Fail(CallFailure),
    /// The power goes while it is under way.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    After(u64),
    During(u64),
}

#[derive(Debug, Clone)]
struct CallFault {
    call: u64,
    failure: CallFailure,
    persistent: bool,
}

#[derive(Debug, Clone)]
struct BadRange {
    file: File,
    from: u64,
    to: u64,
    kind: IoErrorKind,
}

#[derive(Debug, Clone)]
struct TraceEntry {
    call_number: u64,
    operation_number: u64,
    call: Call,
    failure: Option<IoErrorKind>,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "call {}", self.call_number)?;
        if self.call.verb.mutates() {
            write!(out, " operation {}", self.operation_number)?;
        }
        write!(out, ": {}", self.call)?;
        match self.failure {
            Some(kind) => write!(out, " failed: {kind}"),
            None => Ok(()),
        }
    }
}

/// The state of all of that.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) calls: u64,
    pub(crate) operations: u64,
    pub(crate) powered: bool,
    cut: Option<Cut>,
    call_faults: Vec<CallFault>,
    bad_ranges: Vec<BadRange>,
    sync_fault: Option<IoErrorKind>,
    violations: Vec<String>,
    trace: Option<Vec<TraceEntry>>,
}

impl Control {
    pub(crate) const fn new() -> Self {
        Self {
            calls: 0,
            operations: 0,
            powered: true,
            cut: None,
            call_faults: Vec::new(),
            bad_ranges: Vec::new(),
            sync_fault: None,
            violations: Vec::new(),
            trace: None,
        }
    }

    /// Counts a call and decides its fate.
    pub(crate) fn begin(&mut self, call: &Call) -> Result<Fate, IoError> {
        if !self.powered {
            return Err(IoError::of(IoErrorKind::Device));
        }
        self.calls += 1;
        if call.verb.mutates() {
            self.operations += 1;
            if self.cut == Some(Cut::During(self.operations)) {
                return Ok(Fate::Cut);
            }
        }
        let due = |fault: &&CallFault| {
            fault.call == self.calls || (fault.persistent && fault.call < self.calls)
        };
        if let Some(fault) = self.call_faults.iter().find(due) {
            return Ok(Fate::Fail(fault.failure));
        }
        match self.sync_fault {
            Some(kind) if call.verb.syncs() => Ok(Fate::Fail(kind.into())),
            _ => Ok(Fate::Proceed),
        }
    }

    /// Settles the result of a call, and turns the power off where its time has come.
    pub(crate) fn end<T>(
        &mut self,
        call: Call,
        fate: Fate,
        result: Result<T, IoError>,
    ) -> Result<T, IoError> {
        let result = match fate {
            Fate::Proceed => result,
            Fate::Fail(failure) => Err(IoError::of(failure.kind)),
            Fate::Cut => Err(IoError::of(IoErrorKind::Device)),
        };
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEntry {
                call_number: self.calls,
                operation_number: self.operations,
                call,
                failure: result.as_ref().err().map(|error| error.kind),
            });
        }
        if fate == Fate::Cut {
            self.powered = false;
        }
        self.cut_if_due();
        result
    }

    pub(crate) fn set_cut(&mut self, cut: Option<Cut>) {
        self.cut = cut;
        self.cut_if_due();
    }

    fn cut_if_due(&mut self) {
        if let Some(Cut::After(operation)) = self.cut
            && self.operations >= operation
        {
            self.powered = false;
        }
    }

    pub(crate) fn fail_call(&mut self, call: u64, failure: CallFailure, persistent: bool) {
        self.call_faults.push(CallFault {
            call,
            failure,
            persistent,
        });
    }

    pub(crate) fn fail_reads(&mut self, file: File, offset: u64, bytes: u64, kind: IoErrorKind) {
        self.bad_ranges.push(BadRange {
            file,
            from: offset,
            to: offset.saturating_add(bytes),
            kind,
        });
    }

    pub(crate) const fn fail_syncs(&mut self, kind: Option<IoErrorKind>) {
        self.sync_fault = kind;
    }

    pub(crate) fn clear_faults(&mut self) {
        self.call_faults.clear();
        self.bad_ranges.clear();
        self.sync_fault = None;
    }

    /// Fails where a read touches a range that was declared bad; the error comes with the
    /// number of bytes before it.
    pub(crate) fn check_read(
        &self,
        file: File,
        offset: u64,
        bytes: u64,
    ) -> Result<(), (u64, IoError)> {
        let hit = |range: &&BadRange| {
            range.file == file && range.from < offset.saturating_add(bytes) && offset < range.to
        };
        match self.bad_ranges.iter().find(hit) {
            Some(range) => Err((range.from.saturating_sub(offset), IoError::of(range.kind))),
            None => Ok(()),
        }
    }

    /// Notes that the caller broke the storage contract.
    pub(crate) fn violate(&mut self, call: &Call, rule: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let number = self.operations;
            self.violations
                .push(format!("operation {number}: {call}: {rule}"));
        }
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }

    pub(crate) fn set_tracing(&mut self, tracing: bool) {
        self.trace = tracing.then(Vec::new);
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        let entries = self.trace.iter().flatten();
        entries.map(TraceEntry::to_string).collect()
    }
}
