//! The keystore's promises, tried through the public API with real files, processes, forks and crashes.
//!
//! `KMS_LONG=1` makes the counts those of a long run; `KMS_TEST_SCALE=10` makes the long ones ten times longer. `--features faults` adds those that need a fault.

mod backup;
mod cache;
mod crash;
mod edited;
mod folder;
mod fork;
mod forks;
#[cfg(feature = "faults")]
mod locks;
mod mixed;
mod opening;
mod place;
mod process;
mod processes;
mod roots;
mod serve;
mod ticker;
mod waiting;
