//! The steps of backup and restore, at which tests kill the command.

/// Ends the command without any cleanup, as a kill would, where a test says so.
#[cfg(kms_faults)]
pub fn reached(name: &str) {
    if std::env::var("KMS_FAULT_KILLED_AT").is_ok_and(|at| at == name) {
        std::process::abort();
    }
}

#[cfg(not(kms_faults))]
pub const fn reached(_: &str) {}
