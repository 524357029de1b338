//! A storage that shows what a power cut finds, at every operation of a run.
//!
//! Before each mutating operation is done, it is done to copies of the storage: one on
//! which the power goes while the operation is under way, and one on which it goes after
//! it. Of a batch each element is an operation. The observer is handed the copies, in the
//! order in which their power goes, and may keep them.
//!
//! An operation that is cut off is unsynced, as it is when the power goes after it; a sync
//! that is cut off leaves what there was before it. So all that a cut may find is among
//! the copies after operations, if the storage as it was before the first is added; who
//! enumerates leaves the others out.

use lightning_platform::{
    File, Geometry, IoError, PageFileRoom, ReadRequest, Storage, WriteRequest,
};
use lightning_sim::SimStorage;

type Observer = Box<dyn Fn(SimStorage) + Send + Sync>;

/// A storage with an observer.
pub struct Watched {
    inner: SimStorage,
    shows_cut_off: bool,
    observer: Observer,
}

impl Watched {
    /// Shows each operation cut off, and after it.
    pub fn new(inner: SimStorage, observer: impl Fn(SimStorage) + Send + Sync + 'static) -> Self {
        Self {
            inner,
            shows_cut_off: true,
            observer: Box::new(observer),
        }
    }

    /// Shows the storage after each operation only.
    pub fn after_each(
        inner: SimStorage,
        observer: impl Fn(SimStorage) + Send + Sync + 'static,
    ) -> Self {
        Self {
            shows_cut_off: false,
            ..Self::new(inner, observer)
        }
    }

    fn change(&self, apply: impl Fn(&SimStorage) -> Result<(), IoError>) -> Result<(), IoError> {
        let start = self.inner.operation_count();
        let after = self.inner.fork();
        let outcome = apply(&after);
        let count = after.operation_count() - start;
        for operation in 1..=count {
            if self.shows_cut_off {
                let during = self.inner.fork();
                during.cut_during(start + operation);
                let _ = apply(&during);
                (self.observer)(during);
            }
            if operation < count {
                let between = self.inner.fork();
                between.cut_after(start + operation);
                let _ = apply(&between);
                (self.observer)(between);
            }
        }
        let real = apply(&self.inner);
        debug_assert_eq!(real, outcome);
        (self.observer)(after);
        real
    }
}

impl Storage for Watched {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        self.inner.log_slots()
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        self.inner.length(file)
    }

    fn page_file_room(&self) -> Option<PageFileRoom> {
        self.inner.page_file_room()
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        self.change(|storage| storage.create(file))
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        self.change(|storage| storage.remove(file))
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        self.change(|storage| storage.set_length(file, bytes))
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.inner.read(file, offset, buffer)
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.change(|storage| storage.write(file, offset, bytes))
    }

    fn read_batch(&self, file: File, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
        self.inner.read_batch(file, requests)
    }

    fn write_batch(&self, file: File, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
        self.change(|storage| storage.write_batch(file, requests))
    }

    fn sync(&self, file: File) -> Result<(), IoError> {
        self.change(|storage| storage.sync(file))
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        self.change(Storage::sync_directory)
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.change(|storage| storage.erase(file, offset, bytes))
    }

    fn punch_hole(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.change(|storage| storage.punch_hole(file, offset, bytes))
    }
}
