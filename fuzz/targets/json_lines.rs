//! libFuzzer's entry to [`lightning_fuzz::json_lines`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::json_lines::run(data));
