//! The two locks under threads.

use super::*;
use lightning_sim::SimWait;
use std::thread;

/// Under Miri an operation takes as long as hundreds elsewhere.
const ROUNDS: u32 = if cfg!(miri) { 20 } else { 20_000 };

#[test]
fn a_mutex_admits_one_at_a_time() {
    let mutex = Mutex::new((0_u32, 0_u32), Arc::new(SimWait));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut guard = mutex.lock();
                    guard.0 += 1;
                    assert_eq!(guard.0, guard.1 + 1);
                    guard.1 += 1;
                }
            });
        }
    });
    let mut mutex = mutex;
    assert_eq!(*mutex.get_mut(), (3 * ROUNDS, 3 * ROUNDS));
    let held = mutex.lock();
    assert!(mutex.try_lock().is_none());
    drop(held);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn an_exclusive_has_one_owner_and_nobody_waits() {
    let place = Exclusive::new(0_u32);
    let entered = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    match place.try_enter() {
                        Some(mut owner) => {
                            *owner += 1;
                            entered.fetch_add(1, Ordering::Relaxed);
                        }
                        None => thread::yield_now(),
                    }
                }
            });
        }
    });
    let mut place = place;
    assert_eq!(*place.get_mut(), entered.load(Ordering::Relaxed));
    let owner = place.try_enter();
    assert!(owner.is_some() && place.try_enter().is_none());
}
