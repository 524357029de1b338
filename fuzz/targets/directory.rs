//! libFuzzer's entry to [`lightning_fuzz::directory`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::directory::run(data));
