//! The operating system's clocks, and which boot of the machine this is.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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

/// Milliseconds since boot, time asleep included, as the machine counts them. A time namespace, such as a container's, may
/// show another boot clock, and all processes on a keystore must count alike.
pub fn boottime_ms() -> i64 {
    millis(libc::CLOCK_BOOTTIME).saturating_sub(namespace_offset_ms())
}

/// Read once in each process: a child may be in another namespace.
fn namespace_offset_ms() -> i64 {
    static EPOCH: AtomicU64 = AtomicU64::new(0);
    static OFFSET: AtomicI64 = AtomicI64::new(0);
    let epoch = fork::epoch();
    if EPOCH.load(Ordering::Acquire) != epoch {
        OFFSET.store(read_offset().unwrap_or(0), Ordering::Relaxed);
        EPOCH.store(epoch, Ordering::Release);
    }
    OFFSET.load(Ordering::Relaxed)
}

fn read_offset() -> Option<i64> {
    // The offsets are those of children, which a process that has just made a namespace for them doesn't share.
    let link = |name: &str| file::link_target(&Path::new("/proc/self/ns").join(name));
    match link("time")? == link("time_for_children")? {
        true => boot_offset_of(&file::read_text(Path::new("/proc/self/timens_offsets"))?),
        false => None,
    }
}

/// Lines of a clock's name, seconds and nanoseconds.
fn boot_offset_of(text: &str) -> Option<i64> {
    let mut fields = text.lines().find(|line| line.starts_with("boottime"))?.split_whitespace().skip(1);
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanoseconds: i64 = fields.next()?.parse().ok()?;
    Some(seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000))
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

#[cfg(test)]
mod tests;
