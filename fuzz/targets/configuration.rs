//! libFuzzer's entry to [`lightning_fuzz::configuration`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::configuration::run(data));
