//! Keeps the cancellation of threads away from the library.

use std::ffi::c_int;

use crate::sys::fault;

unsafe extern "C" {
    // The same in glibc and musl; the crate libc has it for neither.
    safe fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_DISABLE: c_int = 1;

/// Keeps `pthread_cancel` off this thread: it unwinds frames, and Rust ends the process rather than let it pass. The
/// request stays pending until the call has returned.
pub struct Uncancelled(c_int);

impl Uncancelled {
    pub fn begin() -> Self {
        let mut old = 0;
        if !cfg!(miri) && !fault::wanted("KMS_FAULT_CANCELLED") {
            pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut old);
        }
        Self(old)
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        if self.0 != PTHREAD_CANCEL_DISABLE && !cfg!(miri) {
            pthread_setcancelstate(self.0, std::ptr::null_mut());
        }
    }
}
