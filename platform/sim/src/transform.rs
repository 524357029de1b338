//! A codec and a cipher for tests: small, deterministic, of no worth outside.
//!
//! Packed form of the codec: a control byte `c`, then for `c < 128` as many as
//! `c + 1` bytes as they are, otherwise one byte that is repeated `c - 125`
//! times (3 to 130). The cipher XORs with a stream and tags the encrypted bytes.

use crate::random::{Random, mix};
use lightning_platform::{Cipher, Codec, PageIdentity, TransformError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

const LITERALS_MAX: usize = 128;
const REPEATS_MIN: usize = 3;
const REPEATS_MAX: usize = 130;

/// A run-length codec.
#[derive(Debug, Clone, Copy, Default)]
pub struct TestCodec;

impl TestCodec {
    /// What the superblock records.
    pub const IDENTITY: u32 = 0x7E57_0001;
}

/// Appends to a buffer of fixed size.
struct Output<'a> {
    rest: &'a mut [u8],
    written: usize,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (part, after) = std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())?;
        part.copy_from_slice(bytes);
        self.rest = after;
        self.written += bytes.len();
        Some(())
    }
}

fn run_length(bytes: &[u8]) -> usize {
    let first = bytes.first();
    let same = bytes.iter().take_while(|byte| Some(*byte) == first);
    same.take(REPEATS_MAX).count()
}

impl Codec for TestCodec {
    fn identity(&self) -> u32 {
        Self::IDENTITY
    }

    fn compress(&self, plain: &[u8], output: &mut [u8]) -> Option<usize> {
        let mut output = Output {
            rest: output,
            written: 0,
        };
        let mut rest = plain;
        while let Some(first) = rest.first() {
            let repeats = run_length(rest);
            if repeats >= REPEATS_MIN {
                output.put(&[(repeats - REPEATS_MIN + 128) as u8, *first])?;
                rest = &rest[repeats..];
                continue;
            }
            let mut literals = 0;
            while literals < rest.len().min(LITERALS_MAX)
                && run_length(&rest[literals..]) < REPEATS_MIN
            {
                literals += 1;
            }
            output.put(&[(literals - 1) as u8])?;
            output.put(&rest[..literals])?;
            rest = &rest[literals..];
        }
        Some(output.written)
    }

    fn decompress(&self, packed: &[u8], plain: &mut [u8]) -> Result<(), TransformError> {
        let mut output = Output {
            rest: plain,
            written: 0,
        };
        let mut rest = packed;
        while let Some((&control, after)) = rest.split_first() {
            let control = usize::from(control);
            let done = if control < LITERALS_MAX {
                after
                    .split_at_checked(control + 1)
                    .and_then(|(part, after)| {
                        rest = after;
                        output.put(part)
                    })
            } else {
                after.split_first().and_then(|(byte, after)| {
                    rest = after;
                    let run = [*byte; REPEATS_MAX];
                    output.put(&run[..control - LITERALS_MAX + REPEATS_MIN])
                })
            };
            done.ok_or(TransformError::Damaged)?;
        }
        if output.rest.is_empty() {
            Ok(())
        } else {
            Err(TransformError::Damaged)
        }
    }
}

/// The nonces used so far, each with a digest of what it was used for.
type Nonces = HashMap<([u8; 16], u64), u64>;

/// A stand-in for an authenticated cipher: **no protection whatsoever**.
///
/// It finds damage, a wrong key, a swapped page and a wrong nonce as reliably
/// as a test needs, and nothing more.
#[derive(Debug, Clone)]
pub struct TestCipher {
    key: u64,
    nonces: Option<Arc<Mutex<(Nonces, u64)>>>,
}

impl TestCipher {
    /// What the superblock records.
    pub const IDENTITY: u32 = 0x7E57_0002;

    /// A cipher with this key.
    #[must_use]
    pub const fn new(key: u64) -> Self {
        Self { key, nonces: None }
    }

