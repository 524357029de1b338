//! Every storage call and every reservation fails once, or for good.

use super::*;
use crate::error::{Error, IoAction};
use lightning_platform::{File, IoErrorKind, Storage};
use lightning_sim::SimMemory;

struct Base {
    setup: Setup,
    storage: SimStorage,
    model: Model,
    record: RootRecord,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    after: Model,
}

fn base(setup: Setup, options: SimOptions) -> Base {
    let storage = SimStorage::new(options);
    let mut random = Random::new(5);
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = editor_of(&mut bench).unwrap();
    let mut model = Model::new();
    let mut record = RootRecord::default();
    for _ in 0..3 {
        let changes = random_changes(&mut random, SMALL, 120, 3);
        record = edit(&mut bench, &mut editor, &record, &changes).unwrap();
        apply_to(&mut model, &changes);
        bench.flip(record.root).unwrap();
    }
    let changes = random_changes(&mut random, SMALL, 60, 3);
    let mut after = model.clone();
    apply_to(&mut after, &changes);
    Base {
        setup,
        storage,
        model,
        record,
        changes,
        after,
    }
}

fn editor_of(bench: &mut Bench) -> crate::error::Result<Editor> {
    Editor::new(&mut bench.budget, &bench.pager, 8, 4, 1_024)
}

impl Base {
    fn change(&self, bench: &mut Bench, editor: &mut Editor) -> crate::error::Result<RootRecord> {
        let generation = bench.store.published().generation;
        while bench.store.reclaim(&bench.pager, generation)? {}
        let record = edit(bench, editor, &self.record, &self.changes)?;
        bench.flip(record.root)?;
        Ok(record)
    }

    /// Opens what a failure left, and finds the old state or the new.
    fn reopen(&self, storage: &SimStorage) {
        let bench = self.setup.open(&storage.restart()).unwrap();
        let roots = bench.store.published().roots;
        if roots == self.record.root {
            check(&bench, &self.record, &self.model);
        } else {
            let root = Root {
                page: roots,
                table: 16,
            };
            let level = roots.map_or(0, |page| page.level);
            let mut buffer = std::vec![0; check_buffer_bytes(bench.pager.layout(), level)];
            let record =
                super::super::check_tree(&bench.pager, &root, &mut buffer, &mut |_| Ok(()));
            check(&bench, &record.unwrap(), &self.after);
        }
    }

    fn fail_each_call(&self, kind: IoErrorKind, persistent: bool) {
        let (mut abandoned, mut poisoned) = (0, 0);
        for call in 1.. {
            let storage = self.storage.fork();
            let mut bench = self.setup.open(&storage).unwrap();
            let mut editor = editor_of(&mut bench).unwrap();
            storage.fail_at(storage.call_count() + call, kind, persistent);
            let outcome = self.change(&mut bench, &mut editor);
            if let Ok(record) = outcome {
                storage.clear_faults();
                check(&bench, &record, &self.after);
                break;
            }
            assert!(
                matches!(outcome, Err(Error::Io { .. })),
                "call {call}: {outcome:?}"
            );
            // Until it is abandoned, nothing goes on where it stopped; only a page that
            // the editor couldn't read the store doesn't know of.
            let action = match outcome {
                Err(Error::Io { action, .. }) => action,
                _ => IoAction::Directory,
            };
            if action != IoAction::Read {
                assert!(bench.flip(self.record.root).is_err());
            }
            if persistent {
                assert!(bench.store.abandon(&bench.pager).is_err());
                assert!(bench.flip(self.record.root).is_err());
            }
            storage.clear_faults();
            match bench.store.abandon(&bench.pager) {
                Err(Error::Poisoned) => {
                    poisoned += 1;
                    assert!(matches!(bench.flip(None), Err(Error::Poisoned)));
                    drop(bench);
                }
                abandon => {
                    abandon.unwrap();
                    abandoned += 1;
                    assert_eq!(bench.store.published().roots, self.record.root);
                    check(&bench, &self.record, &self.model);
                    let record = self.change(&mut bench, &mut editor).unwrap();
                    check(&bench, &record, &self.after);
                    bench.flip(record.root).unwrap();
                }
            }
            assert!(
                storage.violations().is_empty(),
                "{:?}",
                storage.violations()
            );
            self.reopen(&storage);
        }
        assert!(poisoned >= 5 && abandoned >= 5, "{poisoned} {abandoned}");
    }
}

