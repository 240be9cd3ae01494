//! What a member says about checkpoints has one encoding, and whatever else it sends is an error.

use partita_core::CheckpointOp;
use partita_testing::samples;

/// One input.
pub fn run(data: &[u8]) {
    if let Ok(op) = CheckpointOp::decode(&samples::context(1), data) {
        assert_eq!(op.encode(), data);
    }
}
