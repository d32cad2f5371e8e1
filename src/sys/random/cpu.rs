//! Random words that the CPU draws now: RDRAND, or RDSEED, on x86-64; RNDR on aarch64.
//!
//! They are not kept in memory, so a copy of the machine draws others. RDRAND comes before RDSEED because it is
//! 40 times as fast, and no copy shares its state either. Nothing here is trusted alone:
//! words are mixed into kernel randomness.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use crate::sys::fault;

/// Above this a draw costs too much for each message, in nanoseconds (17 on Zen 5, 32 on Zen 3, 300 and more on CPUs
/// with the SRBDS mitigation).
const QUICK_NS: u128 = 100;

/// What the CPU's generator is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Speed {
    /// Absent, or its words don't differ.
    None = 1,
    /// For keys, ids and prefixes.
    Slow = 2,
    /// For each message too.
    Quick = 3,
}

/// Measured at the first call of the process.
#[inline]
pub fn speed() -> Speed {
    static SPEED: AtomicU8 = AtomicU8::new(0);
    match SPEED.load(Ordering::Relaxed) {
        1 => Speed::None,
        2 => Speed::Slow,
        3 => Speed::Quick,
        _ => {
            // Threads that measure at the same time store the same kind of answer; any is safe.
            let speed = simulated().unwrap_or_else(|| measure(draw));
            SPEED.store(speed as u8, Ordering::Relaxed);
            speed
        }
    }
}

/// A word; `None` where the generator is absent, broken or momentarily empty.
#[inline]
pub fn word() -> Option<u64> {
    if speed() == Speed::None { None } else { draw() }
}

/// A word where that is quick.
#[cfg(test)]
pub fn quick_word() -> Option<u64> {
    quick_source()?()
}

/// What draws a word where that is quick, without asking again whether it is.
pub fn quick_source() -> Option<fn() -> Option<u64>> {
    if speed() != Speed::Quick {
        return None;
    }
    if cfg!(kms_faults) { Some(draw) } else { Some(instruction::source()) }
}

/// Whether a test wants the CPU to draw the same word always.
static CONSTANT: AtomicBool = AtomicBool::new(false);

/// What a test wants the CPU to be.
fn simulated() -> Option<Speed> {
    CONSTANT.store(fault::wanted("KMS_FAULT_CPU_RANDOM_CONSTANT"), Ordering::Relaxed);
    // Whole names: a name that is put together would be left in a build without switches.
    [
        ("KMS_FAULT_CPU_RANDOM_NONE", Speed::None),
        ("KMS_FAULT_CPU_RANDOM_SLOW", Speed::Slow),
        ("KMS_FAULT_CPU_RANDOM_CONSTANT", Speed::Quick),
    ]
    .into_iter()
    .find_map(|(name, speed)| fault::wanted(name).then_some(speed))
}

/// Whether `draw` returns words that differ, and in less than `QUICK_NS` each in one of 64 batches of eight: a busy machine
/// makes a quick instruction look slow, and nothing the other way round.
fn measure(draw: impl Fn() -> Option<u64>) -> Speed {
    let mut words = [0; 8];
    for _ in 0..64 {
        let start = Instant::now();
        for word in &mut words {
            match draw() {
                Some(drawn) => *word = drawn,
                None => return Speed::None,
            }
        }
        let each = start.elapsed().as_nanos() / 8;
        // Eight equal words come from a broken generator, not from chance.
        if words.iter().all(|word| Some(word) == words.first()) {
            return Speed::None;
        }
        if each < QUICK_NS {
            return Speed::Quick;
        }
    }
    Speed::Slow
}

#[inline]
fn draw() -> Option<u64> {
    if cfg!(kms_faults) && CONSTANT.load(Ordering::Relaxed) {
        return Some(0x5555_5555_5555_5555);
    }
    instruction::draw()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod instruction {
    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::{_rdrand64_step, _rdseed64_step};

    /// How often an instruction is asked that has nothing at the moment; Intel's manual says 10 for RDRAND.
    const ATTEMPTS: u32 = 10;

    /// What [`draw`] calls on this CPU.
    pub fn source() -> fn() -> Option<u64> {
        if is_x86_feature_detected!("rdrand") {
            // SAFETY: the CPU has the instruction, as just asked.
            return || unsafe { rdrand() };
        }
        draw
    }

    #[inline]
    pub fn draw() -> Option<u64> {
        if is_x86_feature_detected!("rdrand") {
            // SAFETY: the CPU has the instruction, as just asked.
            return unsafe { rdrand() };
        }
        if is_x86_feature_detected!("rdseed") {
            // SAFETY: as above.
            return unsafe { rdseed() };
        }
        None
    }

    /// All ones and zero are what AMD's generator returns after a suspend that broke it, with the carry flag set.
    fn is_good(drawn: i32, word: u64) -> bool {
        drawn == 1 && word != u64::MAX && word != 0
    }

    #[target_feature(enable = "rdrand")]
    fn rdrand() -> Option<u64> {
        let mut word = 0;
        for _ in 0..ATTEMPTS {
            #[allow(unused_unsafe, reason = "the intrinsic is unsafe to call up to Rust 1.90 and safe in 1.95")]
            // SAFETY: this function's own condition is the intrinsic's.
            let drawn = unsafe { _rdrand64_step(&mut word) };
            if is_good(drawn, word) {
                return Some(word);
            }
        }
        None
    }

    #[target_feature(enable = "rdseed")]
    fn rdseed() -> Option<u64> {
        let mut word = 0;
        for _ in 0..ATTEMPTS {
            #[allow(unused_unsafe, reason = "the intrinsic is unsafe to call up to Rust 1.90 and safe in 1.95")]
            // SAFETY: this function's own condition is the intrinsic's.
            let drawn = unsafe { _rdseed64_step(&mut word) };
            if is_good(drawn, word) {
                return Some(word);
            }
        }
        None
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn both_instructions_draw_words_that_differ() {
            if is_x86_feature_detected!("rdrand") {
                // SAFETY: just asked.
                unsafe { assert_ne!(rdrand(), rdrand()) };
            }
            if is_x86_feature_detected!("rdseed") {
                // SAFETY: just asked.
                let words = unsafe { [rdseed(), rdseed()] };
                assert!(words[0] != words[1] || words[0].is_none(), "RDSEED repeats");
            }
            assert!(!is_good(1, u64::MAX) && !is_good(1, 0) && !is_good(0, 5) && is_good(1, 5));
        }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod instruction {
    use std::arch::is_aarch64_feature_detected;

    pub fn source() -> fn() -> Option<u64> {
        draw
    }

    #[inline]
    pub fn draw() -> Option<u64> {
        if !is_aarch64_feature_detected!("rand") {
            return None;
        }
        let (word, empty): (u64, u64);
        // SAFETY: the CPU has FEAT_RNG, as just asked; reading RNDR sets flags and touches no memory.
        unsafe {
            std::arch::asm!(
                "mrs {word}, s3_3_c2_c4_0",
                "cset {empty}, eq",
                word = out(reg) word,
                empty = out(reg) empty,
                options(nomem, nostack),
            );
        }
        (empty == 0 && word != u64::MAX && word != 0).then_some(word)
    }
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod instruction {
    pub fn source() -> fn() -> Option<u64> {
        draw
    }

    pub fn draw() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests;
