//! The tests of the engine, in one program: linking the engine into each of them took longer than running them. Those that
//! need a process of their own, since they measure it or what it says, are beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failure here is a finding

mod common;
mod spoiler;
mod town;
mod web;

mod bad_seals;
mod blind_relay;
mod checkpoints;
mod connections;
mod contexts;
mod documents;
mod example_strategies;
mod examples;
mod failure_modes;
mod forgery;
mod group_attacks;
mod group_checkpoints;
mod groups;
mod limits;
mod multi_context;
mod relay_metrics;
mod revocation;
mod share_copy;
mod two_devices;
