//! The ways in which a storage call fails, for the checks that fail every one.

use std::fmt;

use lightning_platform::IoErrorKind;
use lightning_sim::{CallFailure, Done, SimStorage, mix};

const KINDS: [IoErrorKind; 2] = [IoErrorKind::Device, IoErrorKind::StorageFull];

/// One call that fails, or it and all later ones.
#[derive(Clone, Copy)]
pub struct Fault {
    pub call: u64,
    pub failure: CallFailure,
    pub persistent: bool,
}

impl Fault {
    /// Has the storage do it.
    pub fn inject(&self, storage: &SimStorage) {
        storage.fail_at(self.call, self.failure, self.persistent);
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let often = if self.persistent {
            "from then on"
        } else {
            "once"
        };
        write!(out, "call {} {:?} {often}", self.call, self.failure.kind)?;
        match self.failure.done {
            Done::Blocks => Ok(()),
            Done::Bytes(seed) => write!(out, ", short by seed {seed}"),
        }
    }
}

/// A traced call.
pub struct Traced {
    pub number: u64,
    /// The name of the storage's method, as the trace spells it.
    pub verb: String,
}

/// The calls since tracing began.
pub fn traced(storage: &SimStorage) -> Vec<Traced> {
    let parsed = |line: &String| {
        let (number, rest) = line.strip_prefix("call ")?.split_once([' ', ':'])?;
        let (_, call) = rest.split_once(": ").unwrap_or(("", rest.trim_start()));
        let verb = call.split(' ').next()?;
        Some(Traced {
            number: number.parse().ok()?,
            verb: verb.to_owned(),
        })
    };
    storage.trace().iter().filter_map(parsed).collect()
}

/// Every way in which each of these calls fails: with each error, once and for good; and,
/// where it can be done in part, cut short in two places.
pub fn faults(calls: &[Traced], seed: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for Traced { number, verb } in calls {
        let call = *number;
        for persistent in [false, true] {
            faults.extend(KINDS.map(|kind| Fault {
                call,
                failure: kind.into(),
                persistent,
            }));
        }
        let has_parts = !matches!(
            verb.as_str(),
            "LogSlots" | "Length" | "Sync" | "SyncDirectory"
        );
        if has_parts {
            faults.extend(KINDS.map(|kind| Fault {
                call,
                failure: CallFailure::short(kind, mix(seed ^ kind as u64)),
                persistent: false,
            }));
        }
    }
    faults
}
