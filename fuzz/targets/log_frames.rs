//! libFuzzer's entry to [`lightning_fuzz::log_frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::log_frames::run(data));
