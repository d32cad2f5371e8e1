//! All operations by name and JSON, for languages that can only pass strings.

use std::ffi::{CString, c_char};

use zeroize::Zeroize;

use super::guard::{guard, quietly};
use super::open::{handle, kms_t};
use super::ptr;
use super::status::kms_status;

/// kms_call carries out an operation of the service by its action name ("Encrypt") with its own JSON: `request_json` is an
/// object of its parameters (NULL or "": none), and `*response_json` becomes the response, to be freed with
/// kms_string_free. On failure it is the service's error body, or NULL if not even that could be made.
///
/// Plaintext is the Base64 of the bytes, both ways. A parameter that the action doesn't know is KMS_INVALID_ARGUMENT; an
/// unknown action KMS_UNKNOWN_ACTION.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kms_call(
    kms: *const kms_t,
    action: *const c_char,
    request_json: *const c_char,
    response_json: *mut *mut c_char,
) -> kms_status {
    // SAFETY: by the header's contract.
    guard(|| unsafe {
        let out = ptr::exclusive(response_json, "response_json")?;
        *out = std::ptr::null_mut();
        let kms = handle(kms)?;
        let action = ptr::text(action, "action")?;
        let request = ptr::optional_text(request_json, "request_json")?.unwrap_or_default();
        // JSON escapes NUL.
        let text = |json: String| CString::new(json).unwrap_or_default().into_raw();
        match kms.call(action, request) {
            Ok(response) => {
                *out = text(response);
                Ok(())
            }
            Err(failed) => {
                *out = text(failed.body);
                Err(failed.error)
            }
        }
    })
}

/// kms_string_free wipes and frees a string that kms_call gave. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_string_free(string: *mut c_char) {
    quietly(|| {
        if !string.is_null() {
            // SAFETY: from CString::into_raw in kms_call, and the caller uses it no more.
            unsafe { CString::from_raw(string) }.into_bytes_with_nul().zeroize();
        }
    });
}
