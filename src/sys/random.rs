//! Random bytes: the kernel's, mixed with what the CPU draws now.
//!
//! The kernel's generator (getrandom(2)) is the source of every key, id and nonce: it survives fork. A machine that is
//! cloned without the kernel's knowledge repeats it, so every byte is XORed with words of the CPU's own generator
//! ([`cpu`]), however slow that is. The CPU only ever *adds*: without one, or with a broken one, the kernel's stay.

use super::cancel::Uncancelled;
use crate::error::{Result, Status};
use crate::sys::{clocks, fault};

pub mod cpu;

/// Fills `buf` with kernel randomness mixed with the CPU's. Waits for the kernel's pool at boot, never later.
///
/// Fails with `RandomFailed` where the kernel refuses (a seccomp filter without getrandom).
#[allow(clippy::missing_errors_doc, reason = "public for the PKCS#11 module alone")]
pub fn fill(buf: &mut [u8]) -> Result<()> {
    fill_from_kernel(buf)?;
    mix_cpu(buf);
    Ok(())
}

/// Mixes the CPU's words into kernel randomness.
pub fn mix_cpu(buf: &mut [u8]) {
    mix(buf, cpu::word);
}

/// Fills `buf` with kernel randomness alone, for bytes that are mixed when they are used. Fails as [`fill`] does.
pub fn fill_from_kernel(buf: &mut [u8]) -> Result<()> {
    if fault::wanted("KMS_FAULT_KERNEL_RANDOM_REPEATS") {
        fill_as_in_a_clone(buf);
        return Ok(());
    }
    // getrandom is a cancellation point.
    let _uncancelled = Uncancelled::begin();
    let mut rest = buf;
    while !rest.is_empty() {
        // SAFETY: the pointer and length are those of one live, writable slice.
        let written = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = rest.get_mut(written..).unwrap_or(&mut []),
            _ => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(Status::RandomFailed.error(format!("the kernel returned no random bytes: {error}")));
                }
            }
        }
    }
    Ok(())
}

/// XORs words of `draw` into `buf`. A word that the CPU can't draw leaves its bytes as they are.
fn mix(buf: &mut [u8], draw: impl Fn() -> Option<u64>) {
    for chunk in buf.chunks_mut(size_of::<u64>()) {
        if let Some(word) = draw() {
            xor(chunk, word);
        }
    }
}

/// XORs `word` into the first bytes.
fn xor(bytes: &mut [u8], word: u64) {
    bytes.iter_mut().zip(word.to_ne_bytes()).for_each(|(byte, with)| *byte ^= with);
}

/// Fills a nonce suffix where the CPU draws no quick word: kernel randomness, with the nanoseconds of the moment.
///
/// The time promises nothing. It makes it unlikely that two copies of a machine, whose kernels repeat each other, repeat
/// a nonce while they share a prefix.
pub fn fill_suffix(suffix: &mut [u8]) -> Result<()> {
    fill_from_kernel(suffix)?;
    xor(suffix, clocks::nanoseconds());
    Ok(())
}

/// Words to be filled.
pub fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: the bytes of the words; any bytes are valid.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// `N` random bytes; fails as [`fill`] does.
pub fn array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// The same bytes in every process that makes the same calls, as a kernel returns them that was cloned with its machine.
fn fill_as_in_a_clone(buf: &mut [u8]) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    for byte in buf {
        // SplitMix64 of a count.
        let mut word = CALLS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *byte = (word >> 56) as u8;
    }
}

#[cfg(test)]
mod tests;