    /// A cipher that also remembers every nonce, for
    /// [`nonce_reuses`](Self::nonce_reuses). A clone shares the memory.
    #[must_use]
    pub fn recording(key: u64) -> Self {
        Self {
            key,
            nonces: Some(Arc::default()),
        }
    }

    /// How often a salt and counter were used again for other bytes or another
    /// page, which a real cipher does not forgive. 0 where it does not record.
    ///
    /// Two crash images of one storage may rightly use the same nonce: give
    /// each its own cipher.
    #[must_use]
    pub fn nonce_reuses(&self) -> u64 {
        let nonces = self.nonces.as_ref();
        nonces.map_or(0, |nonces| {
            nonces.lock().unwrap_or_else(PoisonError::into_inner).1
        })
    }

    fn apply_stream(&self, salt: &[u8; 16], counter: u64, bytes: &mut [u8]) {
        let mut seed = Digest::new(self.key);
        seed.absorb(salt);
        seed.absorb(&counter.to_le_bytes());
        let mut stream = Random::new(seed.low);
        for part in bytes.chunks_mut(8) {
            let word = stream.next_u64().to_le_bytes();
            for (byte, pad) in part.iter_mut().zip(word) {
                *byte ^= pad;
            }
        }
    }

    fn tag(
        &self,
        identity: &PageIdentity,
        salt: &[u8; 16],
        counter: u64,
        bytes: &[u8],
    ) -> [u8; 16] {
        let mut digest = Digest::new(!self.key);
        digest.absorb(&identity.lineage_id);
        digest.absorb(&identity.address.to_le_bytes());
        digest.absorb(&identity.birth_generation.to_le_bytes());
        digest.absorb(salt);
        digest.absorb(&counter.to_le_bytes());
        digest.absorb(bytes);
        digest.finish(bytes.len() as u64)
    }

    fn record(&self, salt: &[u8; 16], counter: u64, tag: [u8; 16]) {
        let Some(nonces) = &self.nonces else { return };
        let mut nonces = nonces.lock().unwrap_or_else(PoisonError::into_inner);
        let used_for = u64::from_le_bytes(std::array::from_fn(|index| tag[index]));
        let before = nonces.0.insert((*salt, counter), used_for);
        nonces.1 += u64::from(before.is_some_and(|before| before != used_for));
    }
}

/// Two lanes of 64 bits that take in words by multiplying and mixing.
struct Digest {
    low: u64,
    high: u64,
}

impl Digest {
    const fn new(key: u64) -> Self {
        Self {
            low: mix(key),
            high: mix(key ^ 0x5555_5555_5555_5555),
        }
    }

    fn absorb(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            let word = u64::from_le_bytes(word);
            self.low = mix(self.low ^ word);
            let product = (self.high ^ word.rotate_left(32)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            self.high = product ^ (product >> 29) ^ self.low;
        }
    }

    fn finish(mut self, bytes: u64) -> [u8; 16] {
        self.absorb(&bytes.to_le_bytes());
        let low = mix(self.low ^ self.high);
        let high = mix(self.high ^ low.rotate_left(17));
        u128::to_le_bytes((u128::from(high) << 64) | u128::from(low))
    }
}

impl Cipher for TestCipher {
    fn identity(&self) -> u32 {
        Self::IDENTITY
    }

    fn seal(
        &self,
        identity: &PageIdentity,
        salt: &[u8; 16],
        counter: u64,
        bytes: &mut [u8],
    ) -> [u8; 16] {
        self.apply_stream(salt, counter, bytes);
        let tag = self.tag(identity, salt, counter, bytes);
        self.record(salt, counter, tag);
        tag
    }

