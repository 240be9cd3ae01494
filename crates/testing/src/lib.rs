//! What Partita's tests share: in-memory store, transport and disk, conformance suites.

// Tests may unwrap: a failure there is a finding.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod crdt_laws;
pub mod disk;
pub mod fleet;
mod memory_keystore;
pub mod memory_store;
pub mod network;
pub mod samples;
pub mod store_conformance;
pub mod strategy;
pub mod strategy_conformance;

pub use disk::FaultyDisk;
pub use memory_keystore::MemoryKeystore;
pub use memory_store::MemoryStore;

/// The program of the guide runs.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/write-a-strategy.md")]
struct WriteAStrategy;
