//! A bounded view into one log slot: reads are served from a buffer that the
//! caller gave, refilled front to back.

use super::at_slot;
use crate::error::{IoAction, Result};
use crate::format::checksum::Checksum;
use lightning_platform::{File, Storage};

/// A buffer over a part of a log slot.
pub(super) struct Window<'a> {
    storage: &'a dyn Storage,
    buffer: &'a mut [u8],
    slot: u32,
    start: u64,
    filled: usize,
    end: u64,
}

impl<'a> Window<'a> {
    /// A window over nothing yet.
    pub fn new(storage: &'a dyn Storage, buffer: &'a mut [u8]) -> Self {
        Self {
            storage,
            buffer,
            slot: 0,
            start: 0,
            filled: 0,
            end: 0,
        }
    }

    /// Bytes that the window can hold.
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Looks at `slot`, whose readable bytes end at `end`.
    pub fn select(&mut self, slot: u32, end: u64) {
        self.slot = slot;
        self.end = end;
        self.filled = 0;
    }

    /// The bytes from `offset` on: at least `least`, or as many as the window
    /// can hold or the slot has.
    pub fn bytes(&mut self, offset: u64, least: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = least.min(left).min(self.buffer.len());
        let held = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| self.filled.saturating_sub(*skip) >= wanted && *skip <= self.filled);
        let skip = match held {
            Some(skip) => skip,
            None => {
                self.fill(offset, left)?;
                0
            }
        };
        Ok(self.buffer.get(skip..self.filled).unwrap_or(&[]))
    }

    fn fill(&mut self, offset: u64, left: usize) -> Result<()> {
        let length = left.min(self.buffer.len());
        self.filled = 0;
        if let Some(buffer) = self.buffer.get_mut(..length)
            && length > 0
        {
            self.storage
                .read(File::Log(self.slot), offset, buffer)
                .map_err(at_slot(self.slot, IoAction::Read, offset))?;
        }
        self.start = offset;
        self.filled = length;
        Ok(())
    }

    /// Gives `length` bytes from `offset` to `take`, piece by piece; answers
    /// whether the slot had them all.
    pub fn each(
        &mut self,
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        let mut done = 0;
        while done < length {
            let bytes = self.bytes(offset.saturating_add(done), 1)?;
            let part = usize::try_from(length - done)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            if part == 0 {
                return Ok(false);
            }
            take(bytes.get(..part).unwrap_or(&[]))?;
            done += part as u64;
        }
        Ok(true)
    }

    /// The check of `length` bytes from `offset` on, begun with `state`; `None`
    /// where the slot ends before.
    pub fn check(
        &mut self,
        checksum: Checksum,
        state: u32,
        offset: u64,
        length: u64,
    ) -> Result<Option<u32>> {
        let mut state = state;
        let whole = self.each(offset, length, |bytes| {
            state = checksum.append(state, bytes);
            Ok(())
        })?;
        Ok(whole.then_some(state))
    }
}
