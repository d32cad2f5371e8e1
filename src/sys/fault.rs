//! Protections that tests switch off by an environment variable, to show that they would notice.

/// Whether the protection behind this name is off; never without the feature `faults`.
#[cfg(all(feature = "faults", not(all(test, kms_model))))]
pub fn wanted(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

#[cfg(not(any(feature = "faults", all(test, kms_model))))]
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

// A model's threads share the thread of its test, and other tests run beside it.
#[cfg(all(test, kms_model))]
thread_local! {
    static WANTED: std::cell::Cell<&'static str> = const { std::cell::Cell::new("") };
}

#[cfg(all(test, kms_model))]
pub fn wanted(name: &str) -> bool {
    WANTED.get() == name
}

/// Whether `body` panics with the protection behind `name` off.
#[cfg(all(test, kms_model))]
pub fn breaks(name: &'static str, body: impl FnOnce()) -> bool {
    WANTED.set(name);
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err();
    WANTED.set("");
    broken
}
