//! Sixteen bytes at once: written with one store, or compared.
//!
//! Where two loads overlap, as a cipher's of a nonce, a CPU that has to put one together from two fresh stores waits for
//! both to reach its cache.

#[repr(C, align(16))]
pub struct Wide([u8; 16]);

impl Wide {
    pub const ZERO: Self = Self([0; 16]);

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline]
    pub fn store(&mut self, first: u64, second: u64) {
        use std::arch::x86_64::{__m128i, _mm_set_epi64x};
        #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
        // SAFETY: every x86-64 has SSE2; the place has 16 bytes and their alignment.
        unsafe {
            let both = _mm_set_epi64x(second.cast_signed(), first.cast_signed());
            // Volatile: the compiler would make two stores of it.
            std::ptr::from_mut(self).cast::<__m128i>().write_volatile(both);
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub fn store(&mut self, first: u64, second: u64) {
        let bytes = first.to_ne_bytes().into_iter().chain(second.to_ne_bytes());
        self.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }

    #[inline]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub const fn bytes_mut(&mut self) -> &mut [u8; 16] {
        &mut self.0
    }
}

/// Whether two texts of an id's length are equal. The compiler would call a function, or branch after each word.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub fn is_same(a: &[u8; 36], b: &[u8; 36]) -> bool {
    use std::arch::x86_64::{__m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};
    let at = |text: &[u8; 36], at: usize| {
        // SAFETY: `at` is at most 20, so the 16 bytes lie inside; the load takes any alignment.
        unsafe { _mm_loadu_si128(text.as_ptr().add(at).cast::<__m128i>()) }
    };
    #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        let equal = |from: usize| _mm_cmpeq_epi8(at(a, from), at(b, from));
        _mm_movemask_epi8(_mm_and_si128(_mm_and_si128(equal(0), equal(16)), equal(20))) == 0xFFFF
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub fn is_same(a: &[u8; 36], b: &[u8; 36]) -> bool {
    a == b
}

#[cfg(test)]
mod tests;
