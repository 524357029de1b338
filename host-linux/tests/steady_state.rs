//! Reads, writes and syncs of an open storage allocate nothing.
//!
//! The only `unsafe` code is an allocator that passes every call on unchanged
//! and counts those of the thread that asked for it.
#![cfg(target_os = "linux")]

use lightning_host_linux::{LinuxStorage, OpenMode};
use lightning_platform::{File, ReadRequest, Storage, WriteRequest};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the same values.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn transfers_and_syncs_allocate_nothing() {
    let name = format!("lightning-host-linux-steady-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let storage = LinuxStorage::open(&path, OpenMode::Create).unwrap();
    let files = [File::Pages, File::Log(0)];
    for file in files {
        storage.create(file).unwrap();
    }
    let mut blocks = [[1_u8; 512]; 300];
    let before = ALLOCATIONS.get();
    for file in files {
        for _ in 0..2 {
            storage.erase(file, 0, 8 * 512 * 1024).unwrap();
            storage.write(file, 4096, blocks.as_flattened()).unwrap();
            storage.read(file, 4096, blocks.as_flattened_mut()).unwrap();
            let mut offset = 0;
            let mut next = || {
                offset += 512;
                offset
            };
            let writes: [WriteRequest<'_>; 300] = std::array::from_fn(|index| WriteRequest {
                offset: next(),
                bytes: &blocks[index],
            });
            storage.write_batch(file, &writes).unwrap();
            let mut rest = blocks.iter_mut();
            let mut reads: [ReadRequest<'_>; 300] = std::array::from_fn(|index| ReadRequest {
                offset: 512 * index as u64,
                buffer: rest.next().unwrap(),
            });
            storage.read_batch(file, &mut reads).unwrap();
            storage.set_length(file, 1024 * 1024).unwrap();
            storage.write_and_sync(file, 0, &[2; 512]).unwrap();
            storage.length(file).unwrap();
            storage.log_slots().unwrap();
        }
    }
    let counted = ALLOCATIONS.get() - before;
    drop(storage);
    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(counted, 0);
}
