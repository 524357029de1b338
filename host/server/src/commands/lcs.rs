//! `LCS`: what two values have in common.

use super::arguments::non_negative;
use super::strings::owned;
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;

pub(super) const COMMANDS: &[Command] = &[Command::new("string", "lcs", -3, lcs)
    .flags(Flags::READONLY)
    .keys(Keys::places(1, 2, 1))
    .told(
        "7.0.0",
        "Finds the longest common subsequence of two values.",
        "O(L*M) for values of L and M bytes",
    )];

/// Cells of the table that `LCS` fills, at most: its time and memory.
const LCS_CELLS_MAX: usize = 1 << 28;

fn lcs(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (mut wants_length, mut wants_places, mut wants_lengths) = (false, false, false);
    let mut shortest = 0;
    let mut index = 3;
    while index < call.count() {
        if call.is_word(index, "len") {
            wants_length = true;
        } else if call.is_word(index, "idx") {
            wants_places = true;
        } else if call.is_word(index, "withmatchlen") {
            wants_lengths = true;
        } else if call.is_word(index, "minmatchlen") && index + 1 < call.count() {
            shortest = non_negative(call.integer(index + 1)?.max(0)).unwrap_or(0);
            index += 1;
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 1;
    }
    if wants_length && wants_places {
        return Err(Failure::reply(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    let (first, second) = (call.at(1), call.at(2));
    let first = owned(call, first)?.0.unwrap_or_default();
    let second = owned(call, second)?.0.unwrap_or_default();
    let columns = second.len() + 1;
    if (first.len() + 1).saturating_mul(columns) > LCS_CELLS_MAX {
        return Err(Failure::reply(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = lcs_table(&first, &second);
    let at = |row: usize, column: usize| table[row * columns + column];
    let length = usize::try_from(at(first.len(), second.len())).unwrap_or(usize::MAX);
    if wants_length {
        call.reply.length(length);
        return Ok(());
    }
    // Back from the end: the sequence, and the stretches that both share.
    let (mut row, mut column) = (first.len(), second.len());
    let mut common = Vec::new();
    let mut stretches: Vec<(usize, usize, usize)> = Vec::new();
    while row > 0 && column > 0 {
        if first[row - 1] == second[column - 1] {
            row -= 1;
            column -= 1;
            common.push(first[row]);
            match stretches.last_mut() {
                Some((begin, other, length)) if *begin == row + 1 && *other == column + 1 => {
                    (*begin, *other, *length) = (row, column, *length + 1);
                }
                _ => stretches.push((row, column, 1)),
            }
        } else if at(row - 1, column) > at(row, column - 1) {
            row -= 1;
        } else {
            column -= 1;
        }
    }
    if !wants_places {
        common.reverse();
        call.reply.bulk(&common);
        return Ok(());
    }
    stretches.retain(|(_, _, length)| *length >= shortest);
    call.reply.map(2);
    call.reply.bulk(b"matches");
    call.reply.array(stretches.len());
    for (begin, other, length) in stretches {
        call.reply.array(if wants_lengths { 3 } else { 2 });
        for begin in [begin, other] {
            call.reply.array(2);
            call.reply.length(begin);
            call.reply.length(begin + length - 1);
        }
        if wants_lengths {
            call.reply.length(length);
        }
    }
    call.reply.bulk(b"len");
    call.reply.length(length);
    Ok(())
}

/// For each pair of beginnings the length of their longest common subsequence, row by row.
fn lcs_table(first: &[u8], second: &[u8]) -> Vec<u32> {
    let columns = second.len() + 1;
    let mut table = vec![0; (first.len() + 1) * columns];
    for (row, byte) in first.iter().enumerate() {
        for (column, other) in second.iter().enumerate() {
            table[(row + 1) * columns + column + 1] = if byte == other {
                table[row * columns + column] + 1
            } else {
                table[row * columns + column + 1].max(table[(row + 1) * columns + column])
            };
        }
    }
    table
}
