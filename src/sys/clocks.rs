//! The operating system's clocks.

use super::large::wide;

#[inline]
fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

fn millis(clock: libc::clockid_t) -> i64 {
    let time = read(clock);
    wide(time.tv_sec).saturating_mul(1000).saturating_add(wide(time.tv_nsec) / 1_000_000)
}

/// Unix milliseconds, UTC.
pub fn realtime_ms() -> i64 {
    millis(libc::CLOCK_REALTIME)
}

/// Milliseconds since the machine was booted, time asleep included, shifted by the time namespace of the process.
pub fn boottime_ms() -> i64 {
    millis(libc::CLOCK_BOOTTIME)
}

/// Milliseconds since some start, a few milliseconds coarse; read without a system call in about 3 ns.
pub fn coarse_ms() -> i64 {
    millis(libc::CLOCK_MONOTONIC_COARSE)
}

/// The same in whole seconds.
#[inline]
pub fn coarse_seconds() -> u64 {
    wide(read(libc::CLOCK_MONOTONIC_COARSE).tv_sec).cast_unsigned()
}

/// Nanoseconds since some start, as fine as the machine has them.
pub fn nanoseconds() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    wide(time.tv_sec).cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(wide(time.tv_nsec).cast_unsigned())
}
