//! libFuzzer's entry to [`lightning_fuzz::globs`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::globs::run(data));
