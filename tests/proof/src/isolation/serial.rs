//! Histories of transactions that run one after the other, with power cuts: without anomalies.

use std::collections::BTreeMap;

use lightning_sim::Random;

use super::history::{History, Operation, Transaction, Value};

const KEYS: u64 = 6;

/// A random one.
pub fn serial(random: &mut Random) -> History {
    let mut history = History::default();
    // What is there after each commit of this epoch.
    let mut states: Vec<(u64, BTreeMap<u32, Value>)> = vec![(0, BTreeMap::new())];
    let mut clock = 0;
    for _ in 0..40 + random.below(60) {
        clock += 2;
        let (at, mut state) = states.last().cloned().unwrap_or_default();
        let mut transaction = Transaction {
            epoch: history.crashes.len() as u32,
            begun_at: clock,
            ended_at: clock + 1,
            snapshot: Some(at),
            ..Transaction::default()
        };
        if random.chance(1, 20) {
            // A prefix is left; the next sequences are given out again.
            states.truncate(1 + random.below(states.len() as u64) as usize);
            (_, state) = states.last().cloned().unwrap_or_default();
            states = vec![(states.last().map_or(0, |(at, _)| *at), state.clone())];
            history.crashes.push(clock);
            transaction.epoch += 1;
            transaction.is_recovery = true;
            transaction.snapshot = Some(states[0].0);
            transaction.operations.push(range(&state, 0, KEYS as u32));
            transaction.committed = Some(states[0].0);
            history.transactions.push(transaction);
            continue;
        }
        let id = history.transactions.len() as u32;
        for number in 0..1 + random.below(5) as u32 {
            let key = random.below(KEYS) as u32;
            let seen = state.get(&key).copied();
            transaction.operations.push(match random.below(6) {
                0 | 1 => Operation::Read { key, seen },
                2 => range(&state, key, key + 3),
                3 => {
                    state.remove(&key);
                    Operation::Write { key, number: None }
                }
                _ => {
                    state.insert(key, Value { writer: id, number });
                    let number = Some(number);
                    Operation::Write { key, number }
                }
            });
        }
        if random.chance(9, 10) {
            transaction.committed = Some(at + 1);
            states.push((at + 1, state));
        }
        history.transactions.push(transaction);
    }
    history
}

fn range(state: &BTreeMap<u32, Value>, from: u32, to: u32) -> Operation {
    let seen = state.range(from..to).map(|(key, value)| (*key, *value));
    let seen = seen.collect();
    Operation::Range { from, to, seen }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn a_serial_history_is_clean() {
        for seed in 0..300 {
            let history = serial(&mut Random::new(seed));
            assert_eq!(format!("{:?}", check(&history).found), "[]", "seed {seed}");
        }
    }
}
