//! libFuzzer's entry to [`lightning_fuzz::operations`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::operations::run(data));
