//! The operating system: randomness, locked memory, fork, shared pages, clocks, threads and locks.

pub mod boot;
pub mod filesystem;
pub mod fork;
pub mod nonce;
pub mod per_thread;
pub mod random;
pub mod secret;
mod signal;
pub mod sync;
pub mod word;
