//! Sixteen bytes that are written with one store.
//!
//! Where two loads overlap, as a cipher's of a nonce, a CPU that has to put one together from two fresh stores waits for
//! both to reach its cache.

#[repr(C, align(16))]
pub struct Wide([u8; 16]);

impl Wide {
    pub const ZERO: Self = Self([0; 16]);

    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline]
    pub fn store(first: u64, second: u64) -> Self {
        use std::arch::x86_64::{__m128i, _mm_set_epi64x, _mm_store_si128};
        let mut wide = Self::ZERO;
        #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
        // SAFETY: every x86-64 has SSE2; the place has 16 bytes and their alignment.
        unsafe {
            let both = _mm_set_epi64x(second.cast_signed(), first.cast_signed());
            _mm_store_si128((&raw mut wide).cast::<__m128i>(), both);
        }
        wide
    }

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub fn store(first: u64, second: u64) -> Self {
        let mut wide = Self::ZERO;
        let bytes = first.to_ne_bytes().into_iter().chain(second.to_ne_bytes());
        wide.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        wide
    }

    #[inline]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub const fn bytes_mut(&mut self) -> &mut [u8; 16] {
        &mut self.0
    }
}
