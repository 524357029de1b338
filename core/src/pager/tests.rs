//! Space, lists and catalogues from within.

use super::space::{Space, group_units};
use super::testing::Setup;
use crate::error::{Error, Limit, OptionProblem};
use crate::format::page_ref::{PageKind, PageRef};
use lightning_sim::{SimOptions, SimStorage};
use std::thread;
use std::vec::Vec;

/// A traversal that still sees a page which is being evicted can't pin it, however often
/// it tries: nothing else keeps the frame from being filled with another page.
#[test]
fn a_page_that_is_being_evicted_is_never_pinned() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let bench = Setup::plain(1_024, 8).create(&storage).unwrap();
    let pager = &bench.pager;
    let page = PageRef {
        address: 1_000,
        birth_generation: 1,
        units: 1,
        level: 0,
        kind: PageKind::Leaf,
        check: [0; 16],
    };
    let mut was_evicted = false;
    for _ in 0..20 {
        pager.install(&page, &[7; 1_024]);
        let before = pager.statistics().evictions;
        thread::scope(|scope| {
            let traversal = pager.enter();
            let Some(view) = traversal.page(&page) else {
                return;
            };
            scope.spawn(|| {
                let mut held = Vec::new();
                while pager.statistics().evictions == before {
                    held.extend(pager.frames.try_hold());
                }
            });
            while pager.statistics().evictions == before {
                thread::yield_now();
            }
            if view.pin().is_none() {
                was_evicted = true;
                assert!(view.pin().is_none(), "it was pinned after all");
            }
        });
    }
    assert!(was_evicted);
}

#[test]
fn a_block_whose_last_live_unit_went_is_found_again() {
    let storage = SimStorage::new(SimOptions::flash(256, 4_096, 8 << 20));
    let mut bench = Setup::plain(1_024, 24).create(&storage).unwrap();
    let (pager, space) = (&bench.pager, &mut bench.store.space);
    let first = space.allocate(pager, 1, 1).unwrap().address;
    let second = space.allocate(pager, 1, 1).unwrap().address;
    space.clear(pager, first, 3).unwrap();
    let third = space.allocate(pager, 1, 1).unwrap().address;
    assert!(third > second, "the block at {first} holds a live unit");
    space.clear(pager, first + 3, 1).unwrap();
    assert_eq!(space.allocate(pager, 1, 1).unwrap().address, first);
}

#[test]
fn the_file_fills_to_its_limit() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(1_024, 24).create(&storage).unwrap();
    let layout = *bench.pager.layout();
    let mut space = Space::new(&mut bench.budget, layout, 10 * 1_024).unwrap();
    space.claim(&bench.pager, 0, 2).unwrap();
    assert_eq!(space.allocate(&bench.pager, 1, 16).unwrap().units, 8);
    assert!(matches!(
        space.allocate(&bench.pager, 1, 16),
        Err(Error::OverLimit {
            limit: Limit::PageFileBytes,
            ..
        })
    ));
}

#[test]
fn blocks_that_would_straddle_groups_are_refused() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(1_024, 24).create(&storage).unwrap();
    let mut layout = *bench.pager.layout();
    layout.block_bytes = 256 * 1_024;
    assert!(Space::new(&mut bench.budget, layout, 64 << 20).is_ok());
    layout.block_bytes *= 2;
    assert!(matches!(
        Space::new(&mut bench.budget, layout, 64 << 20),
        Err(Error::Options(OptionProblem::Geometry))
    ));
}

/// Whatever the length of the catalogue, a flip takes no more than it gives back.
#[test]
fn flips_of_nothing_leave_nothing_behind() {
    for groups in 1..32 {
        let storage = SimStorage::new(SimOptions::disk(512));
        let mut bench = Setup::plain(512, 24).create(&storage).unwrap();
        let per_group = group_units(bench.pager.layout());
        for group in 0..groups {
            let address = group * per_group + per_group - 1;
            bench.store.space.claim(&bench.pager, address, 1).unwrap();
        }
        let mut used = Vec::new();
        for _ in 0..12 {
            let generation = bench.flip(None).unwrap();
            while bench.store.reclaim(&bench.pager, generation).unwrap() {}
            used.push(bench.store.statistics(bench.pager.layout()).used_bytes);
        }
        let late = used.split_off(4);
        assert!(
            late.iter().all(|bytes| bytes == &late[0]),
            "{groups} groups: {late:?}"
        );
    }
}

/// Lists that are never reclaimed are put together and come back whole.
#[test]
fn many_pending_lists_are_put_together() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let setup = Setup::plain(1_024, 24);
    let mut bench = setup.create(&storage).unwrap();
    let clean = bench.store.statistics(bench.pager.layout()).used_bytes;
    for _ in 0..100 {
        bench.flip(None).unwrap();
    }
    let storage = storage.restart();
    bench = setup.open(&storage).unwrap();
    let pending = bench.store.statistics(bench.pager.layout()).pending_bytes;
    assert!(pending >= 100 * 2 * 1_024, "{pending}");
    for _ in 0..3 {
        let generation = bench.store.published().generation;
        while bench.store.reclaim(&bench.pager, generation).unwrap() {}
        bench.flip(None).unwrap();
    }
    let used = bench.store.statistics(bench.pager.layout()).used_bytes;
    assert!(used <= clean + 8 * 1_024, "{used} after {clean}");
}
