//! libFuzzer's entry to [`lightning_fuzz::pages`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::pages::run(data));
