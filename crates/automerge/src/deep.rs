//! Stack for the library, which recurses.
//!
//! Where two histories that know nothing of each other come together, its graph of changes goes down one of them by one call for
//! some 33 changes (`cache_clock`). A history of some 100,000 changes fills the stack of a small thread, and that ends the
//! process.

/// What one of these calls takes at most, and a reserve for how many changes it stands for.
const FRAME: usize = 1024;
const CHANGES: usize = 16;

/// What every thread has left.
const USUAL: usize = 128 << 10;

/// The stack for a whole document, of which it is not known how many changes it has. Only what is used of it is ever taken.
const FOR_DOCUMENTS: usize = 256 << 20;

/// Does something with a document of so many changes.
pub(crate) fn with_stack_for<R>(changes: u64, f: impl FnOnce() -> R) -> R {
    let needed = usize::try_from(changes).unwrap_or(usize::MAX / FRAME) / CHANGES * FRAME;
    if needed <= USUAL { f() } else { stacker::maybe_grow(needed, needed + USUAL, f) }
}

/// Does something with a document that takes so many bytes.
pub(crate) fn with_stack_for_bytes<R>(bytes: usize, f: impl FnOnce() -> R) -> R {
    if bytes <= USUAL / FRAME * CHANGES { f() } else { stacker::maybe_grow(FOR_DOCUMENTS, FOR_DOCUMENTS, f) }
}
