//! libFuzzer's entry to [`lightning_fuzz::typed_keys`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::typed_keys::run(data));
