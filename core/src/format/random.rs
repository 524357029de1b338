//! Small deterministic randomness for the tests of the format.

use std::vec::Vec;

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Up to `count` keys, ascending and different, of one of several natures:
    /// random of a fixed length; numbers; few letters of any length, so that
    /// many begin with one another; long common beginnings; long and different
    /// at the end only.
    pub(super) fn keys(&mut self, count: usize, bytes_max: usize) -> Vec<Vec<u8>> {
        let nature = self.below(6);
        let length = self.below(bytes_max) + 1;
        let common = self.bytes(bytes_max / 2);
        let mut keys: Vec<Vec<u8>> = (0..count as u64)
            .map(|index| match nature {
                0 => self.bytes(length),
                1 => (index * 3).to_be_bytes().to_vec(),
                2 | 3 => {
                    let length = self.below(bytes_max.min(if nature == 2 { 9 } else { 300 }));
                    let letter = if self.below(4) == 0 { 2 } else { 1 };
                    (0..length)
                        .map(|_| (self.below(letter) * 0x61) as u8)
                        .collect()
                }
                4 => {
                    let length = self.below(6);
                    [&common[..], &self.bytes(length)].concat()
                }
                _ => {
                    let mut key = common.clone();
                    let place = key.len() - 1 - self.below(key.len().min(9));
                    key[place] = self.next() as u8;
                    key
                }
            })
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// `key`, or something near it.
    pub(super) fn near(&mut self, key: &[u8]) -> Vec<u8> {
        let mut key = key.to_vec();
        match self.below(5) {
            0 => key.push(0),
            1 => {
                key.pop();
            }
            2 if !key.is_empty() => {
                let place = self.below(key.len());
                key[place] = key[place].wrapping_add(1);
            }
            3 if !key.is_empty() => {
                let place = self.below(key.len());
                key[place] = self.next() as u8;
                key.truncate(place + 1);
            }
            _ => {}
        }
        key
    }
}
