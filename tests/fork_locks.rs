//! A lock that is held across `fork` and released in the child: it hangs with `parking_lot`, and works with std.
//!
//! `parking_lot` keeps waiting threads in one process-wide table. A child inherits the table, but not the threads. Its
//! unlock hands the lock to a thread that does not exist there, so its next lock waits without end. std's lock keeps
//! no table: waiters sleep on the word of the lock itself. `docs/decisions/0009-std-locks.md` has the decision.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child may take before it counts as hanging. Locking twice takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a thread of this process sleeps.
fn sleeps(thread: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().trim_start().starts_with('S')
}

fn this_thread() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// Forks while another thread waits for `lock` in `wait`, runs `child` there, and returns whether that ended in time.
fn child_ends(wait: impl FnOnce() + Send, child: impl FnOnce()) -> bool {
    let waiter = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            waiter.store(this_thread(), Ordering::Release);
            wait();
        });
        let begun = Instant::now();
        while waiter.load(Ordering::Acquire) == 0 || !sleeps(waiter.load(Ordering::Acquire)) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the waiter never waited");
            thread::sleep(Duration::from_millis(1));
        }
        // Asleep, and for long enough that it sleeps in the lock and nowhere on the way there.
        thread::sleep(Duration::from_millis(50));
        // SAFETY: the child calls nothing but the lock and _exit.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        // The child unlocks and locks; the parent unlocks, which lets its waiter end.
        child();
        if pid == 0 {
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(0) };
        }
        ended(pid)
    })
}

/// Waits for a child with patience, and kills it by its id otherwise.
fn ended(pid: libc::pid_t) -> bool {
    let begun = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: `pid` is a child of this process, and nothing else waits for it; `status` is a valid pointer.
        if unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == pid {
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child died: {status:#x}");
            return true;
        }
        if begun.elapsed() > PATIENCE {
            // SAFETY: as above; the child has not been waited for, so the id is still its own.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, &mut status, 0);
            }
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_forked_child_hangs_with_parking_lot() {
    let lock = parking_lot::Mutex::new(());
    let guard = lock.lock();
    let waits = || drop(lock.lock());
    assert!(
        !child_ends(waits, || {
            drop(guard);
            drop(lock.lock());
        }),
        "parking_lot survives this fork now: read decision 9 again"
    );
}

#[test]
fn a_forked_child_does_not_hang_with_std() {
    let lock = std::sync::Mutex::new(());
    let guard = lock.lock().unwrap();
    let waits = || drop(lock.lock().unwrap());
    assert!(
        child_ends(waits, || {
            drop(guard);
            drop(lock.lock().unwrap());
        }),
        "a child hung on a lock of std"
    );
}
