//! Another root key for a keystore that is there.

use super::guard::guard;
use super::open::{handle, kms_t};
use super::options::{copied, kms_options_t};
use super::status::kms_status;

/// kms_change_root makes the root key of `options` the one that opens the keystore, instead of all that did; handles that
/// are open go on. Of the options, the root counts, and kms_options_set_create for a key file that isn't there.
///
/// The new root is tried before anything is changed. Nothing is sealed anew, so it takes no longer for many keys; copies
/// of the file made before are still opened by the old root. After a failure that may have changed the keystore (see
/// Keystore above), keep both roots until you know which one opens it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_change_root(kms: *const kms_t, options: *const kms_options_t) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe { handle(kms)?.change_root(&copied(options)?) })
}
