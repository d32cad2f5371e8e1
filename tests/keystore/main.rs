//! The keystore's promises, tried through the public API with real files, processes, forks and crashes.
//!
//! `KMS_LONG=1` makes the counts those of a long run; `KMS_TEST_SCALE=10` makes the long ones ten times longer.
//! A build with `--cfg kms_faults` adds those that need a fault.

mod backup;
mod cache;
mod child;
#[cfg(kms_faults)]
mod copies;
mod crash;
mod descriptors;
mod edited;
mod folder;
mod fork;
mod forks;
#[cfg(kms_faults)]
mod gallery;
mod journals;
#[cfg(kms_faults)]
mod locks;
#[cfg(kms_faults)]
mod machine_copies;
mod mixed;
mod opening;
mod other_sqlite;
mod owners;
mod place;
mod processes;
mod recorded;
mod refusals;
#[path = "../process/role.rs"]
mod role;
mod replaced;
mod roles;
mod root_slots;
mod roots;
mod second_path;
mod serve;
#[cfg(kms_faults)]
mod stalls;
mod ticker;
mod truncated;
mod waiting;
#[path = "../process/worker.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod worker;
