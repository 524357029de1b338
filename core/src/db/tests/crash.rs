//! The power goes at every operation: nothing acknowledged is lost, and what is
//! found is a prefix of the order of commits.

use super::*;
use lightning_sim::{CrashMode, Random};

/// What happens to a key.
#[derive(Clone)]
enum Change {
    Put(Vec<u8>),
    Delete,
    /// It and all after it, up to this one.
    DeleteTo(Vec<u8>),
}

/// What one commit changes.
type Changes = Vec<(Vec<u8>, Change)>;

fn script(seed: u64, commits: usize, longest: u64) -> Vec<Changes> {
    let mut random = Random::new(seed);
    (0..commits)
        .map(|_| {
            let count = [1, 1, 1, 4][random.below(4) as usize];
            let mut changes: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
            if random.below(16) == 0 {
                let first = random.below(120);
                let name = |number| std::format!("key{number:03}").into_bytes();
                let last = name(first + 1 + random.below(20));
                return std::vec![(name(first), Change::DeleteTo(last))];
            }
            for _ in 0..count {
                let key = std::format!("key{:03}", random.below(120)).into_bytes();
                let most = if count == 1 && random.below(12) == 0 {
                    longest
                } else {
                    120
                };
                let change = if random.below(5) > 0 {
                    let length = random.below(most) as usize;
                    Change::Put(std::vec![random.below(256) as u8; length])
                } else {
                    Change::Delete
                };
                changes.insert(key, change);
            }
            changes.into_iter().collect()
        })
        .collect()
}

/// The rows after each number of commits.
fn states(script: &[Changes]) -> Vec<Rows> {
    let mut states = std::vec![Rows::new()];
    for changes in script {
        let mut rows = states.last().unwrap().clone();
        for (key, change) in changes {
            match change {
                Change::Put(value) => {
                    rows.insert(key.clone(), value.clone());
                }
                Change::Delete => {
                    rows.remove(key);
                }
                Change::DeleteTo(to) => rows.retain(|found, _| found < key || found >= to),
            }
        }
        states.push(rows);
    }
    states
}

/// Plays the script from commit `from` on; answers how many commits were acknowledged as
/// durable when an error ended it, or all.
fn play(engine: &Engine, script: &[Changes], from: usize) -> usize {
    let is_synced = engine.options().durability == Durability::Sync;
    let mut acknowledged = from;
    let mut appended = from;
    let outcome = (|| -> Result<()> {
        for (number, changes) in script.iter().enumerate().skip(from) {
            loop {
                let put = PutOptions::default();
                let outcome = match changes.as_slice() {
                    [(key, Change::Put(value))] => engine.put(16, key, value, put, 0),
                    [(key, Change::Delete)] => engine.delete(16, key, 0),
                    _ => {
                        let mut transaction = engine.begin(0, Isolation::Snapshot)?;
                        for (key, change) in changes {
                            let transaction = &mut transaction;
                            let written = match change {
                                Change::Put(value) => {
                                    engine.transaction_put(transaction, 16, key, value, put)
                                }
                                Change::Delete => engine.transaction_delete(transaction, 16, key),
                                Change::DeleteTo(to) => {
                                    engine.transaction_delete_range(transaction, 16, key, Some(to))
                                }
                            };
                            written.unwrap();
                        }
                        engine.commit(transaction, 0, 0)
                    }
                };
                match outcome {
                    Ok(_) => break,
                    Err(error) => make_room(engine, error)?,
                }
            }
            appended += 1;
            // Groups of one to three commits; maintenance in small steps between.
            if number % 3 != 1 {
                let syncs = is_synced || number % 8 == 0;
                engine.flush_step(syncs)?;
                if syncs {
                    acknowledged = appended;
                }
            }
            engine.poll_maintenance(Budgeted {
                entries: 24,
                log_bytes: 8_192,
            })?;
        }
        engine.flush_step(true)?;
        acknowledged = appended;
        Ok(())
    })();
    match outcome {
        Ok(()) => assert_eq!(acknowledged, script.len()),
        // Room in the log is promised at commit.
        Err(error) => assert_ne!(error, Error::LogFull),
    }
    acknowledged
}

/// Opens an image. Its state has to be the one after its last commit, and that commit the
/// last acknowledged one or a later one.
pub(super) fn check_image(
    image: &SimStorage,
    options: &Options,
    states: &[Rows],
    acknowledged: usize,
    case: &str,
) -> (Engine, usize) {
    let engine = match open(image, options) {
        Ok(engine) => engine,
        Err(error) => panic!("{case}: does not open: {error}"),
    };
    let found = rows(&engine, 16).unwrap_or_else(|error| panic!("{case}: {error}"));
    let last = engine.statistics().durable_sequence as usize;
    assert!(
        last >= acknowledged,
        "{case}: {acknowledged} acknowledged, {last} found"
    );
    assert!(last < states.len(), "{case}: commit {last} was never made");
    assert!(
        found == states[last],
        "{case}: not the state after commit {last}"
    );
    (engine, last)
}

