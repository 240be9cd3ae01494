//! `src/yrs_payload.rs` says what this is for.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| partita_fuzz::yrs_payload::run(data));
