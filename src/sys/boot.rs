//! Which boot of the machine this is, and how long ago it began.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use super::{clocks, file, fork};

/// Which boot this is, and milliseconds since it began, time asleep included.
///
/// All processes on a keystore must count alike, so the offset of a time namespace, such as a container's, is taken out. A
/// process may join another namespace at any moment (setns(2)), or be in one whose offset it can't read, because
/// /proc/self/timens_offsets is that of its children. A clock whose offset isn't known is that of another boot.
pub fn since_boot() -> ([u8; 16], i64) {
    let shown = clocks::boottime_ms;
    // Without the links there are no time namespaces (before Linux 5.6, or without /proc).
    let Some(namespace) = file::link_target(Path::new("/proc/self/ns/time")) else { return (boot_id(), shown()) };
    for _ in 0..4 {
        let (offset, time) = (offset_in(&namespace), shown());
        // The process may have moved meanwhile.
        if file::link_target(Path::new("/proc/self/ns/time")).as_ref() == Some(&namespace) {
            return match offset {
                Some(offset) => (boot_id(), time.saturating_sub(offset)),
                None => (boot_of(&namespace), time),
            };
        }
    }
    (boot_of(&namespace), shown())
}

/// By how much the boot clock is shifted in a time namespace, where the process can know.
fn offset_in(namespace: &Path) -> Option<i64> {
    match file::link_target(Path::new("/proc/self/ns/time_for_children"))? == namespace {
        true => boot_offset_of(&file::read_text(Path::new("/proc/self/timens_offsets"))?),
        false => None,
    }
}

/// The boot that is counted in a namespace whose offset is unknown.
fn boot_of(namespace: &Path) -> [u8; 16] {
    let mut id = boot_id();
    for (at, byte) in namespace.as_os_str().as_bytes().iter().enumerate() {
        if let Some(mixed) = id.get_mut(at % 16) {
            *mixed = mixed.rotate_left(3) ^ byte;
        }
    }
    id
}

/// Lines of a clock's name, seconds and nanoseconds.
fn boot_offset_of(text: &str) -> Option<i64> {
    let mut fields = text.lines().find(|line| line.starts_with("boottime"))?.split_whitespace().skip(1);
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanoseconds: i64 = fields.next()?.parse().ok()?;
    Some(seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000))
}

/// The kernel's id of this boot. Where it can't be read, all boots count as one: the boot clock starts again with each, and
/// a step back of it counts nothing, so this only delays a destruction.
fn boot_id() -> [u8; 16] {
    static ID: OnceLock<[u8; 16]> = OnceLock::new();
    // Inside the gate: a child that is forked during it would never return.
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
