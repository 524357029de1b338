//! Range deletes against a sorted map, in trees of several levels.

use super::*;

enum Step {
    Change(Vec<u8>, Option<Vec<u8>>),
    DeleteRange(Vec<u8>, Option<Vec<u8>>),
}

fn edit_steps(
    bench: &mut Bench,
    editor: &mut Editor,
    record: &RootRecord,
    steps: &[Step],
) -> RootRecord {
    let Bench { pager, store, .. } = bench;
    let mut sink = StoreSink { pager, store };
    let root = Root {
        page: record.root,
        table: 16,
    };
    editor.begin(&root, false).unwrap();
    for step in steps {
        match step {
            Step::Change(key, Some(value)) => {
                let put = Change::Put {
                    kind: EntryKind::Put,
                    expiry_ms: None,
                    metadata: None,
                    sequence: 0,
                    value,
                };
                editor.apply(pager, &mut sink, key, put).unwrap();
            }
            Step::Change(key, None) => {
                let delete = Change::Delete;
                editor.apply(pager, &mut sink, key, delete).unwrap();
            }
            Step::DeleteRange(from, to) => editor
                .delete_range(pager, &mut sink, from, to.as_deref())
                .unwrap(),
        }
    }
    editor.finish(pager, &mut sink).unwrap()
}

fn apply_step(model: &mut Model, step: &Step) {
    match step {
        Step::Change(key, Some(value)) => drop(model.insert(key.clone(), value.clone())),
        Step::Change(key, None) => drop(model.remove(key)),
        Step::DeleteRange(from, to) => {
            model.retain(|key, _| key < from || to.as_ref().is_some_and(|to| key >= to));
        }
    }
}

fn number_key(number: u64) -> Vec<u8> {
    std::format!("key{number:06}").into_bytes()
}

/// A range that begins under one branch and ends under the next takes the leaves at the
/// next one's beginning along.
#[test]
fn a_range_goes_across_branches() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(512, 128).create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 128).unwrap();
    let rows: Vec<Step> = (0..1_200)
        .map(|number| Step::Change(number_key(number), Some(std::vec![1; 60])))
        .collect();
    let mut full = Model::new();
    rows.iter().for_each(|row| apply_step(&mut full, row));
    let mut record = edit_steps(&mut bench, &mut editor, &RootRecord::default(), &rows);
    assert!(record.root.is_some_and(|root| root.level >= 2));
    bench.flip(record.root).unwrap();
    for first in (0..1_200).step_by(23) {
        let mut model = full.clone();
        let step = Step::DeleteRange(number_key(first), Some(number_key(first + 60)));
        apply_step(&mut model, &step);
        record = edit_steps(&mut bench, &mut editor, &record, &[step]);
        bench.flip(record.root).unwrap();
        check(&bench, &record, &model);
        record = edit_steps(&mut bench, &mut editor, &record, &rows);
        let generation = bench.flip(record.root).unwrap();
        while bench.store.reclaim(&bench.pager, generation).unwrap() {}
    }
}

/// Range deletes between puts and deletes, round after round.
#[test]
fn random_range_deletes_match_a_sorted_map() {
    for (page_bytes, seed) in [(512, 1), (512, 2), (1_024, 3), (4_096, 4)] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let mut random = Random::new(seed);
        let mut bench = Setup::plain(page_bytes, 128).create(&storage).unwrap();
        let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 128).unwrap();
        let mut model = Model::new();
        let mut record = RootRecord::default();
        for _ in 0..60 {
            let count = [2, 12, 300, 900][random.below(4) as usize];
            let mut keys: Vec<u64> = (0..count).map(|_| random.below(4_000)).collect();
            keys.sort_unstable();
            keys.dedup();
            let ranges_of_hundred = [1, 5, 30][random.below(3) as usize];
            let steps: Vec<Step> = (0..keys.len())
                .map(|index| {
                    let key = number_key(keys[index]);
                    let next = keys.get(index + 1).copied();
                    match random.below(100) {
                        below if below < ranges_of_hundred => {
                            // Up to the next step at most, or to the end.
                            let end = next.map(|next| next - random.below(2));
                            let end = end.filter(|end| *end > keys[index]).or(next);
                            Step::DeleteRange(key, end.map(number_key))
                        }
                        below if below < 40 => Step::Change(key, None),
                        _ => {
                            let value = std::vec![2; random.below(100) as usize];
                            Step::Change(key, Some(value))
                        }
                    }
                })
                .collect();
            record = edit_steps(&mut bench, &mut editor, &record, &steps);
            steps.iter().for_each(|step| apply_step(&mut model, step));
            let generation = bench.flip(record.root).unwrap();
            while bench.store.reclaim(&bench.pager, generation).unwrap() {}
            check(&bench, &record, &model);
        }
    }
}
