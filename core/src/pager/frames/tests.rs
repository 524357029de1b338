//! The frame pool when frames are few.

use super::*;
use lightning_sim::{SimMemory, SimWait};
use std::time::Duration;
use std::vec::Vec;

fn pool(frames: usize) -> Frames {
    let mut budget = Budget::new(Arc::new(SimMemory::new(1 << 24)), 1 << 24);
    let wait: Arc<dyn Wait> = Arc::new(SimWait);
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

#[test]
fn a_loader_waits_for_a_slow_one() {
    let frames = pool(4);
    let mut slow: Vec<_> = (0..4).map(|_| frames.hold().unwrap()).collect();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| frames.hold().map(|_| ()));
        std::thread::sleep(Duration::from_millis(60));
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
