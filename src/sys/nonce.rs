//! Twelve-byte nonce suffixes that never repeat, even after fork, nor after VM cloning where the CPU draws quick words.
//!
//! Eight bytes are random, four number the message within its prefix: so no two messages under one prefix meet, by
//! any chance. A page of buffered kernel randomness makes the eight cheap, and two things keep a copy of that page
//! from repeating them: the kernel wipes the page in a forked child (MADV_WIPEONFORK), and they are XORed with a word
//! that the CPU draws during the call, which a cloned machine draws again. Without a quick CPU generator, or where the
//! page can't be wiped, all twelve bytes are their own getrandom(2), XORed with the time: a copy of the machine whose
//! kernel doesn't know that it is one may then repeat a suffix, and only the prefixes renewed since keep the nonces apart.
//!
//! Invariants, each proved by the test of the same name:
//! * `a_forked_child_never_repeats_its_parent`
//! * `a_cloned_buffer_never_repeats_a_suffix`
//! * `used_bytes_are_wiped`

use std::ptr::NonNull;

use crate::error::Result;
use crate::sys::fault;
use crate::sys::random::{self, cpu};
use crate::sys::vdso::Generator;

/// Length of a suffix in bytes.
pub const SUFFIX: usize = 12;
const PAGE: usize = 4096;
const SLOTS: usize = PAGE / size_of::<u64>() - 1;

/// A suffix at the start of 16 bytes that are written at once: the cipher reads it in two overlapping halves, and a CPU
/// that has to put such a half together from two fresh stores waits for both to reach its cache.
#[repr(C, align(16))]
pub struct Suffix([u8; 16]);

impl Suffix {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline]
    fn store(random: u64, number: u32) -> Self {
        use std::arch::x86_64::{__m128i, _mm_set_epi64x, _mm_store_si128};
        let mut suffix = Self([0; 16]);
        #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
        // SAFETY: every x86-64 has SSE2; the place has 16 bytes and their alignment.
        unsafe {
            let both = _mm_set_epi64x(u64::from(number).cast_signed(), random.cast_signed());
            _mm_store_si128((&raw mut suffix).cast::<__m128i>(), both);
        }
        suffix
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    fn store(random: u64, number: u32) -> Self {
        let mut suffix = Self([0; 16]);
        let bytes = random.to_ne_bytes().into_iter().chain(number.to_ne_bytes());
        suffix.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        suffix
    }

    #[inline]
    pub fn bytes(&self) -> &[u8; SUFFIX] {
        const NONE: &[u8; SUFFIX] = &[0; SUFFIX];
        self.0.first_chunk().unwrap_or(NONE)
    }
}

/// One thread's source of suffixes.
pub struct NoncePool {
    /// None: every suffix comes from the kernel.
    page: Option<NoncePage>,
    /// Fills the page, where it can.
    generator: Option<Generator>,
    hardware: fn() -> Option<u64>,
}

/// What the wiped page holds. All zeros reads as "no slot left".
#[repr(C)]
#[cfg_attr(test, derive(Clone, Copy))]
struct Buffer {
    left: u64,
    slots: [u64; SLOTS],
}

impl NoncePool {
    /// A pool of its own page where the CPU draws quickly and the kernel wipes on fork, else one without a buffer.
    pub fn new() -> Result<Self> {
        // Both protections off, for the test that shows what would repeat.
        if fault::wanted("KMS_FAULT_FORK_UNNOTICED") {
            return Ok(Self { page: NoncePage::new(false), generator: None, hardware: || Some(0) });
        }
        let page = cpu::quick_word().and_then(|_| NoncePage::new(true));
        Ok(Self { page, generator: Generator::new(), hardware: cpu::quick_word })
    }

    /// A fresh suffix for message `number` of a prefix, which no other message of it has. Fails with `RandomFailed` when
    /// the kernel returns no randomness.
    #[inline]
    pub fn suffix(&mut self, number: u32) -> Result<Suffix> {
        // Drawn first: a failed draw must not fall back on the buffer alone.
        if let Some(page) = &mut self.page
            && let Some(word) = (self.hardware)()
        {
            return Ok(Suffix::store(page.buffer().take(&mut self.generator)? ^ word, number));
        }
        Self::from_kernel()
    }

    #[cold]
    fn from_kernel() -> Result<Suffix> {
        let mut suffix = Suffix([0; 16]);
        if let Some(bytes) = suffix.0.first_chunk_mut::<SUFFIX>() {
            random::fill_suffix(bytes)?;
        }
        Ok(suffix)
    }
}

impl Buffer {
    #[inline]
    fn take(&mut self, generator: &mut Option<Generator>) -> Result<u64> {
        let index = match self.left.checked_sub(1) {
            Some(index) => index,
            None => self.refill(generator)?,
        };
        // Counted before the bytes are read: an interrupted call loses a slot, and never uses it twice.
        self.left = index;
        let slot = self.slots.get_mut(index as usize);
        Ok(slot.map(std::mem::take).unwrap_or_default())
    }

    #[cold]
    fn refill(&mut self, generator: &mut Option<Generator>) -> Result<u64> {
        let bytes = random::bytes_of(&mut self.slots);
        match generator {
            Some(generator) => generator.fill(bytes)?,
            None => random::fill_from_kernel(bytes)?,
        }
        Ok(SLOTS as u64 - 1)
    }
}

/// A private anonymous page that a forked child finds zeroed and a core dump leaves out.
struct NoncePage(NonNull<Buffer>);

// SAFETY: the page belongs to this value alone; nothing about a mapping is tied to a thread.
unsafe impl Send for NoncePage {}

impl NoncePage {
    /// None where the kernel maps no page or can't wipe it. `wipe` is off only in the test that shows the danger.
    fn new(wipe: bool) -> Option<Self> {
        const { assert!(size_of::<Buffer>() <= PAGE) };
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if address == libc::MAP_FAILED {
            return None;
        }
        let page = Self(NonNull::new(address.cast())?);
        // SAFETY: the range is the mapping just made.
        if wipe && unsafe { libc::madvise(address, PAGE, libc::MADV_WIPEONFORK) } != 0 {
            return None;
        }
        // Keeping the page out of core dumps is a courtesy; suffixes are public once used.
        // SAFETY: as above.
        unsafe { libc::madvise(address, PAGE, libc::MADV_DONTDUMP) };
        Some(page)
    }

    fn buffer(&mut self) -> &mut Buffer {
        // SAFETY: the mapping is page-aligned, large enough, lives as long as `self`, is lent once, and every bit
        // pattern (zeros at first) is a valid `Buffer`.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for NoncePage {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(self.buffer().slots.as_mut_slice());
        // SAFETY: the range is the mapping that `new` made, and nothing borrows it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE) };
    }
}

#[cfg(test)]
mod tests;
