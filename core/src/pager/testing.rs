//! A page store over the simulator, for the tests of the modules above.

use super::{FlipInput, FramePlan, Frames, Layout, PageStore, Pager, RunsChange, StorePlan};
use crate::btree::PageSink;
use crate::error::Result;
use crate::format::checksum::Checksum;
use crate::format::page_ref::{PageKind, PageRef};
use crate::format::superblock::Superblock;
use crate::mem::Budget;
use alloc::sync::Arc;
use lightning_platform::{Cipher, Codec, File, Memory, Storage, Wait};
use lightning_sim::{SimMemory, SimStorage, SimWait};

pub(crate) struct Bench {
    pub pager: Pager,
    pub store: PageStore,
    pub budget: Budget,
}

#[derive(Clone)]
pub(crate) struct Setup {
    pub page_bytes: usize,
    pub unit_bytes: usize,
    pub frames: usize,
    pub codec: Option<Arc<dyn Codec>>,
    pub cipher: Option<Arc<dyn Cipher>>,
}

impl Setup {
    pub fn plain(page_bytes: usize, frames: usize) -> Self {
        Self {
            page_bytes,
            unit_bytes: page_bytes,
            frames,
            codec: None,
            cipher: None,
        }
    }

    fn superblock(&self, storage: &SimStorage) -> Superblock {
        let geometry = storage.geometry();
        let block = self
            .page_bytes
            .max(geometry.write_block_bytes as usize)
            .max(geometry.erase_block_bytes as usize);
        Superblock {
            features_compatible: 0,
            features_read: 0,
            features_incompatible: 0,
            page_bytes: self.page_bytes as u32,
            unit_bytes: self.unit_bytes as u32,
            block_bytes: block as u32,
            check_bytes: if self.cipher.is_some() { 16 } else { 4 },
            codec: 0,
            cipher: 0,
            segment_bytes: 65_536,
            lineage_id: [1; 16],
            instance_id: [2; 16],
            timeline: 0,
            writing: 0,
            timeline_sequence: 0,
            generation: 1,
            merged_sequence: 0,
            durable_sequence: 0,
            first_segment: 1,
            wall_time_ms: 0,
            file_blocks: 2,
            next_table: 16,
            touched_sequence: 0,
            catalogue: Default::default(),
        }
    }

    fn pager(
        &self,
        storage: &SimStorage,
        superblock: &Superblock,
        budget: &mut Budget,
    ) -> Result<Pager> {
        let wait: Arc<dyn Wait> = Arc::new(SimWait);
        let envelope = if self.codec.is_some() || self.cipher.is_some() {
            32
        } else {
            0
        };
        let layout = Layout {
            page_bytes: self.page_bytes,
            plain_bytes: self.page_bytes - envelope,
            unit_bytes: self.unit_bytes,
            block_bytes: superblock.block_bytes as usize,
            check_bytes: superblock.check_bytes as usize,
            lineage_id: superblock.lineage_id,
        };
        let plan = FramePlan {
            page_bytes: layout.plain_bytes,
            frames: self.frames,
            reader_slots: 8,
        };
        let frames = Frames::new(budget, plan, &wait)?;
        Ok(Pager::new(
            Arc::new(storage.clone()),
            self.codec.clone(),
            self.cipher.clone(),
            Checksum::default(),
            layout,
            frames,
        ))
    }

    fn plan(&self) -> StorePlan {
        StorePlan {
            write_buffer_bytes: 16_384,
            file_bytes_max: 64 << 20,
            has_extents: false,
            runs_max: 2,
            salt: [3; 16],
        }
    }

    pub fn create(&self, storage: &SimStorage) -> Result<Bench> {
        storage.create(File::Pages).unwrap();
        storage.sync_directory().unwrap();
        self.format(storage, &SimMemory::new(1 << 30))
    }

    /// Formats a page file that exists.
    pub fn format(&self, storage: &SimStorage, memory: &SimMemory) -> Result<Bench> {
        let memory: Arc<dyn Memory> = Arc::new(memory.clone());
        let mut budget = Budget::new(memory, 1 << 30);
        let superblock = self.superblock(storage);
        let pager = self.pager(storage, &superblock, &mut budget)?;
        let store = PageStore::create(&pager, &mut budget, self.plan(), superblock)?;
        Ok(Bench {
            pager,
            store,
            budget,
        })
    }

    pub fn open(&self, storage: &SimStorage) -> Result<Bench> {
        self.open_with(storage, &SimMemory::new(1 << 30))
    }

    pub fn open_with(&self, storage: &SimStorage, memory: &SimMemory) -> Result<Bench> {
        let memory: Arc<dyn Memory> = Arc::new(memory.clone());
        let mut budget = Budget::new(memory, 1 << 30);
        let superblock = super::newest_superblock(storage, Checksum::default(), true)?;
        let pager = self.pager(storage, &superblock, &mut budget)?;
        let mut store = PageStore::open(&pager, &mut budget, self.plan(), superblock)?;
        store.reassert(&pager)?;
        Ok(Bench {
            pager,
            store,
            budget,
        })
    }
}

impl Bench {
    pub fn flip(&mut self, root: Option<PageRef>) -> Result<u64> {
        let input = FlipInput {
            roots: root,
            entries: 0,
            merged_sequence: 0,
            touched_sequence: 0,
            durable_sequence: 0,
            first_segment: 1,
            wall_time_ms: 0,
            next_table: 16,
            runs: RunsChange::None,
        };
        Ok(self.store.flip(&self.pager, input)?.generation)
    }
}

pub(crate) struct StoreSink<'a> {
    pub pager: &'a Pager,
    pub store: &'a mut PageStore,
}

impl PageSink for StoreSink<'_> {
    fn append(&mut self, kind: PageKind, level: u8, plain: &mut [u8]) -> Result<PageRef> {
        self.store.append(self.pager, kind, level, plain, true)
    }

    fn release(&mut self, page: &PageRef) -> Result<()> {
        self.store.release(self.pager, page)
    }

    fn release_extent(&mut self, _reference: &[u8]) -> Result<()> {
        Ok(())
    }
}
