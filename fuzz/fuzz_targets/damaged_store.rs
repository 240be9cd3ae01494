//! `src/damaged_store.rs` says what this is for.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| partita_fuzz::damaged_store::run(data));
