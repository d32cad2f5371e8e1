//! Twelve-byte nonce suffixes that never repeat, even after fork, nor after VM cloning where the CPU draws quick words.
//!
//! Eight bytes are random, four number the message within its prefix: so no two messages under one prefix meet, by
//! any chance. A page of buffered kernel randomness makes the eight cheap, and two things keep a copy of that page
//! from repeating them: the kernel wipes the page in a forked child (MADV_WIPEONFORK), and they are XORed with a word
//! that the CPU draws during the call, which a cloned machine draws again. A batch draws one word for each prefix. A copy
//! of the machine that is made within a call, after the draw, encrypts the same messages, and so reveals nothing.
//!
//! Without a quick CPU generator, or where the page can't be wiped, all twelve bytes are their own getrandom(2), XORed
//! with the time: a copy of the machine whose kernel doesn't know that it is one may then repeat a suffix, and only the
//! prefixes renewed since keep the nonces apart.
//!
//! Invariants, each proved by the test of the same name:
//! * `a_forked_child_never_repeats_its_parent`
//! * `a_cloned_buffer_never_repeats_a_suffix`
//! * `a_call_of_many_messages_never_repeats_a_suffix_and_draws_anew_for_the_next`
//! * `used_bytes_are_wiped`

use zeroize::Zeroize;

use crate::error::Result;
use crate::sys::fault;
use crate::sys::random::{self, cpu};
use crate::sys::vdso::Generator;
use crate::sys::wide::Wide;
use crate::sys::zeroed::{WipedPage, zeroed};

/// Length of a suffix in bytes.
pub const SUFFIX: usize = 12;
/// Words in a page of 4096 bytes, besides the count.
const SLOTS: usize = 511;

/// A suffix, at the start of 16 bytes that are written at once.
pub struct Suffix(Wide);

impl Suffix {
    pub const ZERO: Self = Self(Wide::ZERO);

    #[inline]
    fn store(&mut self, random: u64, number: u32) {
        // The number's four bytes are the first of the second half.
        const SHIFT: u32 = if cfg!(target_endian = "big") { 32 } else { 0 };
        self.0.store(random, u64::from(number) << SHIFT);
    }

    fn fill_from_kernel(&mut self) -> Result<()> {
        match self.0.bytes_mut().first_chunk_mut::<SUFFIX>() {
            Some(bytes) => random::fill_suffix(bytes),
            None => Ok(()),
        }
    }

    #[inline]
    pub fn bytes(&self) -> &[u8; SUFFIX] {
        const NONE: &[u8; SUFFIX] = &[0; SUFFIX];
        self.0.bytes().first_chunk().unwrap_or(NONE)
    }
}

/// What the CPU drew in this call, for one message; no word where it draws none quickly.
///
/// It must not outlive the call: a copy of the machine would use it for another message.
pub struct Drawn(pub(super) Option<u64>);

impl Drawn {
    /// Of a thread that has no pool yet.
    pub const NONE: Self = Self(None);
}

/// One thread's source of suffixes.
pub struct NoncePool {
    /// None: every suffix comes from the kernel.
    page: Option<WipedPage<Buffer>>,
    /// Fills the page, where it can.
    generator: Option<Generator>,
    hardware: fn() -> Option<u64>,
    /// The word of a call that encrypts many messages.
    kept: Option<u64>,
}

zeroed! {
    /// What the wiped page holds. Zeros read as "no slot left".
    #[repr(C)]
    #[cfg_attr(test, derive(Clone, Copy))]
    struct Buffer {
        left: u64,
        slots: [u64; SLOTS],
    }
}

impl NoncePool {
    /// A pool on its own page where the CPU draws quickly and the kernel wipes on fork; otherwise one without a buffer.
    pub fn new() -> Result<Self> {
        // Both protections off, for the test that shows what would repeat.
        if fault::wanted("KMS_FAULT_FORK_UNNOTICED") {
            return Ok(Self { page: WipedPage::new(false), generator: None, hardware: || Some(0), kept: None });
        }
        let source = cpu::quick_source();
        let page = source.and_then(|_| WipedPage::new(true));
        Ok(Self { page, generator: Generator::new(), hardware: source.unwrap_or(|| None), kept: None })
    }

