//! libFuzzer's entry to [`lightning_fuzz::requests`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::requests::run(data));
