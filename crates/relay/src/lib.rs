//! Partita's blind relay: stores and forwards what it cannot read.
