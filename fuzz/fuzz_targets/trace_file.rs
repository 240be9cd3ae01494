//! `src/trace_file.rs` says what this is for.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| partita_fuzz::trace_file::run(data));
