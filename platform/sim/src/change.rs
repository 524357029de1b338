//! One unsynced change to a file, and what of it a power cut may leave.
//!
//! A change is *settled* by a successful sync: it happens as a whole. Otherwise
//! it *survives* a power cut in part: write block by write block, with the new
//! length apart from the bytes. What lies past the length that survived is lost,
//! unless the change itself made the file longer.

use crate::content::Content;
use std::sync::Arc;

/// A part of a shared buffer.
#[derive(Clone)]
pub(crate) struct Bytes {
    buffer: Arc<[u8]>,
    from: usize,
    to: usize,
}

impl Bytes {
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        Self {
            buffer: bytes.into(),
            from: 0,
            to: bytes.len(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    fn part(&self, from: u64, to: u64) -> Self {
        Self {
            buffer: Arc::clone(&self.buffer),
            from: self.from + from as usize,
            to: self.from + to as usize,
        }
    }
}

/// What a change does to its range, or to the length.
#[derive(Clone)]
pub(crate) enum Effect {
    /// Stores bytes; `grew` where the range passed the end of the file.
    Write { bytes: Bytes, grew: bool },
    /// Erases and allocates.
    Erase,
    /// Erases and gives back.
    Punch,
    /// Sets the length to the range's end; `shrank` where that is shorter.
    Length { shrank: bool },
}

/// A change that no successful sync has covered.
#[derive(Clone)]
pub(crate) struct Change {
    /// Its place among all changes of the storage.
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    /// Its length in bytes; 0 for a new length, which is `offset`.
    pub(crate) bytes: u64,
    pub(crate) effect: Effect,
}

impl Change {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }

    /// Does the change as a whole.
    pub(crate) fn settle(&self, content: &mut Content) {
        match &self.effect {
            Effect::Write { bytes, .. } => content.write(self.offset, bytes.as_slice()),
            Effect::Erase => content.erase(self.offset, self.bytes),
            Effect::Punch => content.punch(self.offset, self.bytes),
            Effect::Length { .. } => content.set_length(self.offset),
        }
    }

    /// Does the whole change, as far as the length that survived allows.
    pub(crate) fn survive(&self, content: &mut Content) {
        self.survive_piece(content, self.offset, self.end());
    }

    /// Does those pieces of the change that `keep` says survived.
    pub(crate) fn survive_torn(
        &self,
        content: &mut Content,
        write_block_bytes: u64,
        keep: &mut dyn FnMut() -> bool,
    ) {
        let piece_bytes = match &self.effect {
            Effect::Length { .. } => {
                if keep() {
                    self.survive(content);
                }
                return;
            }
            Effect::Write { grew, .. } => {
                if *grew && keep() && content.length() < self.end() {
                    content.set_length(self.end());
                }
                write_block_bytes
            }
            // Bounds the coins tossed for a range that may be a whole file.
            Effect::Erase | Effect::Punch => (self.bytes / 256)
                .max(1)
                .next_multiple_of(write_block_bytes),
        };
        let mut position = self.offset;
        while position < self.end() {
            let border = (position / piece_bytes + 1).saturating_mul(piece_bytes);
            let stop = border.min(self.end());
            if keep() {
                self.survive_piece(content, position, stop);
            }
            position = stop;
        }
    }

    fn survive_piece(&self, content: &mut Content, from: u64, to: u64) {
        let visible_to = to.min(content.length());
        match &self.effect {
            Effect::Write { bytes, grew } => {
                let to = if *grew { to } else { visible_to };
                if from < to {
                    let part = bytes.part(from - self.offset, to - self.offset);
                    content.write(from, part.as_slice());
                }
            }
            Effect::Erase if from < visible_to => content.erase(from, visible_to - from),
            Effect::Punch if from < visible_to => content.punch(from, visible_to - from),
            Effect::Erase | Effect::Punch => {}
            Effect::Length { .. } => content.set_length(self.offset),
        }
    }

    /// Takes away from older, doubtful changes what this one has settled for good.
    pub(crate) fn supersede(&self, doubtful: &mut Vec<Self>) {
        let (from, to) = match self.effect {
            Effect::Length { shrank } => {
                doubtful.retain(|change| !matches!(change.effect, Effect::Length { .. }));
                if !shrank {
                    return;
                }
                (self.offset, u64::MAX)
            }
            _ => (self.offset, self.end()),
        };
        let touched = |change: &Self| change.offset < to && from < change.end();
        if doubtful.iter().any(touched) {
            let parts = doubtful.drain(..).flat_map(|change| {
                let before = change.part(change.offset, change.end().min(from));
                let after = change.part(change.offset.max(to), change.end());
                let whole = (!touched(&change)).then_some(change);
                match whole {
                    Some(change) => [Some(change), None],
                    None => [before, after],
                }
            });
            *doubtful = parts.flatten().collect();
        }
    }

    fn part(&self, from: u64, to: u64) -> Option<Self> {
        (from < to).then(|| Self {
            sequence: self.sequence,
            offset: from,
            bytes: to - from,
            effect: match &self.effect {
                Effect::Write { bytes, grew } => Effect::Write {
                    bytes: bytes.part(from - self.offset, to - self.offset),
                    grew: *grew,
                },
                effect => effect.clone(),
            },
        })
    }
}

/// One file's bytes: as read now, as the medium surely has them, and the changes between.
///
/// `current` is `durable` with `doubtful` and `pending` done to it, in order.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) current: Content,
    pub(crate) durable: Content,
    /// Changes since the last sync, in order.
    pub(crate) pending: Vec<Change>,
    /// Changes that a failed sync has marked clean: no later sync makes them durable.
    pub(crate) doubtful: Vec<Change>,
    pub(crate) sync_failed: bool,
}

