//! Histories that threads record on one engine keep to their isolation level, over power
//! cuts too; and the checker names each anomaly that is planted, and none where there is none.

use std::sync::atomic::{AtomicU64, Ordering};

use lightning_sim::{Random, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Tally, Verdict, for_each, judge};
use crate::isolation::{Anomaly, History, PLANTED, Plan, check, named, record, serial};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-isolation",
    about: "histories of threads keep to snapshot isolation or serializability",
    run,
};

/// How often what the check is about came about.
#[derive(Default)]
struct Seen {
    transactions: AtomicU64,
    committed: AtomicU64,
    power_cuts: AtomicU64,
    lost: AtomicU64,
    skewed: AtomicU64,
    loads: AtomicU64,
}

fn run(settings: &Settings) -> Outcome {
    let (serials, recorded) = if settings.is_long {
        (20_000, 120_000)
    } else {
        (2_000, 5_000)
    };
    let tally = Tally::default();
    let mut right = 0;
    for (number, planted) in PLANTED.iter().enumerate() {
        let verdict = judge(|| named(planted));
        right += u64::from(verdict.is_ok());
        tally.add(number as u64, verdict);
    }
    let seen = Seen::default();
    let clean = for_each(serials, |case| {
        let seed = mix(settings.seed ^ mix(case));
        let found = check(&serial(&mut Random::new(seed))).found;
        none_of(&found).map_err(|reason| format!("serial, seed {seed}: {reason}"))
    });
    let engine = for_each(recorded, |case| {
        let plan = Plan {
            seed: mix(settings.seed ^ mix(case)),
            is_serializable: case % 2 == 0,
            power_cuts: if case % 4 < 2 {
                0
            } else {
                1 + (case % 3) as u32
            },
            transactions: 160,
        };
        one(&plan, &seen).map_err(|reason| format!("recorded, seed {}: {reason}", plan.seed))
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let note = format!(
        "{right} of {} planted anomalies named; {serials} serial histories clean; {recorded} recorded: \
         {} transactions, {} committed, {} of them loads, {} power cuts that took {} commits, {} histories with skew where it is permitted",
        PLANTED.len(),
        count(&seen.transactions),
        count(&seen.committed),
        count(&seen.loads),
        count(&seen.power_cuts),
        count(&seen.lost),
        count(&seen.skewed),
    );
    let overlap = if count(&seen.loads) == 0 {
        Err("no load was committed".into())
    } else if count(&seen.skewed) > 0 {
        Ok(())
    } else {
        Err("no history has the skew that snapshot isolation permits: nothing ran at once".into())
    };
    tally.add(PLANTED.len() as u64, overlap);
    let planted = tally.outcome();
    Outcome {
        cases: planted.cases + clean.cases + engine.cases,
        bad: planted.bad + clean.bad + engine.bad,
        first_bad: planted.first_bad.or(clean.first_bad).or(engine.first_bad),
        note: Some(note),
    }
}

fn none_of(found: &[Anomaly]) -> Verdict {
    match found.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} anomalies, first {first}", found.len())),
    }
}

fn one(plan: &Plan, seen: &Seen) -> Verdict {
    let history: History = record(plan)?;
    let add = |counter: &AtomicU64, count: usize| {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    };
    let all = history.transactions.iter();
    let committed = all.filter(|one| one.committed.is_some());
    add(&seen.committed, committed.clone().count());
    add(&seen.loads, committed.filter(|one| one.is_load).count());
    add(&seen.transactions, history.transactions.len());
    add(&seen.power_cuts, history.crashes.len());
    let report = check(&history);
    add(&seen.lost, report.lost);
    let mut found = report.found;
    if !plan.is_serializable {
        let all = found.len();
        found.retain(|anomaly| !anomaly.kind.is_snapshot());
        add(&seen.skewed, usize::from(found.len() < all));
    }
    none_of(&found)
}
