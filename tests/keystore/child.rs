//! Children that a test forks.

/// Forks; the child runs `body`, then ends with 0 where it is true. Killed by SIGALRM when it hangs.
pub fn fork(body: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child runs only what the library promises to work there, then leaves by `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("fork failed"),
        0 => {
            // SAFETY: plain calls.
            unsafe { libc::alarm(20) };
            let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(false);
            // SAFETY: as above.
            unsafe { libc::_exit(if good { 0 } else { 3 }) }
        }
        child => child,
    }
}

/// Waits for a forked child; its raw status.
pub fn wait_for(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}
