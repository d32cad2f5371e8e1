//! The pure rules of keys: no I/O, no clock, no randomness, no cryptography.

pub mod id;
pub mod limits;
