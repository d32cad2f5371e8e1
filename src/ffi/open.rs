//! Opening and closing a keystore.

use std::ffi::c_char;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Weak};

use super::guard::{guard, quietly};
use super::options::{copied, kms_options_t};
use super::ptr;
use super::status::kms_status;
use crate::error::Result;
use crate::service::Keystore;

/// An open keystore. Thread-safe: share one between all threads. `const kms_t *` in a function means that threads may
/// share the handle.
pub struct kms_t {
    kms: Keystore,
}

impl kms_t {
    /// The handle of a keystore that was opened; `kms_close` frees it. It is counted, so that a survey can find out that it
    /// was closed.
    pub fn into_raw(kms: Keystore) -> *mut Self {
        Arc::into_raw(Arc::new(Self { kms })).cast_mut()
    }

    pub fn keystore(&self) -> &Keystore {
        &self.kms
    }
}

/// A reference to a handle that keeps nothing of it open.
///
/// SAFETY: as for `ptr::shared`.
pub unsafe fn weak(kms: *const kms_t) -> Result<Weak<kms_t>> {
    // SAFETY: the caller's promise.
    unsafe {
        ptr::shared(kms, "kms")?;
        // The handle's own count stays with the handle.
        Ok(Arc::downgrade(&ManuallyDrop::new(Arc::from_raw(kms))))
    }
}

/// SAFETY: as for `ptr::shared`.
pub unsafe fn handle<'a>(kms: *const kms_t) -> Result<&'a Keystore> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { ptr::shared(kms, "kms") }?.kms)
}

/// kms_version returns the library's version, such as "0.1.0".
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn kms_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// kms_open opens the keystore at `location` and stores its handle in `out`, or NULL on failure. `location` is a path,
/// "sqlite:PATH", "memory:", or a database: "postgres://[USER@]HOST[:PORT]/DATABASE[?SETTING=VALUE][#KEYSTORE]", with
/// libpq's settings, PG* variables and password file. A "memory:" keystore is new at each open and lives as long as its
/// handle. No error text and no event has the password of a location.
///
/// Fails with KMS_KEYSTORE_NOT_FOUND, KMS_NOT_A_KEYSTORE, KMS_KEYSTORE_TOO_NEW, KMS_KEYSTORE_CORRUPT,
/// KMS_WRONG_ROOT_KEY, KMS_ROOT_KEY_UNAVAILABLE, KMS_KEYSTORE_IO, KMS_KEYSTORE_UNAVAILABLE or KMS_KEYSTORE_BUSY, and
/// then has changed nothing.
/// Fails with KMS_MISSING_PARAMETER if no root was set, and with KMS_INVALID_ARGUMENT if two were set or `location` is
/// malformed, or a database in a build without the feature `postgres`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_open(
    location: *const c_char,
    options: *const kms_options_t,
    out: *mut *mut kms_t,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(out, "out")?;
        *out = std::ptr::null_mut();
        let kms = Keystore::open(ptr::path(location, "location")?, &copied(options)?)?;
        *out = kms_t::into_raw(kms);
        Ok(())
    })
}

/// kms_close stops the rotation thread, stores the last-used dates that wait, wipes all key material and frees the handle.
/// NULL is fine. It waits for no lock of another process; a clock and an anchor that were set may still be called.
///
/// No other call on the handle may be running, on any thread, and none may follow. Do not call it from a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_close(kms: *mut kms_t) {
    quietly(|| {
        if !kms.is_null() {
            // SAFETY: from kms_open, and the caller uses it no more.
            drop(unsafe { Arc::from_raw(kms) });
        }
    });
}
