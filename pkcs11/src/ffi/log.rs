//! Why C_Initialize failed, for the system log: PKCS#11 has no texts, and the standard error may be any file of the
//! program.

use std::ffi::CString;

pub fn error(text: &str) {
    let Ok(text) = CString::new(text.replace('\0', "?")) else { return };
    // SAFETY: a format with one string, and a terminated string.
    unsafe { libc::syslog(libc::LOG_USER | libc::LOG_ERR, c"libkms-pkcs11: %s".as_ptr(), text.as_ptr()) };
}