impl Node {
    pub(crate) fn new(content: Content) -> Self {
        Self {
            durable: content.clone(),
            current: content,
            pending: Vec::new(),
            doubtful: Vec::new(),
            sync_failed: false,
        }
    }

    /// Does a change to what is read, and notes it as pending.
    pub(crate) fn change(&mut self, change: Change) {
        change.settle(&mut self.current);
        self.pending.push(change);
    }

    /// Makes all pending changes durable.
    pub(crate) fn sync(&mut self) {
        if !self.doubtful.is_empty() {
            for change in self.pending.drain(..) {
                change.settle(&mut self.durable);
                change.supersede(&mut self.doubtful);
            }
            return;
        }
        let gives_back = |change: &Change| {
            matches!(
                change.effect,
                Effect::Punch | Effect::Length { shrank: true }
            )
        };
        if self.pending.iter().any(gives_back) {
            self.durable = self.current.clone();
        } else {
            for change in &self.pending {
                self.durable
                    .share(&self.current, change.offset, change.bytes);
            }
            self.durable.set_length(self.current.length());
        }
        self.pending.clear();
    }

    /// Loses the pending changes as a failed `fsync` on Linux does: they are
    /// still read, perhaps on the medium, and never written again.
    pub(crate) fn fail_sync(&mut self) {
        self.doubtful.append(&mut self.pending);
        self.sync_failed = true;
    }

    /// Reads again what the medium has in place of what a failed sync left in doubt. The
    /// length stays as it is read, and in doubt.
    pub(crate) fn forget_doubtful(&mut self) {
        let Some(last) = self.doubtful.last() else {
            return;
        };
        let sequence = last.sequence;
        let length = self.current.length();
        let durable_length = self.durable.length();
        self.doubtful.clear();
        if length != durable_length {
            self.doubtful.push(Change {
                sequence,
                offset: length,
                bytes: 0,
                effect: Effect::Length {
                    shrank: length < durable_length,
                },
            });
        }
        self.current = self.durable.clone();
        for change in self.doubtful.iter().chain(&self.pending) {
            change.settle(&mut self.current);
        }
    }
}
