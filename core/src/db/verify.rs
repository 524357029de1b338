//! The integrity check: every page of every tree, read from the medium.

use super::Engine;
use crate::btree::{self, Root, Visited, check_buffer_bytes, check_tree};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::get_u32;
use crate::format::catalogue::RootRecord;
use crate::format::extent::{EXTENT_HEADER_BYTES, ExtentRef};
use crate::format::page_ref::{PageKind, PageRef};
use crate::format::run::{RUN_KEY_TABLE_BYTES, RunRecord};
use crate::limits::TREE_LEVELS_MAX;
use crate::pager::{FilterPages, PageStore, Pager};
use lightning_platform::File;

/// What a check came by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Tables with entries.
    pub tables: u64,
    /// Pages of trees and runs.
    pub pages: u64,
    /// Entries in trees; those in memtables and runs are not counted.
    pub entries: u64,
    /// Values in extents.
    pub extents: u64,
    /// Runs that stand on the trees, one that only the log names yet included; their
    /// entries are not counted.
    pub runs: u64,
    /// Units that are in use and belong to nothing: lost space, no lost data.
    pub leaked_units: u64,
}

impl Engine {
    /// Bytes of buffer that [`verify`](Self::verify) takes.
    #[must_use]
    pub fn verify_buffer_bytes(&self) -> usize {
        let levels = u8::try_from(TREE_LEVELS_MAX).unwrap_or(u8::MAX);
        check_buffer_bytes(self.pager.layout(), levels) + self.pager.layout().plain_bytes
    }

    /// Reads every page of the published state from the medium and checks it: its
    /// checksum, its place in its tree, counts, and that the bitmaps have it in
    /// use. `progress` is told the pages read so far. What is in the log was checked
    /// when the database was opened. Takes as long as reading the file.
    ///
    /// # Errors
    /// The first damage found; I/O; [`Error::Busy`] while a merge is under way, or
    /// maintenance is owned.
    pub fn verify(&self, buffer: &mut [u8], progress: &mut dyn FnMut(u64)) -> Result<Verified> {
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Busy)?;
        if maintenance.work.is_some() {
            return Err(Error::Busy);
        }
        let page_bytes = self.pager.layout().plain_bytes;
        let (page, buffer) = buffer
            .split_at_mut_checked(page_bytes)
            .ok_or(Error::Internal(270))?;
        let store = &mut maintenance.store;
        if store.must_abandon() {
            // Giving up what was built failed, reading the catalogue.
            store.abandon(&self.pager)?;
        }
        let roots = store.published().roots;
        let mut check = Check {
            engine: self,
            store,
            page,
            verified: Verified::default(),
            units: 0,
            exposed_units: 0,
            is_logged: false,
            progress,
        };
        let root = Root {
            page: roots,
            table: 0,
        };
        check.tree(&root, buffer)?;
        // Every table: the roots tree was just found whole, so that it can be walked.
        let mut cursor = crate::btree::TreeCursor::new(&self.pager, root, true);
        cursor.seek(crate::btree::CursorPosition::First)?;
        check.verified.entries = 0;
        while let Some(entry) = cursor.entry() {
            let mut key = [0; 4];
            cursor.copy_key(&mut key);
            let table = u32::from_be_bytes(key);
            let record = RootRecord::decode(entry.value)
                .ok_or_else(|| check.damage(roots.as_ref(), CorruptionReason::Structure))?;
            let found = check.tree(
                &Root {
                    page: record.root,
                    table,
                },
                buffer,
            )?;
            if found.entries != record.entries {
                return Err(check.damage(record.root.as_ref(), CorruptionReason::Count));
            }
            check.verified.tables += 1;
            check.verified.entries += found.entries;
            cursor.advance()?;
        }
        let (count, merging) = (check.store.runs().count(), check.store.runs().merging());
        for index in 0..count {
            let record = check.store.runs().iter().nth(index).copied();
            let record = record.ok_or(Error::Internal(271))?;
            check.run(&record, index < merging, buffer)?;
        }
        if let Some((_, slot)) = self.pending.get() {
            // It is durable, or becomes so with its frame; the bitmaps don't show it yet.
            let run = self.front.runs.run(slot).ok_or(Error::Internal(342))?;
            check.is_logged = true;
            check.run(run.record(), false, buffer)?;
        }
        let Check {
            verified,
            units,
            exposed_units,
            ..
        } = check;
        let entries = maintenance.store.entries();
        let account = maintenance.store.account(&self.pager)?;
        if entries != verified.entries {
            return Err(Error::corrupt(CorruptionReason::Count, File::Pages, 0));
        }
        // A value that only the log names still, after a merge that was cut off.
        let exposed = self.pager.streams().exposed_units();
        let logged = exposed.saturating_sub(exposed_units);
        let accounted = units + account.metadata_units + account.pending_units + logged;
        if accounted > account.used_units {
            // More is referred to than is in use: something is referred to twice.
            return Err(Error::corrupt(CorruptionReason::Space, File::Pages, 0));
        }
        Ok(Verified {
            leaked_units: account.used_units - accounted,
            ..verified
        })
    }
}

struct Check<'a> {
    engine: &'a Engine,
    store: &'a mut PageStore,
    page: &'a mut [u8],
    verified: Verified,
    units: u64,
    /// Of them, those of values that the log names, too.
    exposed_units: u64,
    /// What is looked at is named by the log only.
    is_logged: bool,
    progress: &'a mut dyn FnMut(u64),
}

