//! Connections: handshakes, channels, and what can happen to frames between two ends.
//!
//! A transport is reliable and keeps the order until it breaks, so whatever loses, doubles, swaps or changes a frame ends
//! the channel: that it does, and that everything goes on afterwards, is what is tried here.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use partita_core::SessionId;
use partita_protocol::channel::{Handshake, Opener, Sealer};
use partita_sync::SteppedEnd;

use crate::machine::MachineId;

pub(crate) type LinkId = u64;

/// How far an end has come.
pub(crate) enum Stage {
    Shaking(Box<Handshake>),
    Open(Box<OpenEnd>),
    Gone,
}

pub(crate) struct OpenEnd {
    pub(crate) session: SessionId,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) end: SteppedEnd,
}

pub(crate) struct End {
    pub(crate) machine: MachineId,
    pub(crate) stage: Stage,
}

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Parcel {
    /// A sealed frame, and how many bytes its sender counts for it.
    Frame(Bytes, usize),
    /// The orderly end.
    Fin,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// In order, each with its time of arrival.
    pub(crate) queue: VecDeque<(Duration, Parcel)>,
    /// When the last one arrives.
    pub(crate) last: Duration,
    /// Nothing arrives until it is let go.
    pub(crate) held: bool,
    /// Whatever is sent vanishes, and nobody says so.
    pub(crate) dead: bool,
    pub(crate) bytes_per_second: u64,
}

impl Wire {
    fn new(bytes_per_second: u64) -> Self {
        Self { queue: VecDeque::new(), last: Duration::ZERO, held: false, dead: false, bytes_per_second }
    }
}

pub(crate) struct Link {
    /// The one who dialled, then the one who was dialled.
    pub(crate) ends: [End; 2],
    /// What each end sent.
    pub(crate) wires: [Wire; 2],
    /// Since when it stands, for the one who dialled.
    pub(crate) since: Option<Duration>,
    /// How many frames in a thousand are lost, doubled, swapped or changed.
    pub(crate) bad: usize,
    pub(crate) latency: Duration,
}

impl Link {
    pub(crate) fn new(dialer: End, acceptor: End, latency: Duration, speed: u64, bad: usize) -> Self {
        Self { ends: [dialer, acceptor], wires: [Wire::new(speed), Wire::new(speed)], since: None, bad, latency }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| matches!(end.stage, Stage::Gone))
    }
}
