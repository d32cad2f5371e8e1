//! Lets the CPU fetch memory that will be needed soon, while it does something else. On x86-64 alone.

/// Fetches the cache line at an address, which need not be one of this process.
#[inline(always)]
#[cfg_attr(not(all(target_arch = "x86_64", not(miri))), allow(unused_variables, reason = "only x86-64 prefetches"))]
pub fn line<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[allow(unused_unsafe, reason = "some intrinsics became safe after Rust 1.90")]
        // SAFETY: a prefetch never faults, and touches nothing that a program could see.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
    }
}

/// Fetches the last cache line of a value.
#[inline(always)]
pub fn end<T>(value: &T) {
    line(std::ptr::from_ref(value).cast::<u8>().wrapping_add(size_of::<T>().saturating_sub(1)));
}