    fn open(
        &self,
        identity: &PageIdentity,
        salt: &[u8; 16],
        counter: u64,
        bytes: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), TransformError> {
        if self.tag(identity, salt, counter, bytes) != *tag {
            return Err(TransformError::Damaged);
        }
        self.apply_stream(salt, counter, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut output = vec![0; plain.len() * 2 + 2];
        let bytes = TestCodec.compress(plain, &mut output).unwrap();
        output.truncate(bytes);
        output
    }

    #[test]
    fn codec_restores_everything() {
        let mut random = Random::new(3);
        for round in 0..500 {
            let mut plain = Vec::new();
            while plain.len() < round * 5 {
                let repeats = 1 + random.below(300) * random.below(2);
                plain.extend(vec![random.next_u64() as u8; repeats as usize]);
            }
            let packed = packed(&plain);
            let mut restored = vec![0xAA; plain.len()];
            TestCodec.decompress(&packed, &mut restored).unwrap();
            assert_eq!(restored, plain);
            let mut shorter = vec![0; packed.len().saturating_sub(1)];
            assert_eq!(
                TestCodec.compress(&plain, &mut shorter).is_none(),
                !packed.is_empty()
            );
        }
        assert!(packed(&[0; 4_096]).len() < 80);
    }

    #[test]
    fn codec_refuses_what_it_did_not_make() {
        let plain = [7; 100];
        let packed = packed(&plain);
        let mut shorter = [0; 99];
        let mut longer = [0; 101];
        let damaged = Err(TransformError::Damaged);
        assert_eq!(TestCodec.decompress(&packed, &mut shorter), damaged);
        assert_eq!(TestCodec.decompress(&packed, &mut longer), damaged);
        let mut random = Random::new(4);
        for bytes in 0..500 {
            let mut noise = vec![0; bytes];
            random.fill(&mut noise);
            let _ = TestCodec.decompress(&noise, &mut longer);
        }
    }

    #[test]
    fn cipher_opens_only_what_belongs_together() {
        let identity = PageIdentity {
            lineage_id: [1; 16],
            address: 4_096,
            birth_generation: 9,
        };
        let salt = [2; 16];
        let cipher = TestCipher::new(5);
        let plain: Vec<u8> = (0..=255).collect();
        let mut sealed = plain.clone();
        let tag = cipher.seal(&identity, &salt, 3, &mut sealed);
        assert_ne!(sealed, plain);
        let opens = |cipher: &TestCipher, identity, salt, counter, bytes: &[u8], tag| {
            let mut bytes = bytes.to_vec();
            let result = cipher.open(&identity, &salt, counter, &mut bytes, &tag);
            result.map(|()| bytes)
        };
        assert_eq!(opens(&cipher, identity, salt, 3, &sealed, tag), Ok(plain));
        let damaged = Err(TransformError::Damaged);
        let elsewhere = PageIdentity {
            address: 8_192,
            ..identity
        };
        let earlier = PageIdentity {
            birth_generation: 8,
            ..identity
        };
        let other_key = TestCipher::new(6);
        assert_eq!(opens(&other_key, identity, salt, 3, &sealed, tag), damaged);
        assert_eq!(opens(&cipher, elsewhere, salt, 3, &sealed, tag), damaged);
        assert_eq!(opens(&cipher, earlier, salt, 3, &sealed, tag), damaged);
        assert_eq!(opens(&cipher, identity, [3; 16], 3, &sealed, tag), damaged);
        assert_eq!(opens(&cipher, identity, salt, 4, &sealed, tag), damaged);
        assert_eq!(
            opens(&cipher, identity, salt, 3, &sealed[1..], tag),
            damaged
        );
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opens(&cipher, identity, salt, 3, &flipped, tag), damaged);
        }
        for bit in 0..128 {
            let mut flipped = tag;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opens(&cipher, identity, salt, 3, &sealed, flipped), damaged);
        }
    }

    #[test]
    fn cipher_counts_nonces_used_twice() {
        let identity = PageIdentity {
            lineage_id: [0; 16],
            address: 0,
            birth_generation: 0,
        };
        let cipher = TestCipher::recording(1);
        for bytes in [[1; 16], [1; 16], [2; 16]] {
            let mut bytes = bytes;
            let _ = cipher.seal(&identity, &[0; 16], 1, &mut bytes);
        }
        assert_eq!(cipher.nonce_reuses(), 1);
        let _ = cipher.seal(&identity, &[0; 16], 2, &mut [0; 16]);
        assert_eq!(cipher.nonce_reuses(), 1);
    }
}
