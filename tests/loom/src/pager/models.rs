//! Models of epochs and of the frame pool.
//!
//! A frame's bytes are stood for by a cell of loom for each frame: who fills a held
//! frame changes it, who reads a page looks at it. An access that isn't ordered
//! after the change, or a change that isn't after all accesses, ends the model.

use super::epoch::Epochs;
use super::frames::{FramePlan, Frames};
use crate::bench::{Watched, budget, wait};
use crate::sync::{AtomicU32, Exclusive, Mutex, Ordering};
use alloc::sync::Arc;
use loom::thread;

/// A lock admits one thread at a time, and orders what they do.
pub fn mutex() {
    let mutex = Arc::new((Mutex::new((), wait()), Watched::new()));
    let other = Arc::clone(&mutex);
    let add = |(mutex, value): &(Mutex<()>, Watched)| {
        let _guard = mutex.lock();
        value.set(value.get() + 1);
    };
    let thread = thread::spawn(move || add(&other));
    add(&mutex);
    thread.join().unwrap();
    let _guard = mutex.0.lock();
    assert_eq!(mutex.1.get(), 2);
}

/// A place for one owner: whoever enters sees what the owner before left.
pub fn exclusive() {
    let place = Arc::new((Exclusive::new(()), Watched::new(), AtomicU32::new(0)));
    let other = Arc::clone(&place);
    let enter = |(place, value, entered): &(Exclusive<()>, Watched, AtomicU32)| {
        if let Some(_owner) = place.try_enter() {
            value.set(value.get() + 1);
            entered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let thread = thread::spawn(move || {
        enter(&other);
        enter(&other);
    });
    enter(&place);
    thread.join().unwrap();
    let entered = u64::from(place.2.load(Ordering::Relaxed));
    assert!(entered > 0 && entered == place.1.get());
}

struct Replaced {
    epochs: Epochs,
    current: AtomicU32,
    values: [Watched; 3],
}

impl Replaced {
    fn new(slots: usize) -> Arc<Self> {
        let replaced = Self {
            epochs: Epochs::new(&mut budget(), slots, wait()).unwrap(),
            current: AtomicU32::new(0),
            values: [Watched::new(), Watched::new(), Watched::new()],
        };
        replaced.values[0].set(100);
        Arc::new(replaced)
    }

    fn read(&self) {
        let _epoch = self.epochs.enter();
        let current = self.current.load(Ordering::Acquire);
        let value = self.values[current as usize].get();
        assert_eq!(value, 100 + u64::from(current));
    }

    fn replace(&self, from: usize, to: usize) {
        self.values[to].set(100 + to as u64);
        self.current.store(to as u32, Ordering::Release);
        let retired = self.epochs.retire();
        self.epochs.wait_unseen(retired);
        self.values[from].set(0);
    }
}

/// What was removed from sight is used again only when nobody can see it.
pub fn epochs() {
    let replaced = Replaced::new(2);
    let other = Arc::clone(&replaced);
    let reader = thread::spawn(move || {
        other.read();
        other.read();
    });
    replaced.replace(0, 1);
    replaced.replace(1, 2);
    reader.join().unwrap();
}

/// The same with two readers and a slot for each.
pub fn epochs_of_two_readers() {
    let replaced = Replaced::new(2);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let other = Arc::clone(&replaced);
            thread::spawn(move || other.read())
        })
        .collect();
    replaced.replace(0, 1);
    for reader in readers {
        reader.join().unwrap();
    }
}

/// The same with two readers that share one slot.
pub fn epochs_of_one_slot() {
    let replaced = Replaced::new(1);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let other = Arc::clone(&replaced);
            thread::spawn(move || other.read())
        })
        .collect();
    replaced.replace(0, 1);
    for reader in readers {
        reader.join().unwrap();
    }
}

/// A pool and, for each of its frames, what stands for the bytes.
struct Pages {
    frames: Frames,
    contents: Vec<Watched>,
    /// Which frame a cell belongs to is told by the address of its bytes.
    page_bytes: usize,
}

const BIRTH: u64 = 7;
/// One hint fits into a page of so many bytes.
const PAGE_BYTES: usize = 16;

impl Pages {
    fn new(frames: usize, reader_slots: usize) -> Arc<Self> {
        let plan = FramePlan {
            page_bytes: PAGE_BYTES,
            frames,
            reader_slots,
        };
        Arc::new(Self {
            frames: Frames::new(&mut budget(), plan, &wait()).unwrap(),
            contents: (0..frames).map(|_| Watched::new()).collect(),
            page_bytes: PAGE_BYTES,
        })
    }

    fn content(&self, frame: u32) -> &Watched {
        &self.contents[frame as usize]
    }

    /// Loads a page and pins it; `None` where all frames are pinned.
    fn load(&self, address: u64, branch: bool) -> Option<u32> {
        let mut held = self.frames.hold().ok()?;
        let base = self.frames.bytes(0).as_ptr().addr();
        let frame = (held.bytes_mut().as_ptr().addr() - base) / self.page_bytes;
        self.contents[frame].set(address);
        Some(self.frames.publish(held, address, BIRTH, branch))
    }

    /// Finds a page in memory and pins it.
    fn find(&self, address: u64) -> Option<u32> {
        let _epoch = self.frames.epochs.enter();
        let frame = self.frames.find(address, BIRTH)?;
        assert_eq!(self.content(frame).get(), address, "seen in the epoch");
        self.frames.pin(frame).then_some(frame)
    }

