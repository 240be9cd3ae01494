//! Bytes from outside never crash us: a module for each fuzz target, so that a test on a stable compiler can feed
//! them too (`tests/replay.rs`).

pub mod automerge_payload;
pub mod checkpoint_op;
pub mod control;
pub mod crdt;
pub mod damaged_store;
pub mod entry_header;
pub mod epochs;
pub mod frames;
pub mod frontiers;
pub mod group_control;
pub mod group_texts;
pub mod handshake;
pub mod log_record;
pub mod owner_control;
pub mod owner_texts;
pub mod trace_file;
pub mod two_sessions;
pub mod yrs_payload;

/// The trace parser of the command, which is no library: the same files, compiled here.
#[path = "../../crates/cli/src"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod cli {
    pub(crate) mod trace;
}

/// What the trace parser takes from the command's root.
mod error {
    use std::path::PathBuf;

    #[allow(dead_code)]
    #[derive(Debug)]
    pub(crate) enum CliError {
        Trace { path: PathBuf, reason: String },
    }
}

/// Every target by its name.
pub const TARGETS: &[&str] = &[
    "automerge_payload",
    "checkpoint_op",
    "damaged_store",
    "entry_header",
    "epochs",
    "frames",
    "frontiers",
    "group_control",
    "group_texts",
    "handshake",
    "log_record",
    "owner_control",
    "owner_texts",
    "trace_file",
    "two_sessions",
    "yrs_payload",
];

/// The function of a target.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    Some(match name {
        "automerge_payload" => automerge_payload::run,
        "checkpoint_op" => checkpoint_op::run,
        "damaged_store" => damaged_store::run,
        "entry_header" => entry_header::run,
        "epochs" => epochs::run,
        "frames" => frames::run,
        "frontiers" => frontiers::run,
        "group_control" => group_control::run,
        "group_texts" => group_texts::run,
        "handshake" => handshake::run,
        "log_record" => log_record::run,
        "owner_control" => owner_control::run,
        "owner_texts" => owner_texts::run,
        "trace_file" => trace_file::run,
        "two_sessions" => two_sessions::run,
        "yrs_payload" => yrs_payload::run,
        _ => return None,
    })
}
