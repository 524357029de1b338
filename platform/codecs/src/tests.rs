//! What the contract asks of every codec.

use crate::*;
use lightning_platform::{Codec, TransformError};
use lightning_sim::Random;

const PAGE_BYTES: usize = 4_064;

fn codecs(page_bytes: usize) -> Vec<Box<dyn Codec>> {
    vec![
        Box::new(Lz4::new(page_bytes, 2)),
        #[cfg(feature = "zstd")]
        Box::new(Zstandard::new(page_bytes, 2, 2).unwrap()),
    ]
}

/// Rows of JSON, as many as fit.
fn text(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut page = Vec::new();
    while page.len() < bytes {
        let (id, score) = (random.below(1 << 30), random.below(10_000));
        let row = format!("user:{id}{{\"id\":{id},\"active\":true,\"score\":{score}}}");
        page.extend_from_slice(row.as_bytes());
    }
    page.truncate(bytes);
    page
}

fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut page = vec![0; bytes];
    random.fill(&mut page);
    page
}

#[test]
fn pages_come_back_and_take_less() {
    for bytes in [480, PAGE_BYTES, 65_504] {
        for codec in codecs(bytes) {
            for seed in 0..20 {
                let plain = text(bytes, seed);
                let mut packed = vec![0; bytes];
                let length = codec.compress(&plain, &mut packed).unwrap();
                assert!(length < bytes, "{}: {length} of {bytes}", codec.identity());
                assert!(bytes < 4_000 || length < bytes / 2);
                let mut again = vec![0; bytes];
                assert_eq!(codec.compress(&plain, &mut again), Some(length));
                assert_eq!(packed[..length], again[..length]);
                let mut restored = vec![0xA5; bytes];
                codec.decompress(&packed[..length], &mut restored).unwrap();
                assert_eq!(restored, plain);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for codec in codecs(PAGE_BYTES) {
        let plain = noise(PAGE_BYTES, 1);
        assert_eq!(codec.compress(&plain, &mut vec![0; PAGE_BYTES - 512]), None);
        let plain = text(PAGE_BYTES, 1);
        let mut packed = vec![0; PAGE_BYTES];
        let length = codec.compress(&plain, &mut packed).unwrap();
        let mut exact = vec![0; length];
        assert_eq!(codec.compress(&plain, &mut exact[..length - 1]), None);
        assert_eq!(codec.compress(&plain, &mut []), None);
    }
}

#[test]
fn damage_is_an_error_and_nothing_worse() {
    let mut random = Random::new(7);
    for codec in codecs(PAGE_BYTES) {
        let plain = text(PAGE_BYTES, 3);
        let mut packed = vec![0; PAGE_BYTES];
        let length = codec.compress(&plain, &mut packed).unwrap();
        packed.truncate(length);
        let damaged = Err(TransformError::Damaged);
        let mut restored = vec![0; PAGE_BYTES];
        for other in [PAGE_BYTES - 1, PAGE_BYTES + 1] {
            assert_eq!(codec.decompress(&packed, &mut vec![0; other]), damaged);
        }
        assert_eq!(
            codec.decompress(&packed[..length / 2], &mut restored),
            damaged
        );
        assert_eq!(codec.decompress(&[], &mut restored), damaged);
        for case in 0..20_000 {
            let mut bytes = if case % 4 == 0 {
                let length = random.below(PAGE_BYTES as u64) as usize;
                noise(length, case)
            } else {
                packed.clone()
            };
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            // Some damage makes another page of the same length: that is the checksum's
            // to find.
            let _outcome = codec.decompress(&bytes, &mut restored);
        }
    }
}

#[test]
fn identities_are_what_databases_state() {
    let identities: Vec<u32> = codecs(512).iter().map(|codec| codec.identity()).collect();
    assert_eq!(identities[0], 1);
    assert_eq!(*identities.last().unwrap(), identities.len() as u32);
}

#[test]
fn more_threads_than_planned_take_turns() {
    for codec in codecs(PAGE_BYTES) {
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let codec = &codec;
                scope.spawn(move || {
                    let plain = text(PAGE_BYTES, thread);
                    for _ in 0..50 {
                        let mut packed = vec![0; PAGE_BYTES];
                        let length = codec.compress(&plain, &mut packed).unwrap();
                        let mut restored = vec![0; PAGE_BYTES];
                        codec.decompress(&packed[..length], &mut restored).unwrap();
                        assert_eq!(restored, plain);
                    }
                });
            }
        });
    }
}
