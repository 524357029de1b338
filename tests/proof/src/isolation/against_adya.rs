//! The same verdicts as the crate `adya`, which was written by others, on random histories
//! of its list-append workload: a read of a version is one of all appends up to it.

use std::collections::BTreeMap;
use std::fmt::Write;

use adya::{Opts, Valid, Workload};
use lightning_sim::Random;

use super::checker::{Kind, check};
use super::history::{History, Operation, Transaction, Value};

const KEYS: u32 = 3;

/// Some are sound, in others reads lag behind or versions stand in another order.
fn random_history(random: &mut Random) -> History {
    let count = 3 + random.below(8) as u32;
    let (lags, swaps) = (random.below(3), random.below(2));
    let writes: Vec<Vec<u32>> = (0..count)
        .map(|_| (0..KEYS).filter(|_| random.chance(1, 3)).collect())
        .collect();
    let mut history = History::default();
    for key in 0..KEYS {
        let ids = 0..count;
        let mut order: Vec<u32> = ids
            .filter(|id| writes[*id as usize].contains(&key))
            .collect();
        if order.len() > 1 && random.chance(swaps, 3) {
            let at = random.below(order.len() as u64 - 1) as usize;
            order.swap(at, at + 1);
        }
        history.orders.insert(key, order);
    }
    for id in 0..count {
        let mut operations = Vec::new();
        for key in 0..KEYS {
            if random.chance(1, 2) {
                continue;
            }
            let order = &history.orders[&key];
            let before = order.iter().filter(|writer| **writer < id).count();
            let mut at = before.saturating_sub(random.below(lags + 1) as usize);
            if random.chance(lags, 20) {
                at = random.below(order.len() as u64 + 1) as usize;
            }
            let version = at.checked_sub(1).map(|at| order[at]);
            // It would read its own write before it writes.
            if version != Some(id) {
                operations.push(read(key, version));
            }
        }
        operations.extend(writes[id as usize].iter().map(|key| Operation::Write {
            key: *key,
            number: Some(0),
        }));
        history.transactions.push(committed(id, operations));
    }
    // The order of versions shows in a read of all.
    let last = (0..KEYS).map(|key| read(key, history.orders[&key].last().copied()));
    let last = committed(count, last.collect());
    history.transactions.push(last);
    history
}

fn committed(id: u32, operations: Vec<Operation>) -> Transaction {
    Transaction {
        committed: Some(u64::from(id) + 1),
        operations,
        ..Transaction::default()
    }
}

fn read(key: u32, writer: Option<u32>) -> Operation {
    let seen = writer.map(|writer| Value { writer, number: 0 });
    Operation::Read { key, seen }
}

/// As JSON lines; all transactions run at once.
fn lines(history: &History) -> String {
    let (mut begins, mut ends) = (String::new(), String::new());
    for (id, transaction) in history.transactions.iter().enumerate() {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for operation in &transaction.operations {
            match operation {
                Operation::Read { key, seen } => {
                    let order = &history.orders[key];
                    let at = seen.and_then(|seen| order.iter().position(|id| *id == seen.writer));
                    let list = &order[..at.map_or(0, |at| at + 1)];
                    asked.push(format!("[\"r\",{key},null]"));
                    answered.push(format!("[\"r\",{key},{list:?}]"));
                }
                Operation::Write { key, .. } => {
                    asked.push(format!("[\"append\",{key},{id}]"));
                    answered.push(format!("[\"append\",{key},{id}]"));
                }
                Operation::Range { .. } => {}
            }
        }
        for (lines, kind, operations) in
            [(&mut begins, "invoke", asked), (&mut ends, "ok", answered)]
        {
            let operations = operations.join(",");
            writeln!(
                lines,
                "{{\"type\":\"{kind}\",\"process\":{id},\"value\":[{operations}]}}"
            )
            .expect("a string takes all");
        }
    }
    begins + &ends
}

#[test]
fn verdicts_are_those_of_adya() {
    let mut counts: BTreeMap<(&str, bool), u32> = BTreeMap::new();
    for seed in 0..4_000 {
        let history = random_history(&mut Random::new(seed));
        if history.orders.values().all(Vec::is_empty) {
            // Adya has no verdict where nothing depends on anything.
            continue;
        }
        let kinds: Vec<Kind> = check(&history).found.iter().map(|one| one.kind).collect();
        let text = lines(&history);
        let theirs = adya::History::from_json(&text).expect("it is what adya reads");
        let is_dirty = |kind: &Kind| matches!(kind, Kind::DirtyWrite | Kind::CircularInformation);
        let verdicts = [
            ("serializable", kinds.is_empty()),
            (
                "snapshot-isolation",
                kinds.iter().all(|kind| kind.is_snapshot()),
            ),
            ("read-committed", !kinds.iter().any(is_dirty)),
        ];
        for (model, is_kept) in verdicts {
            let options = Opts {
                models: vec![model.into()],
                ..Opts::default()
            };
            let report = adya::check(&theirs, Workload::ListAppend, &options);
            let found = &report.anomaly_types;
            assert_eq!(
                report.valid == Valid::True,
                is_kept,
                "seed {seed} {model}: {kinds:?}, adya {found:?}\n{text}"
            );
            *counts.entry((model, is_kept)).or_default() += 1;
        }
    }
    println!("{counts:?}");
    // Each verdict came about often enough.
    assert!(
        counts.len() == 6 && counts.values().all(|count| *count > 100),
        "{counts:?}"
    );
}
