//! Stories of devices that are enrolled, lost and found, told without a node: see [`net`].

// A test that unwraps says what must hold, and fails where it does not.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bytes;
mod dormancy;
mod enrolment;
mod epochs;
mod failure_modes;
mod losses;
mod memory;
mod net;
mod order;
mod proofs;
mod recovery;
mod relay;
mod sealing;
mod vouches;
