//! Random bytes straight from the kernel, and random words straight from the CPU.
//!
//! The kernel's generator (getrandom(2)) is the source of every key and prefix: it survives fork. The CPU's (RDRAND)
//! only ever *adds* to kernel bytes that a cloned machine could repeat; alone it is never trusted.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use crate::error::{Result, Status};

/// Above this a draw costs more than it saves over a system call, in nanoseconds (17 on Zen 5, 300 and more on CPUs
/// with the SRBDS mitigation).
const QUICK_NS: u128 = 100;

/// Fills `buf` with kernel randomness. Waits for the kernel's pool at boot, never later.
///
/// Fails with `RandomFailed` where the kernel refuses (a seccomp filter without getrandom).
pub fn fill(buf: &mut [u8]) -> Result<()> {
    let mut rest = buf;
    while !rest.is_empty() {
        // SAFETY: the pointer and length are those of one live, writable slice.
        let written = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = rest.get_mut(written..).unwrap_or(&mut []),
            _ => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(Status::RandomFailed.error(format!("the kernel gave no random bytes: {error}")));
                }
            }
        }
    }
    Ok(())
}

/// The same for words.
pub fn fill_words(words: &mut [u64]) -> Result<()> {
    // SAFETY: the bytes of the words, of which any value is one.
    fill(unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) })
}

/// `N` bytes of kernel randomness; fails as [`fill`] does.
pub fn array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// 64 bits of the CPU's generator, drawn now; `None` where it is absent, slow, broken or momentarily empty.
///
/// Whether it is quick is measured at the first call of the process.
#[inline]
pub fn hardware_word() -> Option<u64> {
    const UNKNOWN: u8 = 0;
    const QUICK: u8 = 1;
    const ABSENT: u8 = 2;
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
    let mut state = STATE.load(Ordering::Relaxed);
    if state == UNKNOWN {
        // Threads that measure at the same time store the same kind of answer; either is safe.
        state = if is_quick(draw) { QUICK } else { ABSENT };
        STATE.store(state, Ordering::Relaxed);
    }
    if state == QUICK { draw() } else { None }
}

/// Whether `draw` gives words that differ, and in less than `QUICK_NS` each (the best of eight batches of eight).
fn is_quick(draw: impl Fn() -> Option<u64>) -> bool {
    let mut best = u128::MAX;
    let mut words = [0; 8];
    for _ in 0..8 {
        let start = Instant::now();
        for word in &mut words {
            match draw() {
                Some(drawn) => *word = drawn,
                None => return false,
            }
        }
        best = best.min(start.elapsed().as_nanos() / 8);
        // Eight equal words come from a broken generator, not from chance.
        if words.iter().all(|word| Some(word) == words.first()) {
            return false;
        }
    }
    best < QUICK_NS
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn draw() -> Option<u64> {
    #[target_feature(enable = "rdrand")]
    fn rdrand() -> Option<u64> {
        let mut word = 0;
        for _ in 0..10 {
            // All ones and zero are what AMD's generator gives after a suspend that broke it, with the carry flag set.
            #[allow(unused_unsafe, reason = "the intrinsic is unsafe to call up to Rust 1.90 and safe in 1.95")]
            // SAFETY: this function's own condition is the intrinsic's.
            let drawn = unsafe { std::arch::x86_64::_rdrand64_step(&mut word) };
            if drawn == 1 && word != u64::MAX && word != 0 {
                return Some(word);
            }
        }
        None
    }
    if !std::arch::is_x86_feature_detected!("rdrand") {
        return None;
    }
    // SAFETY: the CPU has the instruction, as just asked.
    unsafe { rdrand() }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn draw() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests;
