#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failure here is a finding

mod attacks;
mod bytes;
mod dormancy;
mod joining;
mod limits;
mod net;
mod orders;
mod readers;
mod scenarios;
mod together;
mod tricks;
mod world;
