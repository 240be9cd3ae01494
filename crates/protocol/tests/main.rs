//! The tests of the protocol, in one program: linking it into each of them took longer than running them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod channel;
mod chaos;
mod checkpoints;
mod convergence;
mod durability;
mod ephemeral;
mod failure_modes;
mod golden;
mod hostile;
mod large;
mod laws;
mod limits;
mod observing;
mod readmission;
mod refusals;
mod reopening;
mod sessions;
