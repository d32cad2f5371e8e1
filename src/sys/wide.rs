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