    /// Draws the word of one message.
    #[inline(always)]
    pub fn draw(&self) -> Drawn {
        Drawn((self.hardware)())
    }

    /// The word of a call that encrypts many messages.
    #[inline(always)]
    pub fn kept(&self) -> Drawn {
        Drawn(self.kept)
    }

    /// Puts a fresh suffix for message `number` of a prefix, which no other message of it has, into `suffix`. `word` was drawn
    /// in this call. False where the buffer has none, or the CPU drew none: [`NoncePool::put_slowly`] then does it.
    #[inline(always)]
    #[must_use]
    pub fn put(&mut self, number: u32, word: Option<u64>, suffix: &mut Suffix) -> bool {
        if let Some(page) = &mut self.page
            && let Some(random) = page.get().take()
            && let Some(word) = word
        {
            suffix.store(random ^ word, number);
            return true;
        }
        false
    }

    /// The same from a buffer that is filled first, or from the kernel. Fails with `RandomFailed` when the kernel returns no
    /// randomness.
    #[cold]
    pub fn put_slowly(&mut self, number: u32, word: Option<u64>, suffix: &mut Suffix) -> Result<()> {
        // Drawn first: a failed draw must not fall back on the buffer alone.
        if let Some(page) = &mut self.page
            && let Some(word) = word.or_else(|| (self.hardware)())
        {
            let buffer = page.get();
            if buffer.left == 0 {
                buffer.refill(&mut self.generator)?;
            }
            if let Some(random) = buffer.take() {
                suffix.store(random ^ word, number);
                return Ok(());
            }
        }
        suffix.fill_from_kernel()
    }

    /// Fills a prefix as [`random::fill`] does, without a system call where the vDSO has the kernel's generator.
    pub fn fill_prefix(&mut self, prefix: &mut [u8]) -> Result<()> {
        let Some(generator) = &mut self.generator else { return random::fill(prefix) };
        generator.fill(prefix)?;
        random::mix_cpu(prefix);
        Ok(())
    }

    /// Draws a word now for all suffixes until [`NoncePool::end_call`].
    pub fn begin_call(&mut self) {
        self.kept = (self.hardware)();
    }

    pub fn end_call(&mut self) {
        self.kept = None;
    }

    /// Draws another word for the rest of a call.
    pub fn draw_again(&mut self) {
        if self.kept.is_some() {
            self.begin_call();
        }
    }

    #[cfg(test)]
    pub fn suffix(&mut self, number: u32) -> Result<Suffix> {
        let mut suffix = Suffix::ZERO;
        let Drawn(word) = if self.kept.is_some() { self.kept() } else { self.draw() };
        if !self.put(number, word, &mut suffix) {
            self.put_slowly(number, word, &mut suffix)?;
        }
        Ok(suffix)
    }
}

impl Drop for NoncePool {
    fn drop(&mut self) {
        if let Some(page) = &mut self.page {
            page.get().slots.as_mut_slice().zeroize();
        }
    }
}

impl Buffer {
    /// Takes the last slot that is left.
    #[inline(always)]
    fn take(&mut self) -> Option<u64> {
        let index = self.left.checked_sub(1)?;
        // Counted before the bytes are read: an interrupted call loses a slot, and never uses it twice.
        self.left = index;
        self.slots.get_mut(index as usize).map(std::mem::take)
    }

    fn refill(&mut self, generator: &mut Option<Generator>) -> Result<()> {
        let bytes = random::bytes_of(&mut self.slots);
        match generator {
            Some(generator) => generator.fill(bytes)?,
            None => random::fill_from_kernel(bytes)?,
        }
        self.left = SLOTS as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
