//! What both ends of a connection share: whether it is up.

use bytes::Bytes;
use tokio::sync::watch;

use super::Tap;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Up,
    /// One side said goodbye and the other has heard it: no error.
    Closed,
    /// Broken, but what had passed still arrives.
    Spent,
    /// Broken at once.
    Cut,
}

pub(super) struct Link {
    life: watch::Sender<Life>,
    /// Bytes that may still pass.
    left: std::sync::Mutex<Option<u64>>,
    tap: Option<Tap>,
}

impl Link {
    pub(super) fn new(budget: Option<u64>, tap: Option<Tap>) -> Self {
        Self { life: watch::Sender::new(Life::Up), left: budget.into(), tap }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        *self.life.borrow() == Life::Up
    }

    /// Ends it; false when it had ended before. Only the first end counts.
    pub(super) fn end(&self, how: Life) -> bool {
        self.life.send_if_modified(|life| {
            let up = *life == Life::Up;
            if up {
                *life = how;
            }
            up
        })
    }

    /// Whether the budget allows a frame; if not, that was the end of the connection.
    pub(super) fn pass(&self, frame: &Bytes) -> bool {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(bytes) = *left {
            match bytes.checked_sub(frame.len() as u64) {
                Some(rest) => *left = Some(rest),
                None => {
                    self.end(Life::Spent);
                    return false;
                }
            }
        }
        drop(left);
        if let Some(tap) = &self.tap {
            tap(frame);
        }
        true
    }
}
