//! Partita's single-owner partition strategy: one person's devices.