    /// Looks at the page that is the child of a pinned one, where it is in memory.
    fn child(&self, parent: u32) -> Option<()> {
        let _epoch = self.frames.epochs.enter();
        let child = self.frames.find_child(parent, 0, 1, BIRTH)?;
        assert_eq!(self.content(child).get(), 1, "seen by a hint");
        Some(())
    }

    /// Reads a page as a traversal does: from memory, or by loading it.
    fn read(&self, address: u64) {
        if let Some(frame) = self.find(address).or_else(|| self.load(address, false)) {
            assert_eq!(self.content(frame).get(), address, "seen under the pin");
            self.frames.unpin(frame);
        }
    }

    /// With all threads done: what is in memory can be pinned, and all can go.
    fn end(&self, addresses: u64) {
        for address in 1..=addresses {
            let found = {
                let _epoch = self.frames.epochs.enter();
                self.frames.find(address, BIRTH)
            };
            if let Some(frame) = found {
                assert!(self.frames.pin(frame), "a page in memory can't be pinned");
                self.frames.unpin(frame);
            }
        }
        let held: Vec<_> = self
            .contents
            .iter()
            .map_while(|_| self.frames.try_hold())
            .collect();
        assert_eq!(held.len(), self.contents.len(), "a frame is lost");
    }
}

fn in_threads(pages: &Arc<Pages>, others: &[fn(&Pages)], own: fn(&Pages)) {
    let threads: Vec<_> = others
        .iter()
        .map(|other| {
            let (pages, other) = (Arc::clone(pages), *other);
            thread::spawn(move || other(&pages))
        })
        .collect();
    own(pages);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn unpinned(pages: &Pages, address: u64) {
    if let Some(frame) = pages.load(address, false) {
        pages.frames.unpin(frame);
    }
}

/// A reader looks at the only frame while a loader evicts and fills it.
pub fn one_frame() {
    let pages = Pages::new(1, 1);
    unpinned(&pages, 1);
    in_threads(&pages, &[|pages| pages.read(1)], |pages| pages.read(2));
    pages.end(2);
}

/// A reader looks at a page, and pins it, while it is forgotten, and its frame filled with
/// another one.
pub fn forgotten() {
    let pages = Pages::new(2, 1);
    unpinned(&pages, 1);
    unpinned(&pages, 3);
    in_threads(&pages, &[|pages| pages.read(1)], |pages| {
        pages.frames.forget(1);
        unpinned(pages, 2);
    });
    pages.end(3);
}

/// Two readers pin the page that a loader wants to evict.
pub fn two_readers() {
    let pages = Pages::new(1, 2);
    unpinned(&pages, 1);
    let read: fn(&Pages) = |pages| {
        if let Some(frame) = pages.find(1) {
            assert_eq!(pages.content(frame).get(), 1);
            pages.frames.unpin(frame);
        }
    };
    in_threads(&pages, &[read, read], |pages| pages.read(2));
    pages.end(2);
}

/// Two loaders bring the same page in: one of their frames stays.
pub fn same_page() {
    let pages = Pages::new(2, 2);
    in_threads(&pages, &[|pages| pages.read(1)], |pages| pages.read(1));
    assert_eq!(pages.frames.statistics().loads, 1, "two frames of one page");
    pages.end(1);
}

/// Two loaders want the only frame while a reader looks at it: one of them may
/// find what the other one put out of sight.
pub fn two_loaders() {
    let pages = Pages::new(1, 1);
    unpinned(&pages, 1);
    let look: fn(&Pages) = |pages| {
        let _epoch = pages.frames.epochs.enter();
        if let Some(frame) = pages.frames.find(1, BIRTH) {
            assert_eq!(pages.content(frame).get(), 1);
        }
    };
    in_threads(&pages, &[look, |pages| unpinned(pages, 2)], |pages| {
        unpinned(pages, 3);
    });
    pages.end(3);
}

/// Two threads read three pages with two frames, over and over.
pub fn crowd() {
    let pages = Pages::new(2, 2);
    unpinned(&pages, 1);
    unpinned(&pages, 2);
    in_threads(
        &pages,
        &[|pages| {
            pages.read(1);
            pages.read(2);
        }],
        |pages| {
            pages.read(3);
            pages.read(1);
        },
    );
    pages.end(3);
}

/// A frame that goes out and comes back for the same page, beside a reader who may
/// have seen its first life.
pub fn comes_back() {
    let pages = Pages::new(1, 1);
    unpinned(&pages, 1);
    in_threads(
        &pages,
        &[|pages| {
            if let Some(frame) = pages.find(1) {
                assert_eq!(pages.content(frame).get(), 1);
                pages.frames.unpin(frame);
            }
        }],
        |pages| {
            unpinned(pages, 2);
            unpinned(pages, 1);
        },
    );
    pages.end(2);
}

/// A child found by the hint in its parent's frame, while it is evicted, its frame
/// filled with another page, and then with the child again.
pub fn hints() {
    let pages = Pages::new(2, 2);
    let parent = pages.load(9, true).unwrap();
    unpinned(&pages, 1);
    assert!(pages.child(parent).is_some());
    let other = Arc::clone(&pages);
    let reader = thread::spawn(move || {
        other.child(parent);
        other.child(parent);
    });
    unpinned(&pages, 2);
    unpinned(&pages, 1);
    reader.join().unwrap();
    pages.frames.unpin(parent);
    pages.end(2);
}
