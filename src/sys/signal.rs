//! Blocks signals around the start of a thread, which inherits the mask.

/// The calling thread's signal mask.
pub struct Mask(libc::sigset_t);

/// Blocks every signal but SIGBUS: a fault on a mapped file ends the process where the thread blocks it (`bus`).
pub fn block_all() -> Mask {
    // SAFETY: sigset_t is plain data for which all zeroes is valid; both sets outlive the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigdelset(&mut all, libc::SIGBUS);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        Mask(old)
    }
}

pub fn restore(mask: &Mask) {
    // SAFETY: the mask came from `block_all`; a NULL old set is allowed.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &mask.0, std::ptr::null_mut());
    }
}
