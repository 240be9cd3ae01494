//! `src/log_record.rs` says what this is for.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| partita_fuzz::log_record::run(data));
