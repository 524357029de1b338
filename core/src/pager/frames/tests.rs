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
    for victim in 0..24 {
        let frames = pool(24);
        let pinned: Vec<u32> = (1..=24).map(|address| load(&frames, address)).collect();
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
    let outcome = std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let first = frames.hold()?;
                    std::thread::sleep(Duration::from_millis(5));
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
    for last in 1..=300_u64 {
        let index = load(&frames, last);
        frames.unpin(index);
        assert_eq!(frames.find(last, 1), Some(index));
        let found = (1..=last).filter(|address| frames.find(*address, 1).is_some());
        assert_eq!(found.count() as u64, last.min(8));
    }
}
