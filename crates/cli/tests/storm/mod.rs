//! What the test of bad networks is made of.

#![allow(unreachable_pub)] // one test file uses all of it

pub mod carry;
pub mod faults;
pub mod fleet;
pub mod memory;
pub mod proxy;
