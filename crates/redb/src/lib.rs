//! Partita's default store: one file, on [redb](https://docs.rs/redb).
//!
//! ```
//! use partita_core::{Batch, Durability, Incarnation, Key, Op, Store, StoreError};
//! use partita_redb::RedbStore;
//!
//! # fn run(path: &std::path::Path) -> Result<(), StoreError> {
//! # let incarnation = Incarnation::default();
//! let store = RedbStore::open(path, incarnation)?;
//! let batch = Batch { ops: vec![Op::Put(Key::Meta("greeting"), "hello".into())] };
//! store.commit(&batch, Durability::Durable)?;
//! assert_eq!(store.read()?.get(&Key::Meta("greeting"))?.as_deref(), Some(&b"hello"[..]));
//! # Ok(()) }
//! ```
//!
//! # The layout, format 1
//!
//! Contexts, logs and documents get a number of 32 bits when they are first seen, so that keys are small; numbers are
//! never given to something else. All numbers are big-endian, so that keys sort as they count.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | a name | the format, the counters, for a context the last arrival that a truncation took away |
//! | `names` | tag, (context number,) id | number |
//! | `entries` | context number, arrival | log number, seq, document number, head, payload |
//! | `logs` | log number, seq | arrival |
//! | `documents` | document number, arrival | nothing |
//! | `records` | [`Key::to_bytes`](partita_core::Key::to_bytes) | the record |
//! | `pieces` | body number, index | a piece of a large value |
//!
//! Entries lie in arrival order because that is how they come and how most are read: a new entry goes to the end of
//! its context, and redb packs the pages of a table that grows at its end. The price: in a store of many contexts that
//! all grow, the pages of all but the last are split in halves, and are about half full until they are read again
//! into a new file.
//!
//! **Pieces.** redb gives a value that does not fit a page of 4 KiB a page of its own, rounded up to a power of two:
//! 65 KiB take 128. So what is longer than 3,900 bytes is cut, the largest piece first, into pieces that fill 64, 32,
//! 16, 8 or 4 KiB to within 64 bytes; the rest stays in the row. A value of any size wastes less than one small page.
//!
//! **Checksums.** redb checks its page checksums when it repairs, not when it reads. So every row with content has a
//! CRC-32 over its key and its content, index rows are compared with the rows that they point at, and a log is checked for
//! holes: what a reader gets is what was written, or [`StoreError::Damaged`]. Damage to a key or to a page's
//! structure can still hide rows; [`RedbStore::check`] walks every checksum in the file and finds it. CRC-32 is
//! against accidents; against malice entries carry their own BLAKE3 and signatures, and the engine checks those.
//!
//! # Durability
//!
//! Durable commits use redb's quick repair, which implies its two-phase commit: data, fsync, then the one byte that
//! makes it current, fsync. The one-phase commit would save one fsync; it tells a torn commit from a whole one by
//! a checksum that is not cryptographic, over bytes that come from peers, and redb's design document advises those who
//! store such bytes against it. Quick repair also saves the allocator's state with every commit, so opening after a
//! crash does not read the whole file.
//!
//! Assumed of the disk: what fsync reported as done survives; sectors that are not being written stay as they are;
//! what is written between two fsyncs may arrive in part and in any order. A disk that lies about fsync can lose
//! durable commits.
//!
//! After a failed commit (a full disk, for instance) redb answers only from its cache: open the store again to read
//! everything. That works on a full disk too. What a compaction was doing when the power went is repaired by reading the
//! whole file once.
//!
//! A panic inside redb (damaged files can cause some) is caught around open, check, reads and commits, and reported as
//! [`StoreError::Damaged`]. This needs `panic = "unwind"`. One is not caught: where the damage hits redb's own lists of free
//! pages, a commit, also the one that closes the file, can panic twice and end the process. [`RedbOptions::check_on_open`]
//! finds such damage before anything is written.
//!
//! [`StoreError::Damaged`]: partita_core::StoreError::Damaged

mod apply;
mod backend;
mod error;
mod names;
mod open;
mod options;
mod read;
mod row;
mod store;
mod tables;

pub use options::RedbOptions;
pub use partita_core::Maintained;
pub use redb::{BackendError, StorageBackend};
pub use store::RedbStore;
