//! Histories made by hand, each with exactly one anomaly: what the checker is held to.

use super::checker::{Kind, check};
use super::history::{History, Operation, Transaction, Value};

/// A history with one anomaly, and its name.
pub struct Planted {
    kind: Kind,
    history: fn() -> History,
}

/// One for each anomaly.
pub const PLANTED: [Planted; 12] = [
    plant(Kind::DirtyWrite, dirty_write),
    plant(Kind::AbortedRead, aborted_read),
    plant(Kind::IntermediateRead, intermediate_read),
    plant(Kind::CircularInformation, circular_information),
    plant(Kind::LostUpdate, lost_update),
    plant(Kind::GSingle, g_single),
    plant(Kind::WriteSkew, write_skew),
    plant(Kind::Phantom, phantom),
    plant(Kind::LongFork, long_fork),
    plant(Kind::MissedOwnWrite, missed_own_write),
    plant(Kind::StaleSnapshot, stale_snapshot),
    plant(Kind::Revival, revival),
];

const fn plant(kind: Kind, history: fn() -> History) -> Planted {
    Planted { kind, history }
}

/// Whether the checker names that anomaly of a planted history, and no other.
pub fn named(planted: &Planted) -> Result<(), String> {
    let found = check(&(planted.history)()).found;
    if !found.is_empty() && found.iter().all(|anomaly| anomaly.kind == planted.kind) {
        Ok(())
    } else {
        Err(format!("planted {:?}, found {found:?}", planted.kind))
    }
}

const X: u32 = 1;
const Y: u32 = 2;

fn put(key: u32) -> Operation {
    put_as(key, 0)
}

fn put_as(key: u32, number: u32) -> Operation {
    Operation::Write {
        key,
        number: Some(number),
    }
}

fn none(key: u32) -> Operation {
    Operation::Read { key, seen: None }
}

fn value(writer: u32) -> Value {
    Value { writer, number: 0 }
}

fn read(key: u32, writer: u32) -> Operation {
    Operation::Read {
        key,
        seen: Some(value(writer)),
    }
}

fn nothing(from: u32, to: u32) -> Operation {
    let seen = Vec::new();
    Operation::Range { from, to, seen }
}

fn aborted(operations: Vec<Operation>) -> Transaction {
    Transaction {
        operations,
        ..Transaction::default()
    }
}

fn history(committed: Vec<Vec<Operation>>) -> History {
    let transactions = committed.into_iter().zip(1..);
    History {
        transactions: transactions
            .map(|(operations, sequence)| Transaction {
                committed: Some(sequence),
                ..aborted(operations)
            })
            .collect(),
        ..History::default()
    }
}

fn dirty_write() -> History {
    let mut history = history(vec![vec![put(X), put(Y)], vec![put(X), put(Y)]]);
    history.orders.insert(X, vec![0, 1]);
    history.orders.insert(Y, vec![1, 0]);
    history
}

fn aborted_read() -> History {
    let mut history = history(vec![vec![put(X)], vec![read(X, 0)]]);
    history.transactions[0].committed = None;
    history
}

fn intermediate_read() -> History {
    history(vec![vec![put(X), put_as(X, 1)], vec![read(X, 0)]])
}

fn circular_information() -> History {
    history(vec![vec![put(X), read(Y, 1)], vec![put(Y), read(X, 0)]])
}

fn lost_update() -> History {
    history(vec![vec![none(X), put(X)], vec![none(X), put(X)]])
}

fn g_single() -> History {
    history(vec![vec![put(X), put(Y)], vec![none(X), read(Y, 0)]])
}

fn write_skew() -> History {
    history(vec![vec![none(Y), put(X)], vec![none(X), put(Y)]])
}

fn phantom() -> History {
    history(vec![
        vec![nothing(0, 9), put(X)],
        vec![nothing(0, 9), put(Y)],
    ])
}

fn long_fork() -> History {
    history(vec![
        vec![put(X)],
        vec![put(Y)],
        vec![read(X, 0), none(Y)],
        vec![none(X), read(Y, 1)],
    ])
}

fn missed_own_write() -> History {
    history(vec![vec![put(X), none(X)]])
}

fn stale_snapshot() -> History {
    let mut history = history(vec![vec![put(X)], vec![none(X)]]);
    history.transactions[1].snapshot = Some(1);
    history
}

fn revival() -> History {
    let mut history = history(vec![vec![put(X)], vec![nothing(0, 9)], vec![read(X, 0)]]);
    history.crashes.push(1);
    for later in &mut history.transactions[1..] {
        later.epoch = 1;
    }
    history.transactions[1].is_recovery = true;
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(history: &History) -> Vec<Kind> {
        check(history)
            .found
            .iter()
            .map(|anomaly| anomaly.kind)
            .collect()
    }

    #[test]
    fn each_is_named_and_no_other() {
        for planted in &PLANTED {
            assert_eq!(named(planted), Ok(()));
        }
    }

    #[test]
    fn what_was_acknowledged_is_missed_after_a_power_cut() {
        let mut history = revival();
        history.transactions.pop();
        assert_eq!(kinds(&history), []);
        history.transactions[0].acknowledged_at = Some(0);
        assert_eq!(kinds(&history), [Kind::AcknowledgedLost]);
    }

    #[test]
    fn a_hole_after_a_power_cut_is_named() {
        let mut history = history(vec![vec![put(X)], vec![put(Y)], Vec::new()]);
        history.crashes.push(1);
        let seen = vec![(Y, value(1))];
        let (from, to) = (0, 9);
        history.transactions[2] = Transaction {
            epoch: 1,
            is_recovery: true,
            operations: vec![Operation::Range { from, to, seen }],
            ..history.transactions[2].clone()
        };
        assert!(kinds(&history).contains(&Kind::NoPrefix));
    }

    #[test]
    fn a_read_from_the_future_and_of_what_nobody_wrote_are_named() {
        let mut ahead = history(vec![vec![put(X)], vec![read(X, 0)]]);
        ahead.transactions[1].snapshot = Some(0);
        assert_eq!(kinds(&ahead), [Kind::ReadAhead]);
        let invented = history(vec![vec![put(X)], vec![read(Y, 0)]]);
        assert_eq!(kinds(&invented), [Kind::Invented]);
    }

    #[test]
    fn a_snapshot_that_misses_what_was_committed_before_is_named() {
        let mut history = history(vec![vec![put(X)], vec![none(X)]]);
        history.transactions[0].ended_at = 3;
        history.transactions[1].begun_at = 4;
        history.transactions[1].snapshot = Some(0);
        assert_eq!(kinds(&history), [Kind::StaleSnapshot]);
        history.transactions[0].ended_at = 5;
        assert_eq!(kinds(&history), []);
    }
}
