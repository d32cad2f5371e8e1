//! What the fuzz targets share: keystores, and what must hold of every answer.
//!
//! A panic is a finding. Keystores serve many executions, because making one costs more than a hundred calls on it.

pub mod edit;
pub mod golden;
pub mod memory;

use std::panic::Location;

use kms::{Error, Status};

/// Refuses errors that no arguments of a caller can cause.
#[track_caller]
pub fn blameless(error: &Error) {
    let internal =
        [Status::Internal, Status::Poisoned, Status::KeystoreCorrupt, Status::KeystoreIo, Status::RandomFailed];
    assert!(!internal.contains(&error.status()), "{}: {:?}: {error}", Location::caller(), error.status());
}
