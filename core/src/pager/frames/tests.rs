//! The frame pool when frames are few.

use super::*;
use lightning_sim::{SimMemory, SimWait};
use std::time::Duration;
use std::vec::Vec;

fn pool(frames: usize) -> Frames {
    pool_with(frames, Arc::new(SimWait))
}

fn pool_with(frames: usize, wait: Arc<dyn Wait>) -> Frames {
    let mut budget = Budget::new(Arc::new(SimMemory::new(1 << 24)), 1 << 24);
    let plan = FramePlan {
        page_bytes: 512,
        frames,
        reader_slots: 4,
    };
    Frames::new(&mut budget, plan, &wait).unwrap()
}

fn load(frames: &Frames, address: u64) -> u32 {
    frames.publish(frames.hold().unwrap(), address, 1, false)
}

#[test]
fn any_single_unpinned_frame_can_go() {
    const COUNT: usize = if cfg!(miri) { 3 } else { 24 };
    for victim in 0..COUNT {
        let frames = pool(COUNT);
        let pinned: Vec<u32> = (1..=COUNT as u64)
            .map(|address| load(&frames, address))
            .collect();
        let full = frames.hold().map(|_| ());
        assert!(
            matches!(
                full,
                Err(Error::OverLimit {
                    limit: Limit::Pins,
                    ..
                })
            ),
            "{full:?}"
        );
        frames.unpin(pinned[victim]);
        assert!(frames.try_hold().is_some(), "frame {victim}");
    }
}

#[test]
fn what_is_forgotten_goes_before_anything_else() {
    const COUNT: u64 = if cfg!(miri) { 4 } else { 24 };
    let frames = pool(COUNT as usize);
    for address in 1..=COUNT {
        frames.unpin(load(&frames, address));
    }
    let pinned = {
        let _epoch = frames.epochs.enter();
        let found = frames.find(2, 1).unwrap();
        assert!(frames.pin(found));
        found
    };
    for address in [2, 3, 100] {
        frames.forget(address);
    }
    let is_there = |address| {
        let _epoch = frames.epochs.enter();
        frames.find(address, 1).is_some()
    };
    assert!(is_there(2), "it is pinned");
    assert!(!is_there(3));
    frames.unpin(load(&frames, COUNT + 1));
    assert!((1..=COUNT + 1).all(|address| address == 3 || is_there(address)));
    assert_eq!(frames.statistics().evictions, 0);
    // And again, for the page that has the frame now.
    frames.forget(COUNT + 1);
    frames.unpin(load(&frames, 3));
    assert!((1..=COUNT).all(is_there));
    frames.unpin(pinned);
    let held: Vec<_> = (0..COUNT).map(|_| frames.hold().unwrap()).collect();
    assert_eq!(held.len() as u64, COUNT);
}

/// Counts how often somebody waited.
struct CountingWait(AtomicU32);

impl Wait for CountingWait {
    fn relax(&self, _attempt: u32) {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::yield_now();
    }
}

#[test]
fn a_loader_waits_for_a_slow_one_however_long() {
    let wait = Arc::new(CountingWait(AtomicU32::new(0)));
    let frames = pool_with(4, Arc::clone(&wait) as Arc<dyn Wait>);
    let mut slow: Vec<_> = (0..4).map(|_| frames.hold().unwrap()).collect();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| frames.hold().map(|_| ()));
        while wait.0.load(Ordering::SeqCst) < HOLD_ATTEMPTS_MAX + 100 && !waiter.is_finished() {
            std::thread::yield_now();
        }
        slow.pop();
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn loaders_that_wait_for_each_other_end() {
    let frames = pool(2);
    let both_hold = std::sync::Barrier::new(2);
    let outcome = std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let first = frames.hold()?;
                    both_hold.wait();
                    frames.hold_another()?;
                    drop(first);
                    Ok::<_, Error>(())
                })
            })
            .collect();
        loaders
            .into_iter()
            .map(|loader| loader.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(outcome.iter().any(Result::is_err), "{outcome:?}");
    assert!(frames.hold().is_ok());
}

#[test]
fn a_frame_seen_in_an_epoch_keeps_its_bytes() {
    let frames = pool(4);
    for address in 1..=4 {
        let mut held = frames.hold().unwrap();
        held.bytes_mut().fill(address as u8);
        let index = frames.publish(held, address, 1, false);
        frames.unpin(index);
    }
    let done = core::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let epoch = frames.epochs.enter();
        let seen: Vec<u32> = (1..=4).map(|at| frames.find(at, 1).unwrap()).collect();
        scope.spawn(|| {
            let mut held: Vec<_> = (0..4).map(|_| frames.hold().unwrap()).collect();
            held.iter_mut().for_each(|held| held.bytes_mut().fill(9));
            done.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(30));
        assert!(!done.load(Ordering::SeqCst));
        for (address, index) in (1..=4_u8).zip(seen) {
            assert_eq!(frames.bytes(index), [address; 512]);
        }
        drop(epoch);
    });
    assert!(done.load(Ordering::SeqCst));
    assert!((1..=4).all(|address| frames.find(address, 1).is_none()));
}

#[test]
fn every_page_in_a_frame_is_found() {
    let frames = pool(8);
    for last in 1..=if cfg!(miri) { 30 } else { 300_u64 } {
        let index = load(&frames, last);
        frames.unpin(index);
        assert_eq!(frames.find(last, 1), Some(index));
        let found = (1..=last).filter(|address| frames.find(*address, 1).is_some());
        assert_eq!(found.count() as u64, last.min(8));
    }
}

/// Reads, pins and loads of more pages than there are frames, all at once: what a
/// reader sees are the bytes of the page that it asked for, in its epoch and under
/// its pin, and a page that is in memory can be pinned sooner or later.
#[test]
fn readers_and_evictions_race() {
    const PAGES: u64 = 6;
    let rounds = if cfg!(miri) { 25 } else { 20_000 };
    let frames = pool(4);
    let read = |seed: u64| {
        let mut random = seed;
        for _ in 0..rounds {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let address = 1 + (random >> 33) % PAGES;
            let bytes = [address as u8; 512];
            let pinned = {
                let _epoch = frames.epochs.enter();
                frames.find(address, 1).and_then(|index| {
                    assert_eq!(frames.bytes(index), bytes);
                    frames.pin(index).then_some(index)
                })
            };
            let index = pinned.unwrap_or_else(|| {
                let mut held = frames.hold().unwrap();
                held.bytes_mut().fill(address as u8);
                frames.publish(held, address, 1, false)
            });
            assert_eq!(frames.bytes(index), bytes);
            let pins = frames.frames[index as usize].pins.load(Ordering::Relaxed);
            assert!(pins & EVICTED == 0 && pins > 0, "{pins:x}");
            frames.unpin(index);
        }
    };
    std::thread::scope(|scope| {
        for seed in 1..=3 {
            scope.spawn(move || read(seed));
        }
    });
    for frame in frames.frames.iter() {
        assert_eq!(frame.pins.load(Ordering::Relaxed) & !EVICTED, 0);
    }
}
