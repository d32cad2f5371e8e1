//! Two threads count without a lock: ThreadSanitizer must say so (ci/stages/tsan.sh).

static mut COUNTER: u32 = 0;

fn count() {
    for _ in 0..1000 {
        // SAFETY: none; that's the point.
        unsafe { COUNTER = std::hint::black_box(COUNTER) + 1 };
    }
}

fn main() {
    let other = std::thread::spawn(count);
    count();
    let _ = other.join();
}
