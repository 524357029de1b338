//! What may happen to a page between memory and storage: compression and encryption.
//!
//! Both are pure functions over one page's bytes: no state, no I/O, so that a
//! host may run them on any thread. The superblock records their identities,
//! and a database opens only with the same ones.

/// Which page, for a cipher: authenticated with the bytes, so that a page
/// which was moved, swapped or brought back from the past does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageIdentity {
    /// The database's lineage.
    pub lineage_id: [u8; 16],
    /// Byte offset in the page file, or segment number and position of a log range.
    pub address: u64,
    /// The flip that the page was written in.
    pub birth_generation: u64,
}

/// Why a page could not be restored to its plain form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformError {
    /// The bytes are not what the transform produced.
    Damaged,
    /// The output buffer is too small for the result.
    NoRoom,
}

/// A page compressor.
pub trait Codec: Send + Sync {
    /// A number that the superblock records; 0 means none and MUST NOT be used.
    fn identity(&self) -> u32;

    /// Compresses `plain` into `output` and returns the length, or `None` where
    /// it doesn't fit: the page is then stored as it is. MUST be deterministic.
    fn compress(&self, plain: &[u8], output: &mut [u8]) -> Option<usize>;

    /// Restores exactly `plain.len()` bytes. MUST NOT read or write out of
    /// bounds, loop or panic, whatever `packed` holds.
    ///
    /// # Errors
    /// `Damaged` where `packed` is not what [`compress`](Self::compress) made.
    fn decompress(&self, packed: &[u8], plain: &mut [u8]) -> Result<(), TransformError>;
}

/// An authenticated cipher.
pub trait Cipher: Send + Sync {
    /// A number that the superblock records; 0 means none and MUST NOT be used.
    fn identity(&self) -> u32;

    /// Encrypts `bytes` in place under a fresh nonce made of `salt` and
    /// `counter`, and returns the tag over bytes and identity.
    fn seal(
        &self,
        identity: &PageIdentity,
        salt: &[u8; 16],
        counter: u64,
        bytes: &mut [u8],
    ) -> [u8; 16];

    /// Decrypts `bytes` in place after its tag was found right.
    ///
    /// # Errors
    /// `Damaged` where tag, identity and bytes don't belong together.
    fn open(
        &self,
        identity: &PageIdentity,
        salt: &[u8; 16],
        counter: u64,
        bytes: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), TransformError>;
}