fn cut_everywhere(sim: SimOptions, options: &Options, seed: u64, commits: usize, stride: u64) {
    let longest = if options.value_bytes_max > 0 {
        1_400
    } else {
        250
    };
    let script = script(seed, commits, longest);
    let states = states(&script);
    let base = SimStorage::new(sim);
    drop(create(&base, options).unwrap());
    let base = base.restart();
    let mut images = 0;
    let mut cut = 1 + seed % stride;
    loop {
        let storage = base.fork();
        if cut.is_multiple_of(2) {
            storage.cut_after(storage.operation_count() + cut);
        } else {
            storage.cut_during(storage.operation_count() + cut);
        }
        let acknowledged = match open(&storage, options) {
            Ok(engine) => play(&engine, &script, 0),
            Err(_) => 0,
        };
        assert!(
            storage.violations().is_empty(),
            "{:?}",
            storage.violations()
        );
        for (index, mode) in CrashMode::EVERY.into_iter().enumerate() {
            let image = storage.crash_image(mode, cut * 31 + index as u64);
            let case = std::format!("seed {seed} cut {cut} {mode:?}");
            let (_, last) = check_image(&image, options, &states, acknowledged, &case);
            images += 1;
            // Recovery itself is cut off, and what it leaves recovers to the same.
            if (cut + index as u64).is_multiple_of(5) {
                let again = storage.crash_image(mode, cut * 31 + index as u64);
                again.cut_after(1 + cut % 17);
                drop(open(&again, options));
                let image = again.crash_image(CrashMode::Random, cut);
                let case = std::format!("{case}, recovery cut");
                check_image(&image, options, &states, last, &case);
                images += 1;
            }
        }
        if storage.has_power() {
            break;
        }
        cut += stride;
    }
    assert!(images > 100, "{images}");
}

#[test]
fn a_power_cut_anywhere_loses_nothing_acknowledged() {
    cut_everywhere(SimOptions::disk(512), &busy_options(), 1, 150, 7);
    let options = Options {
        page_bytes: 4_096,
        cache_bytes: 256 << 10,
        runs: 2,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(4_096), &options, 2, 120, 11);
    let options = Options {
        runs: 0,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 5, 120, 11);
}

#[test]
fn a_power_cut_anywhere_where_most_flushes_are_not_synced() {
    let options = Options {
        durability: Durability::Written,
        segment_bytes: 8 << 10,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 5, 150, 7);
    let options = Options {
        page_bytes: 4_096,
        cache_bytes: 256 << 10,
        segment_bytes: 32 << 10,
        ..options
    };
    cut_everywhere(SimOptions::disk(4_096), &options, 6, 120, 7);
    let options = Options {
        durability: Durability::Written,
        file_bytes_max: 4 << 20,
        ..busy_options()
    };
    let flash = SimOptions::flash(256, 4_096, 16 << 20);
    cut_everywhere(flash, &options, 7, 100, 11);
}

#[test]
fn a_power_cut_anywhere_on_flash() {
    let options = Options {
        file_bytes_max: 4 << 20,
        ..busy_options()
    };
    cut_everywhere(
        SimOptions::flash(256, 4_096, 16 << 20),
        &options,
        3,
        100,
        13,
    );
}

#[test]
fn a_power_cut_anywhere_in_forty_kib() {
    cut_everywhere(
        SimOptions::flash(256, 4_096, 8 << 20),
        &Options::small(),
        4,
        60,
        9,
    );
}

#[test]
fn a_creation_that_was_cut_off_is_done_again() {
    let options = busy_options();
    for cut in 1.. {
        let storage = SimStorage::new(SimOptions::disk(512));
        storage.cut_after(cut);
        let created = create(&storage, &options).is_ok();
        for mode in CrashMode::EVERY {
            let image = storage.crash_image(mode, cut);
            let engine = match open(&image, &options) {
                Ok(engine) => engine,
                Err(_) => {
                    assert!(!created);
                    create(&image, &options)
                        .unwrap_or_else(|error| panic!("{cut} {mode:?} {error}"))
                }
            };
            assert_eq!(rows(&engine, 16).unwrap(), Rows::new());
        }
        if storage.has_power() {
            break;
        }
    }
}
