//! Arrays and regions at their edges: what is dropped, and what is given out.

use super::*;
use lightning_sim::SimMemory;
use std::cell::Cell;
use std::rc::Rc;
use std::string::String;

const PURPOSE: MemoryUse = MemoryUse::Structure;

fn budget(bytes: u64) -> (Budget, SimMemory) {
    let memory = SimMemory::new(1 << 20);
    (Budget::new(Arc::new(memory.clone()), bytes), memory)
}

struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn an_array_drops_what_was_made_and_nothing_else() {
    let (mut budget, memory) = budget(1 << 16);
    let dropped = Rc::new(Cell::new(0));
    let whole = Array::new(&mut budget, PURPOSE, 5, |_| Counted(Rc::clone(&dropped))).unwrap();
    assert_eq!(whole.len(), 5);
    drop(whole);
    assert_eq!(dropped.replace(0), 5);
    let failed = Array::try_new(&mut budget, PURPOSE, 5, |_, index| {
        if index == 3 {
            Err(Error::Busy)
        } else {
            Ok(Counted(Rc::clone(&dropped)))
        }
    });
    assert_eq!(failed.err(), Some(Error::Busy));
    assert_eq!(dropped.get(), 3);
    assert_eq!(memory.outstanding_bytes(), 0);
}

#[test]
fn arrays_of_nothing_are_slices_of_nothing() {
    let (mut budget, memory) = budget(1 << 16);
    let mut empty = Array::new(&mut budget, PURPOSE, 0, |_| 7_u64).unwrap();
    assert!(empty.is_empty() && empty.iter_mut().next().is_none());
    let sizeless = Array::new(&mut budget, PURPOSE, 9, |_| ()).unwrap();
    assert_eq!(sizeless.len(), 9);
    assert_eq!(budget.used_bytes(), 0);
    assert_eq!(memory.reservation_count(), 0);
}

#[test]
fn elements_may_own_and_may_reserve() {
    let (mut budget, memory) = budget(1 << 16);
    let mut words = Array::new(&mut budget, PURPOSE, 3, |index| {
        String::from(["a", "b", "c"][index])
    })
    .unwrap();
    words[1].push('!');
    assert_eq!(words.concat(), "ab!c");
    let rows = Array::try_new(&mut budget, PURPOSE, 4, |budget, index| {
        Array::zeroed(budget, PURPOSE, index * 8)
    })
    .unwrap();
    assert!(
        rows.iter()
            .enumerate()
            .all(|(index, row)| **row == [0; 32][..index * 8])
    );
    drop((words, rows));
    assert_eq!(memory.outstanding_bytes(), 0);
}

#[test]
fn over_the_budget_is_an_error_before_the_host_is_asked() {
    let (mut budget, memory) = budget(100);
    assert!(Array::zeroed(&mut budget, PURPOSE, 101).is_err());
    assert!(Array::<u64>::new(&mut budget, PURPOSE, usize::MAX, |_| 0).is_err());
    assert_eq!(memory.reservation_count(), 0);
    assert_eq!(budget.left_bytes(), 100);
}

#[test]
fn a_region_gives_out_only_what_it_has() {
    let (mut budget, _memory) = budget(1 << 16);
    let region = Region::new(&mut budget, PURPOSE, 100, 64).unwrap();
    assert_eq!(region.length(), 100);
    assert!(region.pointer(100, 0).is_some());
    assert!(region.pointer(100, 1).is_none() && region.pointer(usize::MAX, 2).is_none());
    let start = region.pointer(0, 100).unwrap();
    assert!(start.addr().get().is_multiple_of(64));
    // SAFETY: this thread is the only one, and the two ranges don't overlap.
    let (low, high) = unsafe { (region.bytes_mut(0, 50), region.bytes_mut(50, 50)) };
    low.fill(1);
    high.fill(2);
    // SAFETY: nobody writes any more.
    let all = unsafe { region.bytes(0, 100) };
    assert_eq!(all.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 150);
    // SAFETY: a range outside is empty.
    assert!(unsafe { region.bytes(60, 41) }.is_empty());
}