#[test]
fn every_failing_call_leaves_a_store_that_goes_on_or_says_so() {
    let codec: Arc<dyn lightning_platform::Codec> = Arc::new(TestCodec);
    let mut packed = Setup::plain(1_024, 24);
    packed.unit_bytes = 128;
    packed.codec = Some(codec);
    let bases = [
        base(Setup::plain(1_024, 24), SimOptions::disk(512)),
        base(
            Setup::plain(1_024, 24),
            SimOptions::flash(256, 4_096, 8 << 20),
        ),
        base(packed, SimOptions::disk(512)),
    ];
    for base in bases {
        for kind in [IoErrorKind::Device, IoErrorKind::StorageFull] {
            for persistent in [false, true] {
                base.fail_each_call(kind, persistent);
            }
        }
    }
}

#[test]
fn every_failing_call_of_an_open_leaves_what_was_there() {
    let base = base(Setup::plain(1_024, 24), SimOptions::disk(512));
    for persistent in [false, true] {
        let mut failed = 0;
        for call in 1.. {
            let storage = base.storage.fork();
            let start = storage.call_count();
            storage.fail_at(start + call, IoErrorKind::Device, persistent);
            let outcome = base.setup.open(&storage).map(|_| ());
            let is_over = storage.call_count() < start + call;
            storage.clear_faults();
            match outcome {
                Ok(()) => {}
                Err(Error::Io { .. }) => failed += 1,
                other => panic!("call {call}: {other:?}"),
            }
            let bench = base.setup.open(&storage.restart()).unwrap();
            check(&bench, &base.record, &base.model);
            if is_over {
                break;
            }
        }
        assert!(failed > 3, "{failed}");
    }
}

#[test]
fn a_full_device_gives_its_room_back() {
    let setup = Setup::plain(1_024, 32);
    let mut options = SimOptions::disk(512);
    options.capacity_bytes = 192 << 10;
    let storage = SimStorage::new(options);
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = editor_of(&mut bench).unwrap();
    let mut model = Model::new();
    let mut record = RootRecord::default();
    let mut random = Random::new(8);
    let mut full = 0;
    while full < 3 {
        let changes = random_changes(&mut random, SMALL, 200, 0);
        let generation = bench.store.published().generation;
        while bench.store.reclaim(&bench.pager, generation).unwrap() {}
        let outcome = edit(&mut bench, &mut editor, &record, &changes)
            .and_then(|record| bench.flip(record.root).map(|_| record));
        match outcome {
            Ok(new) => {
                record = new;
                apply_to(&mut model, &changes);
            }
            Err(Error::Io { error, .. }) if error.kind == IoErrorKind::StorageFull => {
                bench.store.abandon(&bench.pager).unwrap();
                full += 1;
            }
            other => panic!("{other:?}"),
        }
        check(&bench, &record, &model);
    }
    assert!(!model.is_empty());
    storage.set_capacity(400 << 10);
    let changes: BTreeMap<_, _> = model.keys().map(|key| (key.clone(), None)).collect();
    let generation = bench.store.published().generation;
    while bench.store.reclaim(&bench.pager, generation).unwrap() {}
    record = edit(&mut bench, &mut editor, &record, &changes).unwrap();
    for _ in 0..3 {
        let generation = bench.flip(record.root).unwrap();
        while bench.store.reclaim(&bench.pager, generation).unwrap() {}
    }
    check(&bench, &record, &Model::new());
    let used = bench.store.statistics(bench.pager.layout()).used_bytes;
    assert!(used <= 16 << 10, "{used}");
}

#[test]
fn every_failing_reservation_is_a_clean_error() {
    let setup = Setup::plain(1_024, 24);
    let base = base(setup.clone(), SimOptions::disk(512));
    let mut failed = 0;
    for reservation in 1.. {
        let storage = SimStorage::new(SimOptions::disk(512));
        storage.create(File::Pages).unwrap();
        let (for_create, for_open) = (SimMemory::new(1 << 30), SimMemory::new(1 << 30));
        for_create.fail_at(reservation, false);
        for_open.fail_at(reservation, false);
        let created = setup.format(&storage, &for_create).and_then(|mut bench| {
            editor_of(&mut bench)?;
            Ok(())
        });
        let opened = setup
            .open_with(&base.storage.fork(), &for_open)
            .and_then(|mut bench| {
                editor_of(&mut bench)?;
                Ok(())
            });
        for memory in [&for_create, &for_open] {
            assert_eq!(memory.outstanding_bytes(), 0);
            assert!(memory.violations().is_empty());
        }
        for outcome in [&created, &opened] {
            match outcome {
                Ok(()) => {}
                Err(Error::OutOfMemory { .. }) => failed += 1,
                other => panic!("reservation {reservation}: {other:?}"),
            }
        }
        if created.is_ok() && opened.is_ok() {
            break;
        }
    }
    assert!(failed > 30, "{failed}");
}
