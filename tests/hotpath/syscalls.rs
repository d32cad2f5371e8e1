//! A forked child, and a filter after which the kernel kills it for all but a few system calls.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A child's exit and its output.
pub struct Ended {
    pub status: i32,
    pub bytes: Vec<u8>,
}

pub struct Pipe(i32);

impl Pipe {
    pub fn send(&self, bytes: &[u8]) {
        // SAFETY: writes a slice to a descriptor of this process.
        unsafe { libc::write(self.0, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// Runs `body` in a child that ends right after.
pub fn in_child(body: impl FnOnce(&Pipe)) -> Ended {
    let mut ends = [0; 2];
    // SAFETY: the child runs `body` alone, and leaves without running anything of its parent's.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::alarm(120);
            crate::memory::keep_no_account();
            let done = catch_unwind(AssertUnwindSafe(|| body(&Pipe(ends[1]))));
            libc::_exit(i32::from(done.is_err()));
        }
        libc::close(ends[1]);
        let mut bytes = vec![0; 64];
        let read = libc::read(ends[0], bytes.as_mut_ptr().cast(), bytes.len());
        bytes.truncate(read.max(0) as usize);
        libc::close(ends[0]);
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        Ended { status, bytes }
    }
}

/// From here on this thread may call getrandom and exit_group.
pub fn allow_randomness_only() {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, 2, 0, libc::SYS_getrandom as u32),
        step(IF_EQUAL, 1, 0, libc::SYS_exit_group as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: both calls are about this thread; the program outlives the call that copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

/// Ends the child at once: with the filter on, dropping anything may need more than it allows.
pub fn leave() -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}
