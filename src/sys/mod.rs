//! The operating system, as this library uses it.
//!
//! * `random`: bytes of the kernel, words of the CPU. `nonce`: unique nonce suffixes that survive fork and cloning.
//! * `locked`: memory for secrets. `secret`: keys in it. `prefix`: derived keys in it, of one thread. `heap`: libcrypto's
//!   own memory in it. `stack`: copies of keys on the stack, wiped.
//! * `per_thread`: a value for each thread of an object.
//! * `fork`: notices and survives fork. `exit`: keeps our threads out of libcrypto at the end. `sync`: locks and
//!   threads. `signal`: keeps signals off our threads.
//! * `fault`: protections that tests switch off. `denied`: system calls refused to a test. `word`: a word shared between processes. `filesystem`: tells network file systems. `clocks`: its clocks.

pub mod clocks;
#[cfg(test)]
pub mod denied;
pub mod exit;
pub mod fault;
pub mod filesystem;
pub mod fork;
pub mod heap;
pub mod locked;
pub mod nonce;
pub mod per_thread;
pub mod prefix;
pub mod random;
pub mod secret;
mod signal;
pub mod stack;
pub mod sync;
pub mod word;
