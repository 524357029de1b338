//! Room for an encoded key or value, on the stack for all but long ones.

const INLINE_BYTES: usize = 64;

/// Collects the bytes of an encoding. Up to 64 bytes cost no allocation.
#[derive(Debug)]
pub struct EncodeBuffer {
    inline: [u8; INLINE_BYTES],
    inline_bytes: usize,
    /// All bytes, once they are more than fit inline.
    spilled: Vec<u8>,
}

impl EncodeBuffer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inline: [0; INLINE_BYTES],
            inline_bytes: 0,
            spilled: Vec::new(),
        }
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.inline_bytes + bytes.len();
        if self.spilled.is_empty() {
            if let Some(room) = self.inline.get_mut(self.inline_bytes..end) {
                room.copy_from_slice(bytes);
                self.inline_bytes = end;
                return;
            }
            self.spilled
                .extend_from_slice(&self.inline[..self.inline_bytes]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    /// What was appended.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.spilled.is_empty() {
            &self.inline[..self.inline_bytes]
        } else {
            &self.spilled
        }
    }

    /// Appends `bytes` and gives back everything.
    pub fn filled_with(&mut self, bytes: &[u8]) -> &[u8] {
        self.extend(bytes);
        self.bytes()
    }
}

impl Default for EncodeBuffer {
    fn default() -> Self {
        Self::new()
    }
}
