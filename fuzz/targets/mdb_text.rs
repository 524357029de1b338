//! libFuzzer's entry to [`lightning_fuzz::mdb_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lightning_fuzz::mdb_text::run(data));
