//! The operating system, as this library uses it.
//!
//! * `boot`: which boot of the machine this is.
//! * `bus`: catches SIGBUS where a mapped file was truncated.
//! * `cancel`: keeps the cancellation of threads away.
//! * `clocks`: its clocks.
//! * `denied`: a system call that the kernel refuses to a test.
//! * `exit`: keeps our threads out of the host's libcrypto once `exit` has begun.
//! * `fault`: protections that tests switch off.
//! * `file`: opens files.
//! * `filesystem`: distinguishes network file systems from local ones, and mount points from other files.
//! * `fork`: notices a fork, and survives it.
//! * `heap`: libcrypto's own memory, in locked memory.
//! * `large`: calls on files with 64-bit offsets.
//! * `locked`: memory for secrets.
//! * `memory`: allocations that may fail.
//! * `per_thread`: a value for each thread that uses an object.
//! * `process`: who this process is.
//! * `random`: bytes of the kernel, mixed with words of the CPU.
//! * `secret`: keys in locked memory.
//! * `socket`: waits for a database server.
//! * `shield`: no cancellation and no shut fork gate while a call runs.
//! * `signal`: keeps signals off our threads, but SIGBUS.
//! * `stack`: wipes copies of keys from the stack.
//! * `sync`: locks and waiting.
//! * `thread`: the library's own threads.
//! * `vdso`: bytes of the kernel without a system call.
//! * `waiting`: calls that are refused where they would wait.
//! * `wide`: 16 bytes in one store, or compared.
//! * `word`: a word that processes share.
//! * `zeroed`: values in mappings that a forked child finds zeroed.

pub mod boot;
mod bus;
pub mod cancel;
pub mod clocks;
#[cfg(test)]
pub mod denied;
pub mod exit;
pub mod fault;
pub mod file;
pub mod filesystem;
pub mod fork;
pub mod heap;
pub mod large;
pub mod locked;
pub mod memory;
pub mod per_thread;
pub mod process;
pub mod random;
pub mod secret;
#[cfg(feature = "postgres")]
pub mod socket;
pub mod shield;
mod signal;
pub mod stack;
pub mod sync;
pub mod thread;
pub mod vdso;
pub mod waiting;
pub mod wide;
pub mod word;
pub mod zeroed;
