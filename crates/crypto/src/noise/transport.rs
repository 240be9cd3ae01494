//! Records: what travels once the handshake is done (Noise, sections 3 and 5.3).
//!
//! The two directions have keys and counters of their own and share nothing that changes, so each can live in a task
//! of its own. The counter is not sent: a record opens only in its place, so loss, replay and reordering show at once.

use std::fmt;
use std::sync::Arc;

use snow::StatelessTransportState;

use super::{MAX_RECORD, NoiseError};

/// How much longer a record is than its content.
pub const RECORD_OVERHEAD: usize = 16;

/// The most that fits into one record: 65,519 bytes.
pub const MAX_RECORD_PLAIN: usize = MAX_RECORD - RECORD_OVERHEAD;

/// Splits a finished handshake into its directions.
pub(super) fn split(state: StatelessTransportState) -> (NoiseSender, NoiseReceiver) {
    let state = Arc::new(state);
    (NoiseSender { state: Arc::clone(&state), next: 0 }, NoiseReceiver { state, next: 0, broken: false })
}

/// The direction out.
pub struct NoiseSender {
    state: Arc<StatelessTransportState>,
    next: u64,
}

impl NoiseSender {
    /// Appends `plain` to `out` as one record. Records must reach the remote in this order, each with its bounds.
    ///
    /// # Errors
    ///
    /// [`NoiseError::TooLong`] and [`NoiseError::Exhausted`]; `out` is then as it was.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        if plain.len() > MAX_RECORD_PLAIN {
            return Err(NoiseError::TooLong);
        }
        // Counted before it is used: whatever happens next, no counter seals twice.
        let nonce = self.next;
        self.next = nonce.checked_add(1).ok_or(NoiseError::Exhausted)?;

        let start = out.len();
        out.resize(start + plain.len() + RECORD_OVERHEAD, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let error = match self.state.write_message(nonce, plain, room) {
            Ok(written) if written == plain.len() + RECORD_OVERHEAD => return Ok(()),
            Ok(_) => NoiseError::TooLong,
            Err(error) => error.into(),
        };
        out.truncate(start);
        Err(error)
    }
}

/// The direction in.
pub struct NoiseReceiver {
    state: Arc<StatelessTransportState>,
    next: u64,
    broken: bool,
}

impl NoiseReceiver {
    /// Opens the next record and appends its content to `out`.
    ///
    /// # Errors
    ///
    /// [`NoiseError::Refused`] for anything but the remote's next record, and [`NoiseError::Broken`] ever after; `out` is
    /// then as it was. Close the connection.
    pub fn open(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        if self.broken {
            return Err(NoiseError::Broken);
        }
        let start = out.len();
        let result = self.open_next(record, out);
        if result.is_err() {
            self.broken = true;
            out.truncate(start);
        }
        result
    }

    fn open_next(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        if record.len() > MAX_RECORD {
            return Err(NoiseError::TooLong);
        }
        let len = record.len().checked_sub(RECORD_OVERHEAD).ok_or(NoiseError::Refused)?;
        let start = out.len();
        out.resize(start + len, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        self.state.read_message(self.next, record, room)?;
        self.next = self.next.checked_add(1).ok_or(NoiseError::Exhausted)?;
        Ok(())
    }
}

impl fmt::Debug for NoiseSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseSender").field("next", &self.next).finish_non_exhaustive()
    }
}

impl fmt::Debug for NoiseReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseReceiver").field("next", &self.next).field("broken", &self.broken).finish_non_exhaustive()
    }
}
