//! Protections that tests switch off by an environment variable, to show that they would notice.

/// Whether the protection behind this name is off; never without the feature `faults`.
#[cfg(feature = "faults")]
pub fn wanted(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

#[cfg(not(feature = "faults"))]
pub const fn wanted(_: &str) -> bool {
    false
}

/// Wipes a key.
#[inline]
pub fn wipe(key: &mut [u8]) {
    if !wanted("KMS_FAULT_UNWIPED") {
        zeroize::Zeroize::zeroize(key);
    }
}