impl Check<'_> {
    fn damage(&self, page: Option<&PageRef>, reason: CorruptionReason) -> Error {
        let address = page.map_or(0, |page| page.address);
        let offset = self.engine.pager.layout().offset(address);
        Error::corrupt(reason, File::Pages, offset.unwrap_or(u64::MAX))
    }

    fn tree(&mut self, root: &Root, buffer: &mut [u8]) -> Result<RootRecord> {
        let pager = &self.engine.pager;
        check_tree(pager, root, buffer, &mut |visited| match visited {
            Visited::Page(page) => self.visit(page),
            Visited::Extent { reference, .. } => {
                let extent = ExtentRef::decode(reference)
                    .ok_or_else(|| self.damage(root.page.as_ref(), CorruptionReason::Structure))?;
                self.extent(&extent, root.table)
            }
        })
    }

    fn visit(&mut self, page: &PageRef) -> Result<()> {
        self.in_use(page.address, u64::from(page.units))?;
        self.verified.pages += 1;
        (self.progress)(self.verified.pages);
        Ok(())
    }

    /// The trees and the filter of a run. What the trees took over from one that is being
    /// merged was counted there.
    fn run(&mut self, record: &RunRecord, is_merging: bool, buffer: &mut [u8]) -> Result<()> {
        for (page, entries) in [
            (record.newest, Some(record.entries)),
            (record.history, None),
            (record.ranges, Some(u64::from(record.range_tombstones))),
        ] {
            let found = self.run_tree(page, is_merging, buffer)?;
            if entries.is_some_and(|entries| entries != found.entries) {
                return Err(self.damage(page.as_ref(), CorruptionReason::Count));
            }
        }
        let pager = &self.engine.pager;
        let mut walk = FilterPages::new(record);
        while let Some(page) = walk.page {
            self.visit(&page)?;
            pager.read_into(&page, 0, self.page)?;
            walk.go_on(pager, self.page)?;
        }
        if !walk.is_whole() {
            return Err(self.damage(record.filter.as_ref(), CorruptionReason::Structure));
        }
        self.verified.runs += 1;
        Ok(())
    }

    fn run_tree(
        &mut self,
        page: Option<PageRef>,
        is_merging: bool,
        buffer: &mut [u8],
    ) -> Result<RootRecord> {
        let engine = self.engine;
        let root = Root { page, table: 0 };
        let roots = self.store.published().roots;
        check_tree(&engine.pager, &root, buffer, &mut |visited| match visited {
            Visited::Page(page) => self.visit(page),
            Visited::Extent { key, reference } => {
                let malformed = self.damage(page.as_ref(), CorruptionReason::Structure);
                let extent = ExtentRef::decode(reference).ok_or(malformed)?;
                let (table, key) = key.split_at_checked(RUN_KEY_TABLE_BYTES).ok_or(malformed)?;
                let table = get_u32(table, 0).swap_bytes();
                if is_merging {
                    let record = engine.root_record(roots.as_ref(), table, true)?;
                    let tree = Root {
                        page: record.root,
                        table,
                    };
                    let found = btree::get(&engine.pager, &tree, key, true)?;
                    if found.is_some_and(|found| found.value() == reference) {
                        return Ok(());
                    }
                }
                self.extent(&extent, table)
            }
        })
    }

    fn in_use(&mut self, address: u64, units: u64) -> Result<()> {
        if self.is_logged {
            return Ok(());
        }
        let pager = &self.engine.pager;
        if !self.store.is_used(pager, address, units)? {
            let offset = pager.layout().offset(address).unwrap_or(u64::MAX);
            return Err(Error::corrupt(CorruptionReason::Space, File::Pages, offset));
        }
        self.units += units;
        Ok(())
    }

    fn extent(&mut self, extent: &ExtentRef, table: u32) -> Result<()> {
        let pager = &self.engine.pager;
        let units = u64::from(pager.layout().page_units());
        self.exposed_units += pager.streams().exposed_units_at(extent.address);
        let chunks = extent.chunks(pager.layout().chunk_page_bytes());
        for number in 0..chunks {
            self.in_use(extent.address.saturating_add(number * units), units)?;
        }
        read_whole_extent(&self.engine.pager, extent, table, self.page)?;
        self.verified.extents += 1;
        Ok(())
    }
}

/// Reads every chunk of an extent from the medium, by way of `plain`, and checks it.
pub(super) fn read_whole_extent(
    pager: &Pager,
    extent: &ExtentRef,
    table: u32,
    plain: &mut [u8],
) -> Result<()> {
    let layout = pager.layout();
    let units = layout.page_units();
    let damage = |reason, address| {
        let offset = layout.offset(address).unwrap_or(u64::MAX);
        Error::corrupt(reason, File::Pages, offset)
    };
    let mut crc = pager.checksum().of(&[]);
    let chunk_bytes = ExtentRef::chunk_bytes(layout.chunk_page_bytes()) as u64;
    for number in 0..extent.chunks(layout.chunk_page_bytes()) {
        let page = PageRef {
            address: extent.address.saturating_add(number * u64::from(units)),
            birth_generation: extent.birth_generation,
            units,
            level: 0,
            kind: PageKind::Extent,
            check: [0; 16],
        };
        pager.read_into(&page, table, plain)?;
        let held = (extent.length - number * chunk_bytes).min(chunk_bytes);
        let bytes = usize::try_from(held).unwrap_or(0);
        let chunk = plain
            .get(EXTENT_HEADER_BYTES..)
            .and_then(|tail| tail.get(..bytes))
            .filter(|_| extent.is_chunk(plain, number, held))
            .ok_or_else(|| damage(CorruptionReason::Structure, page.address))?;
        crc = pager.checksum().append(crc, chunk);
    }
    if crc == extent.crc {
        Ok(())
    } else {
        Err(damage(CorruptionReason::Checksum, extent.address))
    }
}
