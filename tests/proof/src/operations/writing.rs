//! The operations that commit more than plain changes.

use lightning_core::db::{Isolation, NAMES_TABLE, PutOptions};
use lightning_core::error::Error;

use super::{Course, NAMES, ONE, STEPS_MAX, TABLES_MAX, delete, made, put, row, value, wrong};
use crate::engine::{Change, What, ingest, until_it_passes, whole, write};
use crate::script::Failure;

impl Course {
    /// Sets a row to what follows from its value, and writes to other tables, too.
    pub(super) fn transaction(&mut self) -> Result<(), Failure> {
        let step = self.step;
        let expected = self.model().rows.get(&(ONE, row(2))).cloned();
        let mut counter = expected.clone().unwrap_or_default();
        counter.resize(30, 0);
        counter[0] = counter[0].wrapping_add(1);
        let mut changes = vec![
            put(ONE, row(2), counter),
            put(ONE, "both", value(step, 5, 70)),
            delete(ONE, row(3)),
        ];
        if let Some(two) = self.table(NAMES[1]) {
            changes.push(put(two, "both", value(step, 6, 70)));
        }
        let mut is_same = true;
        self.until_room(|engine| {
            let mut transaction = engine.begin(0, Isolation::Serializable)?;
            let written = (|| {
                let key = row(2);
                let view = engine.transaction_view(&transaction, ONE, true)?;
                let found = match engine.get(&view, &key, true)? {
                    Some(found) => Some(whole(engine, &view, found.stored())?),
                    None => None,
                };
                is_same = found == expected;
                engine.transaction_note_read(&mut transaction, ONE, &key, Some(&key))?;
                for change in &changes {
                    write(engine, &mut transaction, change)?;
                }
                Ok(())
            })();
            match written {
                Ok(()) => engine.commit(transaction, 0, 0),
                Err(error) => {
                    engine.rollback(transaction);
                    Err(error)
                }
            }
        })?;
        if !is_same {
            return wrong("a transaction read another value");
        }
        self.committed(&changes);
        self.flush()
    }

    pub(super) fn stream(&mut self) -> Result<(), Failure> {
        let bytes = value(self.step, 7, 1_900);
        let engine = self.engine()?;
        let mut writer = until_it_passes(engine, || engine.begin_value(ONE, 2_000))?;
        for part in bytes.chunks(700) {
            writer.write(part)?;
        }
        let mut written = until_it_passes(engine, || writer.finish())?;
        drop(writer);
        let _ = until_it_passes(engine, || {
            engine.put_value(b"stream", &mut written, PutOptions::default(), 0)
        })?;
        drop(written);
        self.committed(&[put(ONE, "stream", bytes)]);
        self.flush()
    }

    fn loaded(&self, first: u32) -> Vec<Change> {
        let salt = 10 + first;
        (0..4)
            .map(|index| {
                let bytes = if index == 1 { 200 } else { 50 };
                let key = row(first + 7 * index);
                put(ONE, key, value(self.step, salt + index, bytes))
            })
            .collect()
    }

    pub(super) fn ingest(&mut self) -> Result<(), Failure> {
        let changes = self.loaded(4);
        if !self.engine()?.can_ingest() {
            return self.commit(&changes);
        }
        let _ = ingest(self.engine()?, &changes, &mut || Ok(()))?;
        self.committed(&changes);
        self.flush()
    }

    pub(super) fn load(&mut self) -> Result<(), Failure> {
        self.drain()?;
        let changes = self.loaded(1);
        let mut load = match self.engine()?.begin_load(ONE) {
            Ok(load) => load,
            // The snapshot keeps what would have to be merged.
            Err(Error::Busy) if self.held.is_some() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for change in &changes {
            if let What::Put(value) = &change.what {
                load.push(&change.key, value, PutOptions::default())?;
            }
        }
        let loaded = load.finish();
        let before = self.model().clone();
        self.committed(&changes);
        if let Err(error) = loaded {
            // Nobody knows, until it is opened again.
            self.states.push(before);
            return Err(error.into());
        }
        self.all_acknowledged();
        Ok(())
    }

    pub(super) fn create_table(&mut self, name: &[u8]) -> Result<(), Failure> {
        let mut changes = Vec::new();
        let first = value(self.step, 8, 40);
        self.until_room(|engine| {
            let mut transaction = engine.begin(0, Isolation::Snapshot)?;
            let created = engine
                .transaction_create_table(&mut transaction, name)
                .and_then(|table| {
                    changes = vec![
                        put(NAMES_TABLE, name, table.to_le_bytes().to_vec()),
                        put(table, "first", first.clone()),
                    ];
                    write(engine, &mut transaction, &changes[1])
                });
            match created {
                Ok(()) => engine.commit(transaction, 0, 0),
                Err(error) => {
                    engine.rollback(transaction);
                    Err(error)
                }
            }
        })?;
        if changes[0].key.is_empty() || changes[1].table >= ONE + TABLES_MAX {
            return wrong("a table has a number that nobody compares");
        }
        self.committed(&changes);
        self.flush()
    }

    pub(super) fn drop_table(&mut self) -> Result<(), Failure> {
        let names = (0..STEPS_MAX).rev().map(made);
        let names = names.chain([NAMES[1].to_vec()]);
        let found = names.map(|name| (self.table(&name), name));
        let youngest = found.max_by_key(|(table, _)| *table);
        let Some((Some(table), name)) = youngest else {
            return Ok(());
        };
        self.until_room(|engine| {
            let mut transaction = engine.begin(0, Isolation::Snapshot)?;
            match engine.transaction_drop_table(&mut transaction, &name) {
                Ok(()) => engine.commit(transaction, 0, 0),
                Err(error) => {
                    engine.rollback(transaction);
                    Err(error)
                }
            }
        })?;
        let rows = Change {
            table,
            key: Vec::new(),
            what: What::DeleteTo(None),
        };
        self.committed(&[delete(NAMES_TABLE, name), rows]);
        self.flush()
    }
}
