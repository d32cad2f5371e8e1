//! The operating system, as this library uses it.
//!
//! * `random`: bytes of the kernel, words of the CPU
//! * `nonce`: unique nonce suffixes that survive fork and cloning
//! * `coarse`: a cheap monotonic clock in whole seconds

pub mod coarse;
pub mod nonce;
pub mod random;
