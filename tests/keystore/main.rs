//! The keystore's promises, tried through the public API with real files, processes, forks and crashes.
//!
//! `KMS_TEST_SCALE=10` makes the long ones ten times longer. `--features faults` adds those that need a fault.

mod backup;
mod cache;
mod crash;
mod edited;
mod folder;
mod fork;
#[cfg(feature = "faults")]
mod locks;
mod opening;
mod place;
mod process;
mod processes;
mod roots;
mod serve;
mod ticker;
mod waiting;
