//! `src/checkpoint_op.rs` says what this is for.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| partita_fuzz::checkpoint_op::run(data));
