//! Makes a failing life shorter: delta debugging over its list of operations.
//!
//! Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input". A
//! list counts as failing whatever the reason is: the shortest tells most.

use std::time::{Duration, Instant};

use crate::plan::Op;

/// How long it may take.
const LASTS_AT_MOST: Duration = Duration::from_secs(60);

/// A part of `ops` that still fails and from which no operation can be left out, or as
/// far as the time reaches.
pub fn minimise(ops: Vec<Op>, fails: &dyn Fn(&[Op]) -> bool) -> Vec<Op> {
    let begin = Instant::now();
    let mut ops = ops;
    let mut parts = 2;
    while ops.len() > 1 && begin.elapsed() < LASTS_AT_MOST {
        let length = ops.len().div_ceil(parts);
        let mut start = 0;
        let mut shorter = None;
        while start < ops.len() && begin.elapsed() < LASTS_AT_MOST {
            let end = (start + length).min(ops.len());
            let candidate = [&ops[..start], &ops[end..]].concat();
            if !candidate.is_empty() && fails(&candidate) {
                shorter = Some(candidate);
                break;
            }
            start = end;
        }
        match shorter {
            Some(candidate) => {
                ops = candidate;
                parts = (parts - 1).max(2);
            }
            None if length == 1 => break,
            None => parts = (parts * 2).min(ops.len()),
        }
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_it_fail_is_left() {
        let ops: Vec<Op> = (0..200).map(Op::Poll).collect();
        let fails = |ops: &[Op]| ops.contains(&Op::Poll(17)) && ops.contains(&Op::Poll(150));
        assert_eq!(minimise(ops, &fails), [Op::Poll(17), Op::Poll(150)]);
    }
}
