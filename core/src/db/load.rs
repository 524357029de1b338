//! Bulk load: entries in key order straight into a table's tree, where nothing stands above
//! the trees. Beside writers a load is ingested (`ingest`).
//!
//! A load writes each page once, full, and no log: it is there as a whole, and
//! durable, when [`Load::finish`] returned, and not at all before. It holds
//! maintenance for as long as it lasts: merges wait, and writers are held up when
//! all memtables are full. Commits made meanwhile count as later than the load; of those,
//! transactions that touch the table are refused (`validate`).

use super::{Engine, Maintenance, PutOptions, maintain};
use crate::btree::StoreSink;
use crate::btree::{Change, Root};
use crate::error::{Error, KeySample, Result};
use crate::format::catalogue::RootRecord;
use crate::format::extent::EXTENT_REF_BYTES;
use crate::format::leaf::EntryKind;
use crate::limits::inline_value_bytes_max;
use crate::sync::{ExclusiveGuard, Ordering};
use maintain::{ChangedRoot, Publishing};

/// A load under way. Dropped before it is finished, it leaves nothing.
pub struct Load<'e> {
    engine: &'e Engine,
    maintenance: ExclusiveGuard<'e, Maintenance>,
    table: u32,
    before: RootRecord,
    rows: u64,
    /// What may have been written since open, by when the reserve would be taken.
    written_bytes_max: u64,
    is_over: bool,
}

impl Engine {
    /// Begins a load into a table, which may hold entries: those of the same keys
    /// are replaced. Nothing may stand above the trees, since it would count as later.
    ///
    /// # Errors
    /// [`Error::Busy`] while maintenance is owned, or something stands above the trees:
    /// [`drain`](Self::drain) first.
    pub fn begin_load(&self, table: u32) -> Result<Load<'_>> {
        self.check_writable()?;
        let maintenance = self.maintenance.try_enter().ok_or(Error::Busy)?;
        let table_before = self.count_load(table);
        let begun = self.begin_counted_load(table, maintenance);
        if begun.is_err() {
            let mut sequencer = self.sequencer.lock();
            sequencer.loaded_table = table_before;
            self.loads.fetch_sub(1, Ordering::SeqCst);
        }
        begun
    }

    /// From here on a transaction that touches the table isn't committed. Answers the
    /// table of the load before.
    fn count_load(&self, table: u32) -> u32 {
        let mut sequencer = self.sequencer.lock();
        self.loads.fetch_add(1, Ordering::SeqCst);
        core::mem::replace(&mut sequencer.loaded_table, table)
    }

    fn begin_counted_load<'e>(
        &'e self,
        table: u32,
        mut maintenance: ExclusiveGuard<'e, Maintenance>,
    ) -> Result<Load<'e>> {
        let sources = self.current_version().sources;
        let is_empty = sources.iter().all(|source| {
            let memtable = source
                .memtable()
                .and_then(|index| self.front.memtable(index));
            memtable.is_some_and(|slot| slot.memtable.is_empty())
        });
        let epochs = self.pager.epochs();
        let is_idle = maintenance.work.is_none() && maintenance.paused.is_none();
        if !is_idle || !is_empty || !self.front.versions.has_room(epochs) {
            return Err(Error::Busy);
        }
        if maintenance.store.must_abandon() {
            // Giving up what was built before failed, reading the catalogue.
            maintenance.store.abandon(&self.pager)?;
        }
        let oldest = self.front.versions.oldest_generation(epochs);
        while maintenance.store.reclaim(&self.pager, oldest)? {}
        let roots = maintenance.store.published().roots;
        let before = self.root_record(roots.as_ref(), table, true)?;
        maintenance.editor.begin(
            &Root {
                page: before.root,
                table,
            },
            false,
        )?;
        let written = maintenance.store.written_bytes();
        let written_bytes_max = written.saturating_add(self.spare_bytes());
        Ok(Load {
            engine: self,
            maintenance,
            table,
            before,
            rows: 0,
            written_bytes_max,
            is_over: false,
        })
    }
}

impl Load<'_> {
    /// Adds an entry. Its key is above the one before.
    ///
    /// # Errors
    /// [`Error::NotAscending`] and [`Error::OverLimit`] leave the load as it was. After
    /// any other error it can only be dropped: [`Error::StorageFull`] where it would take
    /// the reserve is one.
    pub fn push(&mut self, key: &[u8], value: &[u8], options: PutOptions) -> Result<()> {
        let engine = self.engine;
        engine.check_record(key, value)?;
        let Maintenance { store, editor, .. } = &mut *self.maintenance;
        if store.written_bytes() > self.written_bytes_max {
            return Err(Error::StorageFull);
        }
        let mut reference = [0; EXTENT_REF_BYTES];
        let inline = value.len() <= inline_value_bytes_max(engine.pager.layout().page_bytes);
        if !inline {
            // The editor says so of every key, but not before the extent is written.
            if !editor.is_above_last(key) {
                return Err(Error::NotAscending {
                    key: KeySample::of(key),
                });
            }
            reference = store
                .append_extent(&engine.pager, self.table, value)?
                .encode();
        }
        let change = Change::Put {
            kind: if inline {
                EntryKind::Put
            } else {
                EntryKind::Extent
            },
            expiry_ms: options.expiry_ms,
            metadata: options.metadata,
            sequence: 0,
            value: if inline { value } else { &reference },
        };
        let mut sink = StoreSink {
            pager: &engine.pager,
            store,
            keeps_leaves: false,
        };
        editor.apply(&engine.pager, &mut sink, key, change)?;
        self.rows += 1;
        Ok(())
    }

    /// Publishes the load, durably. Answers how many entries were pushed.
    ///
    /// # Errors
    /// I/O, or a full storage: nothing of the load is there then.
    pub fn finish(mut self) -> Result<u64> {
        if self.rows == 0 {
            return Ok(0);
        }
        let engine = self.engine;
        let maintenance = &mut *self.maintenance;
        let Maintenance {
            store,
            editor,
            changed,
            changed_count,
            ..
        } = &mut *maintenance;
        let mut sink = StoreSink {
            pager: &engine.pager,
            store,
            keeps_leaves: false,
        };
        let record = editor.finish(&engine.pager, &mut sink)?;
        if let Some(slot) = changed.first_mut() {
            let entries_before = self.before.entries;
            *slot = ChangedRoot {
                table: self.table,
                record,
                entries_before,
            };
        }
        *changed_count = 1;
        let publishing = Publishing {
            ..Publishing::default()
        };
        engine.flip(maintenance, &publishing, |sources| *sources)?;
        self.is_over = true;
        Ok(self.rows)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        {
            // What was published is seen by whoever begins from here on.
            let _sequencer = self.engine.sequencer.lock();
            self.engine.loads.fetch_add(1, Ordering::SeqCst);
        }
        if self.is_over {
            return;
        }
        self.maintenance.changed_count = 0;
        // After another error who comes next abandons it.
        if self.maintenance.store.abandon(&self.engine.pager) == Err(Error::Poisoned) {
            self.engine.poisoned.store(true, Ordering::Release);
        }
    }
}
