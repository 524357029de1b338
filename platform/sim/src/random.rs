//! The simulator's only source of chance: xoshiro256++, seeded by splitmix64.
//!
//! The same seed gives the same numbers on every platform and in every version
//! of this crate, so that a failing seed can be written down. Not for secrets.
//! Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators".

/// A small deterministic generator of pseudo-random numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

/// One step of splitmix64: mixes `value` so that each bit of it reaches each bit of the result.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl Random {
    /// A generator that is determined by `seed`; every seed is good.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let first = mix(seed);
        let second = mix(first);
        let third = mix(second);
        Self {
            state: [first, second, third, mix(third) | 1],
        }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        let c = c ^ a;
        let d = d ^ b;
        self.state = [a ^ d, b ^ c, c ^ shifted, d.rotate_left(45)];
        result
    }

    /// A number in `0..bound`; 0 where `bound` is 0. Its bias is below `bound / 2^64`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// True in `numerator` of `denominator` cases.
    pub const fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_reference_sequence() {
        let mut random = Random {
            state: [1, 2, 3, 4],
        };
        let numbers: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386,
                9_228_616_714_210_784_205
            ]
        );
    }

    #[test]
    fn equal_seeds_give_equal_numbers_and_bounds_hold() {
        let mut first = Random::new(7);
        let mut second = Random::new(7);
        for bound in 1..1_000 {
            let number = first.below(bound);
            assert!(number < bound);
            assert_eq!(number, second.below(bound));
        }
        assert_eq!(first.below(0), 0);
        assert_ne!(Random::new(8).next_u64(), Random::new(9).next_u64());
        let mut bytes = [0; 13];
        first.fill(&mut bytes);
        assert_ne!(bytes, [0; 13]);
    }
}
