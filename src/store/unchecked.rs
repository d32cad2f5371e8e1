//! A protection that tests switch off: whether the trees are believed.

/// Believes rows that are authentic though they may be old or gone, for the tests that show why they are not believed.
#[cfg(kms_faults)]
pub fn unchecked() -> bool {
    static WANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *WANTED.get_or_init(|| std::env::var_os("KMS_FAULT_UNCHECKED").is_some())
}

#[cfg(not(kms_faults))]
pub const fn unchecked() -> bool {
    false
}
