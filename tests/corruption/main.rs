//! Keystores that were damaged or altered: each change is detected or harmless, and no plaintext is ever wrong. Keys
//! that are not affected keep working, and `verify` names the key.
//!
//! `KMS_LONG=1` tries every byte and every length, `KMS_FULL=1` a part of them; otherwise an eighteenth of that part,
//! the same in each run.

mod aliased;
mod anchor;
mod bytes;
mod foreign;
mod free;
mod golden;
mod hidden;
mod log;
mod order;
mod pages;
#[cfg(kms_faults)]
mod protection;
mod rows;
mod sample;
mod verify;
