//! How long the segments of the log are.
//!
//! Every length is of whole write and erase blocks, which is what the log's own check of them
//! asks for: a header that states another counts as damaged, and the segment as lost.

use super::Bringing;

/// Shorter segments than this are not worth their headers and syncs.
const SEGMENT_BYTES_USUAL_MIN: u32 = 1 << 20;

impl Bringing<'_> {
    /// A sixteenth of a segment where slots are cheap; all of it where they are few.
    pub(super) fn segment_bytes_first(&self) -> u32 {
        let geometry = self.platform.storage.geometry();
        let whole = self.superblock.segment_bytes;
        let block = self.segment_unit();
        if geometry.erase_before_write || !block.is_power_of_two() {
            return whole;
        }
        let least = block.saturating_mul(8).max(4_096);
        (whole / 16).next_multiple_of(block).max(least).min(whole)
    }

    /// A segment's length on a device that is nearly full, and what is kept for one there:
    /// any commit fits.
    pub(super) fn segment_bytes_least(&self) -> u32 {
        let usual = self.segment_bytes_usual();
        let transactions = self.options.transaction_bytes.saturating_mul(2);
        transactions
            .checked_next_multiple_of(self.segment_unit())
            .map_or(usual, |least| {
                least.max(self.segment_bytes_first()).min(usual)
            })
    }

    fn segment_unit(&self) -> u32 {
        let geometry = self.platform.storage.geometry();
        geometry
            .write_block_bytes
            .max(geometry.erase_block_bytes)
            .max(1)
    }

    /// An eighth of a memtable, so that what of the last segment is in use yet, and what is
    /// prepared, is little beside what is needed; room for two transactions at least.
    pub(super) fn segment_bytes_usual(&self) -> u32 {
        let whole = self.superblock.segment_bytes;
        let first = self.segment_bytes_first();
        if first == whole {
            return whole;
        }
        let transactions = self.options.transaction_bytes.saturating_mul(2);
        let wanted = (self.options.memtable_bytes / 8)
            .max(transactions)
            .max(SEGMENT_BYTES_USUAL_MIN);
        wanted
            .checked_next_multiple_of(self.segment_unit())
            .map_or(whole, |wanted| wanted.max(first).min(whole))
    }
}
