//! The operating system's clocks, and which boot of the machine this is.

use std::path::Path;
use std::sync::OnceLock;

use super::{file, fork};

#[inline]
fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

fn millis(clock: libc::clockid_t) -> i64 {
    let time = read(clock);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Unix milliseconds, UTC.
pub fn realtime_ms() -> i64 {
    millis(libc::CLOCK_REALTIME)
}

/// Milliseconds since boot, time asleep included.
pub fn boottime_ms() -> i64 {
    millis(libc::CLOCK_BOOTTIME)
}

/// Milliseconds since some start, a few milliseconds coarse; read without a system call in about 3 ns.
pub fn coarse_ms() -> i64 {
    millis(libc::CLOCK_MONOTONIC_COARSE)
}

/// The same in whole seconds.
pub fn coarse_seconds() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE).tv_sec.cast_unsigned()
}

/// Nanoseconds since some start, as fine as the machine has them.
pub fn nanoseconds() -> u64 {
    let time = read(libc::CLOCK_MONOTONIC);
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

/// The kernel's id of this boot. Where it can't be read, all boots count as one: the boot clock starts again with each, and
/// a step back of it counts nothing, so this only delays a destruction.
pub fn boot_id() -> [u8; 16] {
    static ID: OnceLock<[u8; 16]> = OnceLock::new();
    // Inside the gate: a child of a fork in the midst of it would wait for ever.
    fork::gate(|| {
        *ID.get_or_init(|| {
            file::read_text(Path::new("/proc/sys/kernel/random/boot_id"))
                .and_then(|text| uuid::Uuid::try_parse(text.trim()).ok())
                .map(uuid::Uuid::into_bytes)
                .unwrap_or([1; 16])
        })
    })
}
